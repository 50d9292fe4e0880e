import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Tokens } from "../../src/auth/tokens.ts";
import type { Db } from "../../src/db/db.ts";
import { Engine } from "../../src/db/engine.ts";
import { cidFromString } from "../../src/ids/cid.ts";
import { Log } from "../../src/log/log.ts";
import { openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { openSqliteLog } from "../../src/store/sqlite-log.ts";
import { SERVICE_FILE } from "../../src/store/sqlite-registry.ts";
import { findingsIn } from "./ledger.ts";
import type { Result, Tx } from "./nth-runs.ts";

/**
 * Opens what a run left, in this process, which never saw the fault, and compares it with what was answered
 * then. Everything it says should not be so.
 */
export async function wrongAfter({ dir, dbs, txs, tokens }: Result): Promise<string[]> {
  const wrong: string[] = [];
  const engine = new Engine({
    dir,
    reserve: 0,
    documents: { workers: 1 },
    onError: (error) => wrong.push(`told ${String(error)}`),
  });
  try {
    const there = engine.has("a");
    for (const [dbId, state] of Object.entries(dbs)) {
      if (state !== "unknown" && engine.has(dbId) !== (state === "there"))
        wrong.push(`${dbId} should be ${state}`);
      await engine.create(dbId).catch((error: unknown) => wrong.push(`create ${dbId}: ${String(error)}`));
    }
    const folder = engine.folderOf("a");
    wrong.push(...unsound(folder));
    await engine.use("a", async (db) => {
      // Following the log would start Automerge, which none of this needs.
      await db.projection.close();
      wrong.push(...countsWrong(db, txs, there));
      wrong.push(...(await answersWrong(db, folder)));
      for (const tx of txs) wrong.push(...(await repeatWrong(db, tx)));
      const ids = idsIn(db);
      if (new Set(ids).size !== ids.length || ids.length !== txs.length)
        wrong.push(`after repeats ${ids.length} commits of ${txs.length} transactions`);
    });
    wrong.push(...unsound(folder));
    wrong.push(...tokensWrong(dir, tokens));
  } finally {
    await engine.close();
  }
  return wrong;
}

/** What the checker finds in the log. */
function unsound(folder: string): string[] {
  const storage = openSqliteLog(folder, "a", { readonly: true });
  try {
    return findingsIn(storage).map(({ what, where }) => `verify: ${what} at ${JSON.stringify(where)}`);
  } finally {
    storage.close();
  }
}

function idsIn({ log }: Db): string[] {
  const ids: string[] = [];
  for (let seq = 1; seq <= log.head().seq; seq += 1) ids.push(log.commit(seq)?.clientTxId ?? "");
  return ids;
}

/** Acknowledged is there, refused is not, unknown is or is not; nothing else is. */
function countsWrong(db: Db, txs: readonly Tx[], there: boolean): string[] {
  const ids = idsIn(db);
  const wrong: string[] = [];
  for (const { id, outcome, seq, commit } of txs) {
    const found = ids.filter((other) => other === id).length;
    if (outcome === "acknowledged") {
      if (!there || ids[(seq ?? 0) - 1] !== id) wrong.push(`${id} was acknowledged as ${seq} and is lost`);
      else if (db.log.findCommit(cidFromString(commit ?? "")) === undefined && found !== 1)
        wrong.push(`${id} is there ${found} times`);
    } else if (outcome === "unknown" ? found > 1 : found > 0) wrong.push(`${id} was ${outcome} and is there`);
  }
  const known = new Set(txs.map(({ id }) => id));
  for (const id of ids) if (!known.has(id)) wrong.push(`nobody wrote ${id}`);
  return wrong;
}

/** A repeat with the same client_tx_id is right whatever became of the first. */
async function repeatWrong(db: Db, { id, doc, bytes, outcome, commit }: Tx): Promise<string[]> {
  const before = idsIn(db).indexOf(id) + 1;
  try {
    const receipt = await db.tx({
      author: "writer",
      clientTxId: id,
      writes: [{ doc, changes: [new Uint8Array(Buffer.from(bytes, "base64"))] }],
    });
    if (receipt.duplicate !== before > 0) return [`the repeat of ${id} says duplicate: ${receipt.duplicate}`];
    if (before > 0 && receipt.seq !== before)
      return [`the repeat of ${id} names ${receipt.seq}, not ${before}`];
    if (outcome === "acknowledged" && receipt.commit !== commit)
      return [`the repeat of ${id} has another receipt`];
    return [];
  } catch (error) {
    return [`the repeat of ${id} is refused: ${String(error)}`];
  }
}

/** What the catalog that went through the fault says, beside one that is made of the log alone. */
async function answersWrong(db: Db, folder: string): Promise<string[]> {
  const scratch = mkdtempSync(path.join(tmpdir(), "skald-catalog-"));
  const fresh = new Log(openSqliteLog(folder, "a"), openSqliteCatalog(scratch));
  try {
    const [lived, anew] = await Promise.all([db.log, fresh].map(answersOf));
    return lived === anew ? [] : [`the catalog says ${lived}, made anew ${anew}`];
  } finally {
    await fresh.close();
    rmSync(scratch, { recursive: true });
  }
}

async function answersOf(log: Log): Promise<string> {
  const docs = log.list("", "", 1000, true);
  const located = [];
  for (let seq = 1; seq <= log.head().seq; seq += 1) {
    const cid = log.commit(seq)?.cid;
    located.push(cid && (await log.locate(cid)));
  }
  return JSON.stringify([
    log.counts(),
    docs.map(({ name, first, last, deleted, heads, actors }) => [
      name,
      first,
      last,
      deleted,
      [...heads],
      [...actors],
    ]),
    docs.map(({ name }) => log.history(name, log.head().seq, 1000)),
    located,
  ]);
}

function tokensWrong(dir: string, made: Result["tokens"]): string[] {
  const tokens = new Tokens(path.join(dir, SERVICE_FILE));
  try {
    return made
      .filter(
        ({ text, state }) =>
          state !== "unknown" && (tokens.verify(text) !== undefined) !== (state === "good"),
      )
      .map(({ state }) => `a token that should be ${state} is not`);
  } finally {
    tokens.close();
  }
}
