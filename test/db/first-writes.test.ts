import fc from "fast-check";
import type { Db } from "../../src/db/db.ts";
import { Engine } from "../../src/db/engine.ts";
import { actorOn } from "../../src/db/own-actor.ts";
import type { TxRequest, TxWrite } from "../../src/db/write.ts";
import { toHex } from "../../src/ids/hash.ts";
import { readTrustedHeader } from "../../src/log/change.ts";
import { refusal } from "../log/fixture.ts";
import { setChange } from "../support/plain-change.mjs";
import { tempDir } from "../support/temp-dir.ts";

/** The first value of a document is written without a thread; whatever comes after reads it with Automerge. */

const engine = new Engine({ dir: tempDir(), reserve: 0, documents: { workers: 1 } });
afterAll(() => engine.close());
let count = 0;

async function inDb(work: (db: Db) => Promise<void>): Promise<void> {
  const dbId = `db-${++count}`;
  await engine.create(dbId);
  await engine.use(dbId, work);
}

const put = (doc: string, value: string): TxWrite => ({ doc, edit: { kind: "put", value } });
const tx = (db: Db, writes: readonly TxWrite[], more: Partial<TxRequest> = {}) =>
  db.tx({ author: "ann", writes, ...more });
const ONE = '{"b":[1,"zwei",{"n":null}],"a":"é😀"}';

/** As Automerge reads it: whoever asks for conflicts is answered by a thread, from the log. */
const byAutomerge = (db: Db, doc: string, branch?: string) =>
  db.read(doc, { conflicts: true, ...(branch === undefined ? {} : { branch }) });

test("a thousand small documents are written, and shown by the projection, without a message to a thread", () =>
  inDb(async (db) => {
    const before = db.documents.stats().messages;
    const docs = Array.from({ length: 1000 }, (_, i) => `c/${i}`);
    const { seq, heads } = await tx(
      db,
      docs.map((doc, i) => put(doc, JSON.stringify({ i, text: `number ${i}` }))),
    );
    expect(Object.keys(heads)).toHaveLength(1000);
    await db.projection.catchUp();
    expect(db.documents.stats().messages).toBe(before);
    for (const [i, doc] of docs.entries()) {
      expect(db.views.document(doc)).toMatchObject({ seq, json: `{"i":${i},"text":"number ${i}"}` });
    }
    expect((await byAutomerge(db, "c/999")).json).toBe('{"i":999,"text":"number 999"}');
  }));

test("what is told of a new document is what Automerge reads of it, to the letter", () =>
  inDb(async (db) => {
    const value = fc.jsonValue({ maxDepth: 4, stringUnit: "grapheme" });
    const values = fc.sample(fc.dictionary(fc.string({ maxLength: 5 }), value, { maxKeys: 6 }), 100);
    const writes = values
      .map((each) => JSON.stringify(each).replaceAll('"__proto__"', '"proto"'))
      // JavaScript writes some floats as whole numbers of this many digits, which are refused.
      .filter((text) => !/(?<![.\d])\d{16}/.test(text))
      .map((text, i) => put(`c/${i}`, text));
    await tx(db, writes);
    for (const { doc } of writes) {
      const { json } = await db.read(doc);
      expect((await byAutomerge(db, doc)).json).toBe(json);
    }
  }));

test("the change names the server's actor on the branch, the time and the message", () =>
  inDb(async (db) => {
    await tx(db, [put("c/other", ONE)]);
    await db.log.createBranch("draft", { author: "ann" });
    const written = async (branch: string) => {
      const { seq } = await tx(db, [put("c/a", ONE)], { branch, message: `on ${branch}` });
      const [block] = db.log.commit(seq)?.blocks ?? [];
      return { seq, header: readTrustedHeader(block as Uint8Array) };
    };
    const there = await written("draft");
    const here = await written("main");
    const id = db.log.branchId("draft");
    expect(id).toBeGreaterThan(0);
    expect(there.header.actor).toBe(toHex(actorOn(db.log.identity.actor, id)));
    expect(here.header.actor).toBe(toHex(db.log.identity.actor));
    expect(here.header.deps).toEqual([db.genesis("c/a").hash]);
    expect(here.header.time).toBe(Math.floor((db.log.commit(here.seq)?.commit.time as number) / 1000));
    expect(Buffer.from(here.header.bytes).includes("on main")).toBe(true);
    expect((await byAutomerge(db, "c/a", "draft")).json).toBe('{"a":"é😀","b":[1,"zwei",{"n":null}]}');
    await db.merge({ author: "ann", from: "draft", into: "main" });
    expect((await byAutomerge(db, "c/a")).heads).toHaveLength(2);
  }));

test("trying it out keeps nothing, and a repeat is answered with the first receipt", () =>
  inDb(async (db) => {
    const tried = await tx(db, [put("c/a", ONE)], { dryRun: true });
    expect(tried).toMatchObject({ seq: 1, duplicate: false });
    expect(db.log.head().seq).toBe(0);
    expect(await refusal(() => db.read("c/a"))).toMatchObject({ code: "DOC_NOT_FOUND" });
    const first = await tx(db, [put("c/a", ONE)], { clientTxId: "one" });
    const again = await tx(db, [put("c/a", '{"other":1}')], { clientTxId: "one" });
    expect(again).toMatchObject({ seq: first.seq, commit: first.commit, duplicate: true });
    expect(await tx(db, [put("c/a", ONE)])).toMatchObject({ seq: first.seq, duplicate: true });
  }));

test("two that write the same new document at once are one after the other", () =>
  inDb(async (db) => {
    const receipts = await Promise.all(
      ['{"n":1}', '{"n":2}', '{"n":3}'].map((each) => tx(db, [put("c/a", each)])),
    );
    expect(receipts.map(({ seq }) => seq)).toEqual([1, 2, 3]);
    expect((await byAutomerge(db, "c/a")).json).toBe('{"n":3}');
    expect(db.log.state("c/a")?.heads.size).toBe(1);
  }));

test("the document goes on as any other: a patch, a deletion, and back", () =>
  inDb(async (db) => {
    // The thread does not have to ask for what the first write left. On a busy machine the projection's own
    // message may come between; a thread that had to ask would be sent two messages each time.
    const messages: number[] = [];
    for (const doc of ["c/a", "c/b", "c/c", "c/d"]) {
      await tx(db, [put(doc, ONE)]);
      await db.projection.catchUp();
      await db.resting();
      const before = db.documents.stats().messages;
      await tx(db, [{ doc, edit: { kind: "merge-patch", patch: '{"b":null,"c":1}' } }]);
      messages.push(db.documents.stats().messages - before);
    }
    expect(Math.min(...messages)).toBe(1);
    expect((await byAutomerge(db, "c/a")).json).toBe('{"a":"é😀","c":1}');
    await tx(db, [{ doc: "c/a", delete: true }]);
    await tx(db, [put("c/a", '{"new":true}')]);
    expect((await byAutomerge(db, "c/a")).json).toBe('{"new":true}');
    expect(db.log.state("c/a")?.changes).toBe(4);
  }));

test("a value beyond what is written at once is written by a thread, as the same document", () =>
  inDb(async (db) => {
    const large = JSON.stringify({ text: "x".repeat(20_000), list: [1, 2] });
    const before = db.documents.stats().messages;
    await tx(db, [put("c/large", large), put("c/small", ONE)]);
    expect(db.documents.stats().messages).toBeGreaterThan(before);
    expect((await byAutomerge(db, "c/large")).json).toBe((await db.read("c/large")).json);
    expect((await byAutomerge(db, "c/small")).json).toBe('{"a":"é😀","b":[1,"zwei",{"n":null}]}');
  }));

test("one that cannot be stored refuses the whole transaction, by its own name", () =>
  inDb(async (db) => {
    for (const [value, code] of [
      ["{", "BAD_JSON"],
      ["[]", "VALUE_INVALID"],
      ['{"__proto__":1}', "VALUE_INVALID"],
      ['{"a":9007199254740993}', "VALUE_INVALID"],
      ['{"a":"\\ud800"}', "VALUE_INVALID"],
      [`{"${"k".repeat(16_000)}é":1}`, "none"],
      [`{"${"é".repeat(8193)}":1}`, "CHANGE_TOO_LARGE"],
    ] as const) {
      const dryRun = code === "none";
      expect(await refusal(tx(db, [put("c/a", ONE), put("c/b", value)], { dryRun }))).toMatchObject({ code });
    }
    expect(await refusal(tx(db, [put("c/b", "{"), { doc: "c/c", delete: true }]))).toMatchObject({
      code: "DOC_NOT_FOUND",
    });
    expect(db.log.head().seq).toBe(0);
  }));

describe("a transaction of more documents than may wait for a thread", () => {
  const small = new Engine({ dir: tempDir(), reserve: 0, documents: { workers: 1, queueLimit: 300 } });
  afterAll(() => small.close());
  const docs = Array.from({ length: 1000 }, (_, i) => `c/${i}`);

  test("is authored all the same", async () => {
    await small.create("edits");
    await small.use("edits", async (db) => {
      await tx(
        db,
        docs.map((doc, i) => put(doc, `{"i":${i}}`)),
      );
      const patches = docs.map((doc) => ({ doc, edit: { kind: "merge-patch", patch: '{"p":1}' } as const }));
      await tx(db, patches);
      expect((await byAutomerge(db, "c/999")).json).toBe('{"i":999,"p":1}');
    });
  });

  test("by others is tried and shown all the same", async () => {
    await small.create("others");
    await small.use("others", async (db) => {
      const changes = docs.map((doc, value) => {
        const { bytes } = setChange({
          deps: [db.genesis(doc).hash],
          actor: "ab".repeat(16),
          seq: 1,
          startOp: 1,
          key: "n",
          value: value % 64,
        });
        return { doc, changes: [bytes] };
      });
      await tx(db, changes);
      await db.projection.catchUp();
      expect(db.views.document("c/999")).toMatchObject({ json: `{"n":${999 % 64}}` });
    });
  });
});
