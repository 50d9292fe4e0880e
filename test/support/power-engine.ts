import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Engine } from "../../src/db/engine.ts";
import type { Db } from "../../src/db/db.ts";
import { isSkaldError } from "../../src/errors.ts";
import { Log } from "../../src/log/log.ts";
import { dropSqliteCatalog, openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { openSqliteLog } from "../../src/store/sqlite-log.ts";
import { derivedOf, tablesOf } from "./derived.ts";
import type { DiskImage } from "./disk-image.ts";
import { plainChange, sha256 } from "./plain-change.mjs";
import { DATA } from "./power-check.ts";
import type { PowerLedger } from "./power-ledger.ts";

/** Puts an image into a folder, which then holds nothing else. */
export function restore(image: DiskImage, root: string): void {
  rmSync(root, { recursive: true, force: true });
  for (const folder of image.folders) mkdirSync(path.join(root, folder), { recursive: true });
  for (const [name, { bytes }] of image.files) writeFileSync(path.join(root, name), bytes());
}

export interface Revived {
  readonly problems: readonly string[];
  /** Times that something derived was found broken and made anew. */
  readonly rebuilt: number;
}

/**
 * Has the whole engine start on an image: every db opens, has what was acknowledged, says so again to
 * whoever repeats a write, takes another write, and closes; what it derived is what the log leads to.
 * `views` compares the projections too, which takes Automerge.
 */
export async function revive(
  image: DiskImage,
  ledger: PowerLedger,
  root: string,
  views = false,
): Promise<Revived> {
  restore(image, root);
  const dir = path.join(root, DATA);
  const problems: string[] = [];
  let rebuilt = 0;
  const told = (error: unknown): void => {
    if (isSkaldError(error) && error.code === "DERIVED_DAMAGED") rebuilt += 1;
    else problems.push(`told of ${String(error)}`);
  };
  let engine: Engine;
  try {
    engine = new Engine({ dir, reserve: 0, documents: { workers: 1 }, onError: told });
  } catch (error) {
    return { problems: [`the engine does not start: ${String(error)}`], rebuilt };
  }
  const open: string[] = [];
  for (const [id, { state, acked }] of ledger.dbs) {
    if (state === "ready" && !engine.has(id)) problems.push(`${id} is lost`);
    try {
      const there = engine.has(id);
      if (!there) await engine.create(id);
      open.push(id);
      await engine.use(id, (db) => write(db, there ? acked : 0, problems));
      if (views) await sameDerived(engine, id, problems);
    } catch (error) {
      problems.push(`${id}: ${String(error)}`);
    }
  }
  const folders = open.map((id) => [id, engine.folderOf(id)] as const);
  await engine.close().catch((error: unknown) => problems.push(`does not close: ${String(error)}`));
  for (const [id, folder] of folders) await sameCatalog(id, folder, problems);
  return { problems, rebuilt };
}

async function write(db: Db, acked: number, problems: string[]): Promise<void> {
  const { log } = db;
  const { seq } = log.head();
  if (seq < acked) problems.push(`${db.id} is at ${seq} of ${acked}`);
  for (const { commit, clientTxId } of log.commits(Math.max(1, seq - 2), 3)) {
    const [entry] = commit.entries;
    if (!entry || clientTxId === "" || commit.entries.length > 1) continue;
    if (db.earlier(commit.author, clientTxId, entry.doc)?.seq !== commit.seq)
      problems.push(`a repeat of commit ${commit.seq} is not known`);
  }
  const doc = "notes/0";
  const state = log.state(doc);
  const change = plainChange({
    deps: state ? [...state.heads.keys()] : [db.genesis(doc).hash],
    actor: sha256("after the cut").subarray(0, 16).toString("hex"),
    seq: 1,
    startOp: (state?.maxOp ?? 0) + 1,
    key: "after",
    value: 1,
    pad: 0,
  });
  const receipt = await db.tx({ author: "writer", writes: [{ doc, changes: [change] }] });
  if (receipt.seq !== seq + 1 || log.commit(seq + 1)?.blocks.length !== 1)
    problems.push(`a write after ${seq} became ${receipt.seq}`);
}

/** The catalog that is there against one made of the log. */
async function sameCatalog(id: string, folder: string, problems: string[]): Promise<void> {
  const tables = async (): Promise<string> => {
    await new Log(openSqliteLog(folder, id, { reserve: 0 }), openSqliteCatalog(folder)).close();
    return JSON.stringify(tablesOf(folder, "catalog.sqlite"));
  };
  const kept = await tables();
  dropSqliteCatalog(folder);
  if ((await tables()) !== kept) problems.push(`the catalog of ${id} is not what its log leads to`);
}

async function sameDerived(engine: Engine, id: string, problems: string[]): Promise<void> {
  const kept = await derivedOf(engine, id);
  await engine.rebuild(id);
  if (JSON.stringify(await derivedOf(engine, id)) !== JSON.stringify(kept))
    problems.push(`what is derived of ${id} is not what its log leads to`);
}
