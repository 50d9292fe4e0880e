import { mkdtempSync } from "node:fs";
import path from "node:path";
import * as A from "@automerge/automerge";
import { Db } from "../../src/db/db.ts";
import { realWorld } from "../../src/world.ts";
import { startPacker } from "../../src/db/compaction.ts";
import { JsonCache } from "../../src/db/json-cache.ts";
import type { Documents } from "../../src/documents/documents.ts";
import { packBundle } from "../../src/log/bundle.ts";
import type { Receipt } from "../../src/log/log.ts";
import type { CatalogTable, LogStorage } from "../../src/store/contract.ts";
import { openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { createSqliteLog } from "../../src/store/sqlite-log.ts";
import { openViews, type Views } from "../../src/store/sqlite-views.ts";
import { Ledger } from "./ledger.ts";

/** Parts of a db as they should be, or with something wrong around them. */
export interface Build {
  readonly storage?: (sound: LogStorage) => LogStorage;
  readonly catalog?: (sound: CatalogTable) => CatalogTable;
  readonly views?: (sound: Views) => Views;
  readonly cache?: JsonCache;
}

export interface Worked {
  readonly db: Db;
  readonly folder: string;
  /** The storage that the db works on, with whatever is wrong around it. */
  readonly storage: LogStorage;
  readonly ledger: Ledger;
  readonly close: () => Promise<void>;
}

/** Message of the last commit: what is broken there breaks nothing after it. */
export const LAST = "the last one";
/** The commit that the workload's long transaction makes, in which changes of two documents come together. */
export const BOTH = "both";

/**
 * A small db in which everything happened once: changes and authored edits, two writers at once, a
 * repeat, a refusal, a deletion, an erasure, changes set aside, a bundle, a saved form, a projection that followed
 * it. Whatever a broken build makes fail on the way is left to the check to find.
 */
export async function workload(root: string, documents: Documents, build: Build = {}): Promise<Worked> {
  const folder = path.join(mkdtempSync(path.join(root, "check-")), "db");
  const whole = <T>(part: T): T => part;
  const storage = (build.storage ?? whole)(createSqliteLog(folder, "notes", { reserve: 0 }));
  const catalog = (build.catalog ?? whole)(openSqliteCatalog(folder));
  const views = (build.views ?? whole)(openViews(folder));
  let clock = 1_000_000;
  const db = new Db({
    storage,
    catalog,
    views,
    documents,
    cache: build.cache ?? new JsonCache(2 ** 20),
    onError: () => {},
    log: { world: { ...realWorld, now: () => (clock += 1000) } },
    packer: startPacker,
  });
  const ledger = new Ledger();
  let count = 0;
  const keep = async (
    author: string,
    docs: string[],
    changes: readonly Uint8Array[],
    write: (clientTxId: string) => Promise<Receipt>,
  ): Promise<void> => {
    const clientTxId = `tx-${++count}`;
    const hashes = changes.map((bytes) => A.decodeChange(bytes).hash as string);
    ledger.sent({ author, clientTxId, docs, ...(changes.length > 0 ? { hashes } : {}) });
    try {
      ledger.acknowledged({ ...(await write(clientTxId)), clientTxId });
    } catch (error) {
      ledger.failed(clientTxId, (error as { code?: string }).code);
    }
  };
  const send = (author: string, changes: Record<string, readonly Uint8Array[]>, message?: string) =>
    keep(author, Object.keys(changes), Object.values(changes).flat(), (clientTxId) =>
      db.tx({
        author,
        clientTxId,
        writes: Object.entries(changes).map(([doc, bytes]) => ({ doc, changes: bytes })),
        ...(message === undefined ? {} : { message }),
      }),
    );
  const put = (doc: string, value: unknown) =>
    keep("ann", [doc], [], (clientTxId) =>
      db.tx({
        author: "ann",
        clientTxId,
        writes: [{ doc, edit: { kind: "put", value: JSON.stringify(value) } }],
      }),
    );

  const a1 = set(copyOf(db, "c/a", "aa"), { n: 1 });
  const a2 = set(a1, { n: 2 });
  const other = set(A.clone(a1, { actor: "bb".repeat(16) }), { m: 1 });
  const merged = set(A.merge(A.clone(a2, { actor: "aa".repeat(16) }), other), { n: 3 });
  await send("ann", { "c/a": [last(a1)] });
  await put("c/put", { title: "one", list: [1, 2] });
  await send("ann", { "c/a": [last(a2)] });
  await send("bob", { "c/a": [last(other)] });
  await ignore(db.log.compact(packBundle, { upTo: 3 }));
  await send("ann", { "c/a": [last(merged)] });
  await put("c/put", { title: "two", list: [2] });
  // One that is refused: its number is taken by another change.
  await send("ann", { "c/a": [last(set(a1, { n: 99 }))] });
  const b1 = set(copyOf(db, "d/b", "cc"), { text: "x".repeat(40) });
  const a4 = set(merged, { n: 4 });
  await send("ann", { "c/a": [last(a4)], "d/b": [last(b1)] }, BOTH);
  await put("c/gone", { n: 1 });
  await keep("ann", ["c/gone"], [], (clientTxId) =>
    db.tx({ author: "ann", clientTxId, writes: [{ doc: "c/gone", delete: true }] }),
  );
  await put("c/erased", { secret: "x" });
  await keep("ann", ["c/erased"], [], async (clientTxId) => {
    const { receipt } = await db.erase({
      author: "ann",
      docs: ["c/erased"],
      reason: "asked for",
      clientTxId,
    });
    return receipt;
  });
  // One that passes the guard and that Automerge does not take: the projection sets it aside.
  const { hash: _, ...parts } = A.decodeChange(
    last(set(A.clone(b1, { actor: "dd".repeat(16) }), { bad: 1 })),
  );
  const op = { ...parts.ops[0], obj: `1@${"99".repeat(16)}` };
  await send("eve", { "d/b": [new Uint8Array(A.encodeChange({ ...parts, ops: [op] } as never))] });
  await ignore(db.projection.catchUp());
  await ignore(db.projection.catchUp());
  await ignore(Promise.resolve().then(() => db.log.tidy()));
  // Repeats of what was answered: they change nothing, whatever the catalog has forgotten.
  await ignore(
    db.tx({
      author: "ann",
      clientTxId: "tx-2",
      writes: [{ doc: "c/put", edit: { kind: "put", value: '{"again":1}' } }],
    }),
  );
  await ignore(db.save("c/a").then(({ seq, bytes }) => views.putSaved("c/a", seq, bytes)));
  await send("ann", { "c/a": [last(set(a4, { n: 5 }))] }, LAST);
  await ignore(db.projection.catchUp());
  return { db, folder, storage, ledger, close: () => ignore(db.close()) };
}

type Doc = A.Doc<Record<string, unknown>>;

function copyOf(db: Db, doc: string, actor: string): Doc {
  return A.applyChanges(A.init<Record<string, unknown>>({ actor: actor.repeat(16) }), [
    db.genesis(doc).bytes,
  ])[0];
}

function set(doc: Doc, values: Record<string, unknown>): Doc {
  return A.change(A.clone(doc, { actor: A.getActorId(doc) }), { time: 0 }, (draft) => {
    Object.assign(draft, values);
  });
}

const last = (doc: Doc): Uint8Array => A.getLastLocalChange(doc) as Uint8Array;

async function ignore(work: Promise<unknown>): Promise<void> {
  await work.catch(() => {});
}
