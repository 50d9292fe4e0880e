import { Engine } from "../../src/db/engine.ts";
import type { Db } from "../../src/db/db.ts";
import type { TxRequest, TxWrite } from "../../src/db/write.ts";
import { LIMITS } from "../../src/limits.ts";
import { ownActors } from "../../src/db/own-actor.ts";
import { copyOf, forge, lastChange, refusal, set, ACTORS } from "../log/fixture.ts";
import { tempDir } from "../support/temp-dir.ts";

const engine = new Engine({ dir: tempDir(), reserve: 0, documents: { workers: 1 } });
afterAll(() => engine.close());
let count = 0;

/** A db of its own, closed again after the work. */
async function inDb(work: (db: Db) => Promise<void>): Promise<void> {
  const dbId = `db-${++count}`;
  await engine.create(dbId);
  await engine.use(dbId, work);
}

const put = (doc: string, value: unknown, base?: readonly string[]): TxWrite => ({
  doc,
  edit: { kind: "put", value: JSON.stringify(value) },
  ...(base ? { base } : {}),
});
const tx = (db: Db, writes: readonly TxWrite[], more: Partial<TxRequest> = {}) =>
  db.tx({ author: "ann", writes, ...more });
const value = async (db: Db, doc: string): Promise<unknown> => JSON.parse((await db.read(doc)).json);

describe("a transaction", () => {
  test("is refused before anything is looked at when its form is wrong", () =>
    inDb(async (db) => {
      expect(await refusal(tx(db, []))).toMatchObject({ code: "TX_EMPTY" });
      expect(await refusal(tx(db, [put("c/a", 1), put("c/a", 2)]))).toMatchObject({ code: "BAD_REQUEST" });
      expect(await refusal(tx(db, [put("no slash", {})]))).toMatchObject({ code: "NAME_INVALID" });
      expect(await refusal(tx(db, [put("c/a", {})], { clientTxId: "x".repeat(10_000) }))).not.toMatchObject({
        code: "none",
      });
      const change = lastChange(set(copyOf(db.log, "c/a", ACTORS[0]), { n: 1 }));
      const writes = [{ doc: "c/a", changes: [change] }];
      for (const clientTxId of ["", " ", "x".repeat(LIMITS.names.txIdCharacters.value + 1)])
        for (const some of [writes, [put("c/a", {})]])
          expect(await refusal(tx(db, some, { clientTxId }))).toMatchObject({ code: "NAME_INVALID" });
      const message = "m".repeat(LIMITS.tx.messageCharacters.value);
      expect(await refusal(tx(db, [put("c/a", {})], { message: `${message}m` }))).toMatchObject({
        code: "BAD_REQUEST",
      });
      expect(await refusal(tx(db, [put("c/a", {})], { message, dryRun: true }))).toMatchObject({
        code: "none",
      });
      const heads = Array.from({ length: LIMITS.tx.heads.value + 1 }, () => "ab".repeat(32));
      expect(await refusal(tx(db, [put("c/a", {}, heads)]))).toMatchObject({ code: "TOO_LARGE" });
      expect(await refusal(tx(db, [put("c/a", {})], { reads: [{ doc: "c/b", heads }] }))).toMatchObject({
        code: "TOO_LARGE",
      });
      const reads = Array.from({ length: LIMITS.tx.reads.value + 1 }, (_, i) => ({
        doc: `c/${i}`,
        heads: [],
      }));
      expect(await refusal(tx(db, [put("c/a", {})], { reads }))).toMatchObject({ code: "TOO_LARGE" });
      expect(await refusal(tx(db, [put("c/a", {})], { reads: reads.slice(1), dryRun: true }))).toMatchObject({
        code: "none",
      });
      const many = Array.from({ length: 1001 }, (_, i) => put(`c/${i}`, {}));
      expect(await refusal(tx(db, many))).toMatchObject({ code: "TOO_LARGE" });
      expect(db.log.head().seq).toBe(0);
    }));

  test("is one commit over several documents, whole or not at all", () =>
    inDb(async (db) => {
      const receipt = await tx(db, [put("c/a", { n: 1 }), put("c/b", { n: 2 })], { message: "both" });
      expect(receipt).toMatchObject({ seq: 1, duplicate: false });
      expect(Object.keys(receipt.heads)).toEqual(["c/a", "c/b"]);
      expect(db.log.commit(1)?.commit.message).toBe("both");
      expect(await refusal(tx(db, [put("c/a", { n: 3 }), { doc: "c/gone", delete: true }]))).toMatchObject({
        code: "DOC_NOT_FOUND",
      });
      expect(await value(db, "c/a")).toEqual({ n: 1 });
      expect(db.log.head().seq).toBe(1);
    }));

  test("that is tried out says what it would do and keeps nothing", () =>
    inDb(async (db) => {
      await tx(db, [put("c/a", { n: 1 })]);
      const tried = await tx(db, [put("c/a", { n: 2 }), put("c/b", {})], { dryRun: true });
      expect(tried.seq).toBe(2);
      expect(db.log.head().seq).toBe(1);
      expect(await value(db, "c/a")).toEqual({ n: 1 });
      expect(await refusal(() => db.read("c/b"))).toMatchObject({ code: "DOC_NOT_FOUND" });
      // What the next commit is, it is for everybody.
      const foreign = lastChange(set(copyOf(db.log, "c/a", ACTORS[0]), { m: 1 }));
      expect((await tx(db, [{ doc: "c/a", changes: [foreign] }])).seq).toBe(2);
      expect(await value(db, "c/a")).toEqual({ n: 1, m: 1 });
      expect(await refusal(tx(db, [{ doc: "c/x", delete: true }], { dryRun: true }))).toMatchObject({
        code: "DOC_NOT_FOUND",
      });
    }));

  test("that changes nothing is answered with the commit that has it", () =>
    inDb(async (db) => {
      const first = await tx(db, [put("c/a", { n: 1 })]);
      const again = await tx(db, [put("c/a", { n: 1 })]);
      expect(again).toMatchObject({ seq: first.seq, commit: first.commit, duplicate: true });
      const empty = await tx(db, [put("c/empty", {})]);
      expect(empty).toMatchObject({ seq: 2, duplicate: false });
      expect(await value(db, "c/empty")).toEqual({});
      expect(await tx(db, [put("c/empty", {})])).toMatchObject({ seq: 2, duplicate: true });
    }));
});

describe("a transaction of a program without types", () => {
  test("is refused when an edit is none, and leaves the threads as they were", () =>
    inDb(async (db) => {
      for (const edit of [
        undefined,
        {},
        { kind: "put" },
        { kind: "put", value: 7 },
        { kind: "merge-patch", value: "{}" },
        { kind: "rename", value: "{}" },
      ]) {
        const write = { doc: "c/a", edit } as unknown as TxWrite;
        expect(await refusal(tx(db, [write]))).toMatchObject({ code: "BAD_REQUEST" });
      }
      await tx(db, [put("c/a", { n: 1 })]);
      expect(await value(db, "c/a")).toEqual({ n: 1 });
    }));
});

describe("a base", () => {
  test("is what a write is refused for when the document moved on", () =>
    inDb(async (db) => {
      const { heads } = await tx(db, [put("c/a", { n: 1 })]);
      const base = heads["c/a"] as readonly string[];
      await tx(db, [put("c/a", { n: 2 }, base)]);
      const refused = await refusal(tx(db, [put("c/a", { n: 3 }, base)]));
      expect(refused).toMatchObject({
        code: "HEADS_CONFLICT",
        details: { doc: "c/a", current_heads: db.point("c/a").heads },
      });
      expect(await refusal(tx(db, [{ doc: "c/a", base, delete: true }]))).toMatchObject({
        code: "HEADS_CONFLICT",
      });
      expect(await value(db, "c/a")).toEqual({ n: 2 });
    }));

  test("of a document that is not there yet is empty, or its genesis", () =>
    inDb(async (db) => {
      await tx(db, [put("c/a", { n: 1 }, [])]);
      await tx(db, [put("c/b", { n: 1 }, [db.genesis("c/b").hash])]);
      expect(db.log.head().seq).toBe(2);
      expect(await refusal(tx(db, [put("c/c", {}, [db.genesis("c/b").hash])]))).toMatchObject({
        code: "HEADS_CONFLICT",
      });
      expect(await refusal(tx(db, [put("c/a", {}, [])]))).toMatchObject({ code: "HEADS_CONFLICT" });
      expect(
        await refusal(tx(db, [put("c/c", {}, [db.genesis("c/c").hash, db.genesis("c/b").hash])])),
      ).toMatchObject({ code: "HEADS_CONFLICT" });
    }));

  test("that nobody named is found again when another writer was faster", () =>
    inDb(async (db) => {
      const writers = Array.from({ length: 20 }, (_, i) =>
        tx(db, [{ doc: "c/a", edit: { kind: "merge-patch", patch: JSON.stringify({ [`k${i}`]: i }) } }]),
      );
      const foreign = copyOf(db.log, "c/a", ACTORS[0]);
      writers.push(
        tx(db, [{ doc: "c/a", changes: [lastChange(set(foreign, { own: true }))] }], { author: "bob" }),
      );
      await Promise.all(writers);
      const merged = (await value(db, "c/a")) as Record<string, unknown>;
      expect(Object.keys(merged)).toHaveLength(21);
      expect(db.log.head().seq).toBe(21);
    }));

  test("of one of several documents is found again, too, and of a document that is only read it is not", () =>
    inDb(async (db) => {
      const foreign = set(copyOf(db.log, "c/a", ACTORS[0]), { own: true });
      const faster = () => tx(db, [{ doc: "c/a", changes: [lastChange(foreign)] }], { author: "bob" });
      const both = tx(db, [put("c/a", { n: 1 }), put("c/b", { n: 2 })]);
      expect((await faster()).seq).toBe(1);
      expect((await both).seq).toBe(2);
      expect([await value(db, "c/a"), await value(db, "c/b")]).toEqual([{ n: 1 }, { n: 2 }]);
      const reads = [{ doc: "c/a", heads: db.point("c/a").heads }];
      const reader = refusal(tx(db, [put("c/b", { n: 3 })], { reads }));
      await tx(db, [
        { doc: "c/a", changes: [lastChange(set(copyOf(db.log, "c/a", ACTORS[1]), { other: true }))] },
      ]);
      expect(await reader).toMatchObject({ code: "HEADS_CONFLICT", details: { doc: "c/a" } });
      expect(await value(db, "c/b")).toEqual({ n: 2 });
    }));
});

describe("a repeat", () => {
  test("gets the first receipt, whatever became of what it builds on", () =>
    inDb(async (db) => {
      const { heads } = await tx(db, [put("c/a", { n: 1 })]);
      const base = heads["c/a"] as readonly string[];
      const first = await tx(db, [put("c/a", { n: 2 }, base)], { clientTxId: "t1" });
      await tx(db, [{ doc: "c/a", delete: true }]);
      const again = await tx(db, [put("c/a", { n: 2 }, base)], { clientTxId: "t1" });
      expect(again).toMatchObject({ seq: first.seq, commit: first.commit, duplicate: true });
      expect(db.log.head().seq).toBe(3);
      expect(await refusal(tx(db, [put("c/b", {})], { clientTxId: "t1" }))).toMatchObject({
        code: "TX_ID_REUSED",
      });
      // It is that before anything else is looked at that could refuse it.
      expect(await refusal(tx(db, [{ doc: "c/none", delete: true }], { clientTxId: "t1" }))).toMatchObject({
        code: "TX_ID_REUSED",
      });
      expect(await refusal(() => db.earlier("ann", "t1", "c/b"))).toMatchObject({ code: "TX_ID_REUSED" });
      // The id is ann's: bob's is another.
      const bobs = await tx(db, [put("c/b", {})], { clientTxId: "t1", author: "bob" });
      expect(bobs).toMatchObject({ seq: 4, duplicate: false });
      expect(db.earlier("ann", "t1", "c/a")).toMatchObject({ seq: first.seq });
      expect(db.earlier("ann", "t2", "c/a")).toBeUndefined();
      expect(db.earlier("ann", undefined, "c/a")).toBeUndefined();
    }));

  test("that races its first is one commit", () =>
    inDb(async (db) => {
      const receipts = await Promise.all(
        Array.from({ length: 8 }, () => tx(db, [put("c/a", { n: 1 })], { clientTxId: "once" })),
      );
      expect(new Set(receipts.map(({ commit }) => commit)).size).toBe(1);
      expect(receipts.filter(({ duplicate }) => !duplicate)).toHaveLength(1);
      expect(db.log.head().seq).toBe(1);
    }));
});

describe("an edit", () => {
  test("with what no change can hold is the value's fault", () =>
    inDb(async (db) => {
      for (const bad of ['{"a":"\\ud800"}', '{"\\udc00":1}', '{"a":1e999}', "[1]", "7", "{"]) {
        const outcome = await refusal(tx(db, [{ doc: "c/a", edit: { kind: "put", value: bad } }]));
        expect([bad, outcome.code]).toEqual([
          bad,
          expect.stringMatching(/^(VALUE_INVALID|BAD_JSON|BAD_REQUEST)$/),
        ]);
      }
      // What the guard does not take of a change that was made here.
      const put = (value: string) => refusal(tx(db, [{ doc: "c/a", edit: { kind: "put", value } }]));
      expect(await put('{"__proto__":1}')).toMatchObject({ code: "VALUE_INVALID" });
      expect(await put(`{"${"k".repeat(LIMITS.change.keyBytes.value + 1)}":1}`)).toMatchObject({
        code: "CHANGE_TOO_LARGE",
      });
      expect(db.log.head().seq).toBe(0);
    }));

  test("of a document that is not there is refused where it needs one", () =>
    inDb(async (db) => {
      const patch: TxWrite = {
        doc: "c/a",
        edit: { kind: "json-patch", patch: JSON.stringify([{ op: "add", path: "/n", value: 1 }]) },
      };
      expect(await refusal(tx(db, [patch]))).toMatchObject({ code: "DOC_NOT_FOUND" });
      await tx(db, [put("c/a", {})]);
      await tx(db, [patch]);
      expect(await value(db, "c/a")).toEqual({ n: 1 });
      await tx(db, [{ doc: "c/a", delete: true }]);
      expect(await refusal(tx(db, [patch]))).toMatchObject({ code: "DOC_NOT_FOUND" });
      expect(await refusal(tx(db, [{ doc: "c/a", delete: true }]))).toMatchObject({ code: "DOC_NOT_FOUND" });
      await tx(db, [put("c/a", { again: true })]);
      expect(await value(db, "c/a")).toEqual({ again: true });
    }));
});

describe("changes that a client made", () => {
  test("may not be by the server's own actor, and keep their author's name", () =>
    inDb(async (db) => {
      const change = lastChange(set(copyOf(db.log, "c/a", ACTORS[0]), { n: 1 }));
      const [own] = ownActors(db.log.identity.actor, undefined);
      const forged = forge(change, { actor: own });
      expect(await refusal(tx(db, [{ doc: "c/a", changes: [forged] }]))).toMatchObject({
        code: "CHANGE_ACTOR",
        details: { doc: "c/a", actor: own },
      });
      expect(db.log.head().seq).toBe(0);
      await tx(db, [{ doc: "c/a", changes: [change] }], { author: "bob" });
      expect(db.log.commit(1)?.commit.author).toBe("bob");
      const next = lastChange(set(set(copyOf(db.log, "c/a", ACTORS[0]), { n: 1 }), { n: 2 }));
      // Ann may not go on with Bob's actor, unless she is the owner who imports.
      expect(await refusal(tx(db, [{ doc: "c/a", changes: [next] }]))).toMatchObject({
        code: "CHANGE_ACTOR",
      });
      await tx(db, [{ doc: "c/a", changes: [next] }], { anyActor: true });
      expect(await value(db, "c/a")).toEqual({ n: 2 });
    }));

  test("are a conflict when they name what they build on and it has moved", () =>
    inDb(async (db) => {
      const start = copyOf(db.log, "c/a", ACTORS[0]);
      const one = set(start, { n: 1 });
      const { heads } = await tx(db, [{ doc: "c/a", base: [], changes: [lastChange(one)] }]);
      const two = lastChange(set(one, { n: 2 }));
      const base = heads["c/a"] as readonly string[];
      const stale = await refusal(tx(db, [{ doc: "c/a", base: [], changes: [two] }]));
      expect(stale).toMatchObject({ code: "HEADS_CONFLICT", details: { doc: "c/a", current_heads: base } });
      await tx(db, [{ doc: "c/a", base, changes: [two] }]);
      expect(await value(db, "c/a")).toEqual({ n: 2 });
    }));

  test("go with edits of other documents into one commit, on the heads that were read", () =>
    inDb(async (db) => {
      const { heads } = await tx(db, [put("c/read", { n: 1 })]);
      const reads = [{ doc: "c/read", heads: heads["c/read"] as readonly string[] }];
      const change = lastChange(set(copyOf(db.log, "c/a", ACTORS[0]), { n: 1 }));
      const both: TxWrite[] = [{ doc: "c/a", changes: [change] }, put("c/b", { n: 2 })];
      await tx(db, both, { reads, expectSeq: 1 });
      expect([await value(db, "c/a"), await value(db, "c/b")]).toEqual([{ n: 1 }, { n: 2 }]);
      await tx(db, [put("c/read", { n: 2 })]);
      expect(await refusal(tx(db, [put("c/b", { n: 3 })], { reads }))).toMatchObject({
        code: "HEADS_CONFLICT",
        details: { doc: "c/read" },
      });
      expect(await refusal(tx(db, [put("c/b", { n: 3 })], { expectSeq: 1 }))).toMatchObject({
        code: "SEQ_CONFLICT",
        details: { seq: 3 },
      });
      expect(await value(db, "c/b")).toEqual({ n: 2 });
    }));
});
