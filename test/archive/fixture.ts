import * as A from "@automerge/automerge";
import { historyParts, historyRoot, type UseDb } from "../../src/archive/history-export.ts";
import { importArchive, type Imported } from "../../src/archive/archive-import.ts";
import { makeState } from "../../src/archive/state-export.ts";
import type { Db } from "../../src/db/db.ts";
import type { Engine } from "../../src/db/engine.ts";
import { encodeEvent } from "../../src/log/event.ts";
import { pull } from "../../src/replication/exchange.ts";
import { carrying, peerOf, put } from "../replication/fixture.ts";

export const usesOf =
  (engine: Engine, db: string): UseDb =>
  (work) =>
    engine.use(db, work);

export async function collected(parts: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const part of parts) all.push(part);
  return Buffer.concat(all);
}

/** The history of a db up to a commit, as a file. */
export async function historyOf(engine: Engine, db: string, seq?: number): Promise<Buffer> {
  const at = await engine.use(db, ({ log }) => log.head().seq);
  const point = await engine.use(db, ({ log }) => ({ seq: seq ?? at, commit: log.commit(seq ?? at)?.cid }));
  const parts = historyParts(usesOf(engine, db), point);
  return collected(
    (async function* () {
      for await (const { bytes } of parts) yield bytes;
    })(),
  );
}

/** The documents of a db as they were at a commit, as a file. */
export async function stateOf(engine: Engine, db: string, seq?: number, branch = "main"): Promise<Buffer> {
  const at = await engine.use(db, ({ log }) => seq ?? log.seqOn(log.head().seq, branch));
  const point = await engine.use(db, ({ log }) => ({ seq: at, commit: log.commit(at)?.cid, branch }));
  const file = await makeState(usesOf(engine, db), point, { dir: engine.dir, world: engine.world });
  try {
    return await collected(file.read(0, file.bytes));
  } finally {
    await file.close();
  }
}

/** A file in pieces, as a network or a disk gives it. */
export async function* inPieces(bytes: Uint8Array, size = 64 * 1024): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

export const importInto = (engine: Engine, db: string, bytes: Uint8Array, size?: number): Promise<Imported> =>
  importArchive(engine, inPieces(bytes, size), { author: "importer", db });

type Doc = A.Doc<Record<string, unknown>>;

export function copyOf(db: Db, doc: string, actor: string): Doc {
  return A.applyChanges(A.init<Record<string, unknown>>({ actor: actor.repeat(16) }), [
    db.genesis(doc).bytes,
  ])[0];
}

export function set(doc: Doc, values: Record<string, unknown>): Doc {
  return A.change(A.clone(doc, { actor: A.getActorId(doc) }), { time: 0 }, (draft) => {
    Object.assign(draft, values);
  });
}

export function last(doc: Doc): Uint8Array {
  const change = A.getLastLocalChange(doc);
  if (!change) throw new Error("the document has no change of its own");
  return change;
}

/**
 * A db in which everything happened that a log has a form for: several documents in a commit, one change in two
 * documents, concurrent heads, a deletion and a return, changes set aside, events, receipts, merge commits of another
 * copy's line, some of it in bundles.
 */
export async function everything(engine: Engine, db: string): Promise<void> {
  await engine.create(db);
  const other = `${db}-other`;
  await put(engine, "items/one", { n: 1 }, { db, clientTxId: "first" });
  await put(engine, "items/gone", { n: 1 }, { db });
  await put(engine, "items/back", { n: 1 }, { db });
  await engine.use(db, async (held) => {
    const a = set(copyOf(held, "c/a", "aa"), { n: 1 });
    const b = set(A.clone(a, { actor: "bb".repeat(16) }), { m: 1 });
    await held.tx({ author: "ann", writes: [{ doc: "c/a", changes: [last(a)] }] });
    await held.tx({
      author: "bob",
      clientTxId: "bob's,one",
      message: "two at once",
      writes: [
        { doc: "c/a", changes: [last(b)] },
        { doc: "items/gone", delete: true },
        { doc: "items/back", delete: true },
      ],
    });
    await held.tx({ author: "ann", writes: [{ doc: "c/a", changes: [last(set(a, { n: 2 }))] }] });
    // A history of its own, which is the same in two documents.
    const free = A.change(
      A.init<Record<string, unknown>>({ actor: "ee".repeat(16) }),
      { time: 0 },
      (draft) => {
        draft["free"] = true;
      },
    );
    await held.tx({
      author: "eve",
      writes: [
        { doc: "c/free", changes: [last(free)] },
        { doc: "d/free", changes: [last(free)] },
      ],
    });
    // One that passes the guard and that Automerge does not take: the projection sets it aside.
    const bad = set(copyOf(held, "c/bad", "cc"), { text: "x".repeat(40) });
    await held.tx({ author: "ann", writes: [{ doc: "c/bad", changes: [last(bad)] }] });
    const next = last(set(A.clone(bad, { actor: "dd".repeat(16) }), { bad: 1 }));
    const { hash: _, ...parts } = A.decodeChange(next);
    const op = { ...parts.ops[0], obj: `1@${"99".repeat(16)}` };
    await held.tx({
      author: "eve",
      writes: [{ doc: "c/bad", changes: [new Uint8Array(A.encodeChange({ ...parts, ops: [op] } as never))] }],
    });
    await held.projection.catchUp();
    await held.projection.catchUp();
    await held.log.write({
      author: "op",
      clientTxId: "event-1",
      writes: [],
      events: [encodeEvent({ type: "test.happened", n: 1 }), encodeEvent({ type: "test.happened", n: 2 })],
    });
  });
  await put(engine, "items/back", { n: 2 }, { db });
  const { uid, head } = await engine.use(db, ({ log }) => ({ uid: log.identity.uid, head: log.head() }));
  await engine.create(other, uid);
  await pull({ here: peerOf(engine, other), there: peerOf(engine, db) }, carrying);
  await put(engine, "items/one", { n: 2, there: 1 }, { db: other, clientTxId: "there" });
  await put(engine, "items/there", { n: 1 }, { db: other });
  await put(engine, "items/one", { n: 1, here: 1 }, { db, clientTxId: "here" });
  await engine.use(db, (held) => held.compact({ upTo: head.seq - 3 }));
  // This side's own commits come to stand in a merge on top of the other's.
  await pull({ here: peerOf(engine, db), there: peerOf(engine, other) }, carrying);
  await put(engine, "items/after", { n: 1 }, { db, clientTxId: "after" });
  await engine.delete(other);
  // Branches, one of them closed, with documents of their own and changed ones.
  await engine.use(db, async (held) => {
    const write = (branch: string, doc: string, value: unknown) =>
      held.tx({
        author: "ann",
        branch,
        writes: [{ doc, edit: { kind: "put", value: JSON.stringify(value) } }],
      });
    await held.log.createBranch("draft", { author: "ann" });
    await write("draft", "items/one", { n: 3, draft: true });
    await write("main", "items/one", { n: 3, main: true });
    await write("draft", "items/drafted", { n: 1 });
    await held.log.createBranch("below", { author: "bob", from: "draft", message: "a branch of a branch" });
    await write("below", "items/drafted", { n: 2 });
    await held.log.closeBranch("below", { author: "bob" });
  });
}

export { historyRoot };
