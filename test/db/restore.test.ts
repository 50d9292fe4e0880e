import * as A from "@automerge/automerge";
import { checkDb, finished } from "../../src/db/check.ts";
import type { Db } from "../../src/db/db.ts";
import { Engine } from "../../src/db/engine.ts";
import { restorePoint, type RestoreRequest } from "../../src/db/restore.ts";
import { readChange } from "../../src/log/change.ts";
import { changesIn, type StoredCommit } from "../../src/log/stored-commit.ts";
import { copyOf, lastChange, refusal, ACTORS } from "../log/fixture.ts";
import { seedOf, seeded } from "../support/fault-process.ts";
import { tempDir } from "../support/temp-dir.ts";

const engine = new Engine({ dir: tempDir(), reserve: 0, documents: { workers: 1 } });
afterAll(() => engine.close());
let count = 0;

/** A db of its own. */
async function inDb(work: (db: Db) => Promise<void>): Promise<void> {
  const dbId = `db-${++count}`;
  await engine.create(dbId);
  await engine.use(dbId, work);
}

const put = (doc: string, value: unknown) => ({
  doc,
  edit: { kind: "put" as const, value: JSON.stringify(value) },
});
const restore = (db: Db, at: number, more: Partial<RestoreRequest> = {}) =>
  restorePoint(db, { author: "ann", at, ...more });

/** Every document of the db, as text, at a point. */
async function all(db: Db, at = db.log.head().seq): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const { name } of db.log.list("", "", 1000, true)) {
    const view = await db.read(name, { at: String(at) }).catch((error: unknown) => {
      expect(error).toMatchObject({ code: "DOC_NOT_FOUND" });
    });
    if (view) found[name] = view.json;
  }
  return found;
}

const SEED = seedOf();
const RUNS = Number(process.env["SKALD_TEST_RESTORES"] ?? 3);

test(`brings every document back to where it was, by commits on top (seed ${SEED})`, async () => {
  const drawn = seeded(SEED);
  const next = (below: number): number => Math.floor(drawn() * below);
  const tally = { changed: 0, returned: 0, deleted: 0 };
  for (let run = 0; run < RUNS; run += 1) {
    await inDb(async (db) => {
      const docs = ["c/a", "c/b", "c/d", "d/a", "d/b"];
      for (let i = 0; i < 24; i += 1) {
        const doc = docs[next(docs.length)] as string;
        const state = db.log.state(doc);
        if (state && !state.deleted && next(3) === 0)
          await db.tx({ author: "ann", writes: [{ doc, delete: true }] });
        else
          await db.tx({
            author: "ann",
            writes: [
              put(doc, {
                n: next(9),
                text: "x".repeat(next(9)),
                list: [next(3), next(3)],
                [`k${next(4)}`]: i,
              }),
            ],
          });
      }
      const { seq } = db.log.head();
      const at = next(seq + 1);
      const then = await all(db, at);
      const before = db.log.commits(1, seq).map(({ cid }) => Buffer.from(cid).toString("hex"));
      const dry = await restore(db, at, { dryRun: true });
      expect(db.log.head().seq).toBe(seq);
      const done = await restore(db, at);
      expect({ ...dry, seq: 0 }).toEqual({ ...done, seq: 0 });
      expect(await all(db)).toEqual(then);
      expect(db.log.commits(1, seq).map(({ cid }) => Buffer.from(cid).toString("hex"))).toEqual(before);
      // What was before it is still there to be read, and back again it goes.
      const again = await restore(db, at);
      expect(again).toMatchObject({ commits: 0, changed: 0, returned: 0, deleted: 0, seq: done.seq });
      for (const name of ["changed", "returned", "deleted"] as const) tally[name] += done[name];
      expect((await finished(checkDb(db))).findings).toEqual([]);
    });
  }
  expect(tally.changed + tally.returned + tally.deleted).toBeGreaterThan(0);
});

test("keeps Automerge's types, whether a value changed or was taken away", () =>
  inDb(async (db) => {
    const first = A.change(copyOf(db.log, "c/a", ACTORS[0]), { time: 0 }, (draft) => {
      Object.assign(draft, {
        count: new A.Counter(5),
        gone: new A.Counter(7),
        at: new Date("2026-01-02T03:04:05.000Z"),
        bytes: new Uint8Array([1, 2, 3]),
        plain: new A.ImmutableString("plain"),
        text: "hello world",
        deep: { list: [new Date(0), { f: 1.5 }, new Uint8Array([9])] },
      });
    });
    await db.tx({ author: "bob", writes: [{ doc: "c/a", changes: [lastChange(first)] }] });
    const second = A.change(first, { time: 0 }, (draft) => {
      const { count } = draft as { count: A.Counter };
      count.increment(3);
      for (const key of ["gone", "at", "bytes", "plain", "deep"]) delete draft[key];
      A.splice(draft, ["text"], 5, 0, " big");
    });
    await db.tx({ author: "bob", writes: [{ doc: "c/a", changes: [lastChange(second)] }] });
    const value = async (at?: string) => {
      const { bytes } = await db.save("c/a", at === undefined ? {} : { at });
      return A.toJS(A.load<Record<string, unknown>>(bytes));
    };
    const then = await value("1");
    await restore(db, 1);
    expect(await value()).toEqual(then);
    expect((await value())["gone"]).toBeInstanceOf(A.Counter);
    expect((await value())["at"]).toBeInstanceOf(Date);
    // The text is the one it was: four characters went, and nothing else of it was written.
    const stored = db.log.commit(3) as StoredCommit;
    const [change] = changesIn(stored, "c/a").map((bytes) => A.decodeChange(bytes));
    expect(change?.ops.filter(({ action }) => action === "del")).toHaveLength(4);
    expect(readChange(changesIn(stored, "c/a")[0] as Uint8Array).opCount).toBeLessThan(20);
  }));

test("is of the documents that are named, or of a collection, and says who and why", () =>
  inDb(async (db) => {
    await db.tx({
      author: "ann",
      writes: [put("c/a", { n: 1 }), put("c/b", { n: 1 }), put("d/a", { n: 1 })],
    });
    await db.tx({
      author: "ann",
      writes: [put("c/a", { n: 2 }), put("c/b", { n: 2 }), put("d/a", { n: 2 })],
    });
    expect(await restore(db, 1, { documents: ["c/a", "c/a"] })).toMatchObject({ changed: 1, commits: 1 });
    expect(await all(db)).toEqual({ "c/a": '{"n":1}', "c/b": '{"n":2}', "d/a": '{"n":2}' });
    expect(await restore(db, 1, { prefix: "d/", author: "eve", message: "oops" })).toMatchObject({
      changed: 1,
    });
    expect(db.log.commit(4)?.commit).toMatchObject({ author: "eve", message: "oops" });
    expect(await all(db)).toEqual({ "c/a": '{"n":1}', "c/b": '{"n":2}', "d/a": '{"n":1}' });
    expect(await refusal(() => restore(db, 99))).toMatchObject({ code: "POINT_IN_FUTURE" });
    expect(await refusal(() => restore(db, 1, { documents: ["c/never"] }))).toMatchObject({
      code: "DOC_NOT_FOUND",
    });
    expect(await refusal(() => restore(db, 1, { documents: ["none"] }))).toMatchObject({
      code: "NAME_INVALID",
    });
    expect(await restore(db, 0)).toMatchObject({ deleted: 3 });
    expect(await all(db)).toEqual({});
    expect(await restore(db, 1)).toMatchObject({ returned: 3 });
    expect(await all(db)).toEqual({ "c/a": '{"n":1}', "c/b": '{"n":1}', "d/a": '{"n":1}' });
  }));

test("that broke off is finished by the same call", () =>
  inDb(async (db) => {
    const names = Array.from({ length: 130 }, (_, i) => `c/${i}`);
    await db.tx({ author: "ann", writes: names.map((name) => put(name, { n: 1 })) });
    await db.tx({ author: "ann", writes: names.map((name) => put(name, { n: 2 })) });
    const stop = new AbortController();
    const half = await restore(db, 1, { signal: stop.signal, onProgress: () => stop.abort() });
    expect(half.changed).toBeGreaterThan(0);
    expect(half.changed).toBeLessThan(130);
    const rest = await restore(db, 1);
    expect(half.changed + rest.changed).toBe(130);
    expect(rest.commits).toBe(1);
    expect(new Set(Object.values(await all(db)))).toEqual(new Set(['{"n":1}']));
  }));
