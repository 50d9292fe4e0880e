import path from "node:path";
import * as A from "@automerge/automerge";
import { Db } from "../../src/db/db.ts";
import { startPacker } from "../../src/db/compaction.ts";
import { JsonCache } from "../../src/db/json-cache.ts";
import { Documents, type CheckJob } from "../../src/documents/documents.ts";
import { SkaldError, type ErrorCode } from "../../src/errors.ts";
import { openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { createSqliteLog } from "../../src/store/sqlite-log.ts";
import { openViews } from "../../src/store/sqlite-views.ts";
import { realWorld } from "../../src/world.ts";
import { tempDir } from "../support/temp-dir.ts";

/** When a document of others' changes is tried, how often, and what is set aside when threads fail meanwhile. */

const root = tempDir();
const sound = new Documents({ workers: 1 });
const open: Db[] = [];
afterAll(async () => {
  await Promise.all(open.map((db) => db.close()));
  await sound.close();
});

const DOC = "c/a";
let count = 0;

/** A db on threads of which some answers are other ones, and a clock that only a test puts forward. */
function dbWith(worse: Partial<Pick<Documents, "check" | "read">>) {
  const documents = new Proxy(sound, {
    get: (of, name) => {
      const other = worse[name as keyof typeof worse] as unknown;
      if (other !== undefined) return other;
      const value: unknown = Reflect.get(of, name, of);
      return typeof value === "function" ? (value.bind(of) as unknown) : value;
    },
  });
  const folder = path.join(root, `db-${++count}`);
  const storage = createSqliteLog(folder, "notes", { reserve: 0 });
  const clock = { ahead: 0 };
  const timers: (() => void)[] = [];
  const world = {
    ...realWorld,
    // It stands still: on a busy machine a trial may take longer than the time that there is for it.
    monotonic: () => clock.ahead,
    timer: (_: number, work: () => void) => (timers.push(work), () => {}),
  };
  const db = new Db({
    storage,
    catalog: openSqliteCatalog(folder),
    views: openViews(folder),
    documents,
    cache: new JsonCache(0),
    onError: () => {},
    log: { world },
    packer: startPacker,
  });
  open.push(db);
  /** Lets every timer go off that was set by now, and waits for what it starts. */
  const rest = async () => {
    for (const work of timers.splice(0)) work();
    await db.resting();
  };
  return { db, clock, rest };
}

type Copy = A.Doc<Record<string, unknown>>;
const set = (doc: Copy, actor: string, values: Record<string, unknown>): Copy =>
  A.change(A.clone(doc, { actor: actor.repeat(16) }), { time: 0 }, (draft) => {
    Object.assign(draft, values);
  });
const lastOf = (doc: Copy): Uint8Array => A.getLastLocalChange(doc) as Uint8Array;
const startOf = (db: Db): Copy =>
  A.applyChanges(A.init<Record<string, unknown>>(), [db.genesis(DOC).bytes])[0];
/** A change that passes the guard and that Automerge does not take. */
function badOn(doc: Copy, actor: string): Uint8Array {
  const { hash: _, ...parts } = A.decodeChange(lastOf(set(doc, actor, { bad: 1 })));
  const ops = [{ ...parts.ops[0], obj: `1@${"99".repeat(16)}` }];
  return new Uint8Array(A.encodeChange({ ...parts, ops } as never));
}
const hashOf = (change: Uint8Array): string => A.decodeChange(change).hash as string;
const send = (db: Db, ...changes: Uint8Array[]) =>
  db.tx({ author: "eve", anyActor: true, writes: [{ doc: DOC, changes }] });
const valueOf = async (db: Db): Promise<unknown> => JSON.parse((await db.read(DOC)).json);
const refusedIn = (db: Db): string[] => [...(db.log.state(DOC)?.refused.keys() ?? [])];
const fails = (code: ErrorCode) => Promise.reject(new SkaldError(code, "no"));

describe("a document that others changed", () => {
  test("whose trial takes too long is readable, and not tried again before they change it", async () => {
    let tried = 0;
    const { db } = dbWith({ check: () => ((tried += 1), fails("WORK_TIMEOUT")) });
    const first = set(startOf(db), "aa", { a: 1 });
    await send(db, lastOf(first));
    await db.projection.catchUp();
    await db.save(DOC);
    expect([tried, await valueOf(db)]).toEqual([1, { a: 1 }]);
    await send(db, lastOf(set(first, "aa", { a: 2 })));
    await db.projection.catchUp();
    expect([tried, await valueOf(db), refusedIn(db)]).toEqual([2, { a: 2 }, []]);
  });

  test("is tried by whoever comes next when the threads had no time for it", async () => {
    let busy = true;
    const { db } = dbWith({ check: (job) => (busy ? fails("WORK_BUSY") : sound.check(job)) });
    await send(db, lastOf(set(startOf(db), "aa", { a: 1 })));
    await expect(db.save(DOC)).rejects.toMatchObject({ code: "WORK_BUSY" });
    busy = false;
    expect(A.toJS(A.load((await db.save(DOC)).bytes))).toEqual({ a: 1 });
  });

  test("that cannot be read and has nothing to set aside is gone through once, until it changes", async () => {
    const asked: CheckJob[] = [];
    const { db } = dbWith({
      read: () => fails("DOC_UNREADABLE"),
      // What a trial reads of it would do for a reader.
      check: async (job) => {
        asked.push(job);
        const { json: _, ...found } = await sound.check(job);
        return found;
      },
    });
    const first = set(startOf(db), "aa", { a: 1 });
    await send(db, lastOf(first));
    // Known to be good up to here, and all the same gone through from its start when it cannot be read.
    await db.projection.catchUp();
    const read = () => expect(db.read(DOC)).rejects.toMatchObject({ code: "DOC_UNREADABLE" });
    await read();
    expect(asked.some(({ changes }) => changes.length === 1)).toBe(true);
    const before = asked.length;
    await read();
    await read();
    expect(asked).toHaveLength(before);
    await send(db, lastOf(set(first, "aa", { a: 2 })));
    await read();
    expect(asked.length).toBeGreaterThan(before);
    expect(refusedIn(db)).toEqual([]);
  });
});

describe("a larger document that others keep writing", () => {
  test("is tried when it has grown a lot and when it rests, not after each write, and saved on the way", async () => {
    const asked: CheckJob[] = [];
    const { db, clock, rest } = dbWith({ check: (job) => (asked.push(job), sound.check(job)) });
    let doc = A.clone(startOf(db), { actor: "aa".repeat(16) });
    const write = async (count: number) => {
      const changes: Uint8Array[] = [];
      for (let i = 0; i < count; i++) {
        doc = A.change(doc, { time: 0 }, (draft) => {
          draft[`k${i % 9}`] = i;
        });
        changes.push(lastOf(doc));
      }
      await send(db, ...changes);
      await db.projection.catchUp();
    };
    const seen = () => [asked.length, db.views.saved(DOC)?.seq];
    await write(80);
    expect(seen()).toEqual([1, undefined]);
    await write(30);
    await write(30);
    expect(seen()).toEqual([1, undefined]);
    await write(200);
    expect(seen()).toEqual([2, 4]);
    await write(260);
    expect(seen()).toEqual([2, 4]);
    expect(JSON.parse((await db.read(DOC)).json)).toEqual(A.toJS(doc));
    clock.ahead += 31_000;
    await rest();
    expect(seen()).toEqual([3, 5]);
    expect(A.toJS(A.load((await db.save(DOC)).bytes))).toEqual(A.toJS(doc));
    expect(asked).toHaveLength(3);
  });
});

describe("a bad change", () => {
  test("that only shows on loading is set aside once the document rests", async () => {
    const bad = { hash: "" };
    const { db, clock, rest } = dbWith({
      check: async (job) => {
        const there =
          bad.hash !== "" &&
          (job.heads.includes(bad.hash) || job.changes.some((c) => hashOf(c) === bad.hash));
        return there
          ? { refused: { index: job.changes.length - 1, reason: "it does not load" } }
          : sound.check(job);
      },
    });
    let doc = startOf(db);
    const changes: Uint8Array[] = [];
    for (let i = 0; i < 100; i++) changes.push(lastOf((doc = set(doc, "aa", { [`k${i % 9}`]: i }))));
    await send(db, ...changes);
    await db.projection.catchUp();
    const last = lastOf(set(doc, "aa", { bad: true }));
    bad.hash = hashOf(last);
    await send(db, last);
    await db.projection.catchUp();
    expect(refusedIn(db)).toEqual([]);
    clock.ahead += 31_000;
    await rest();
    expect([refusedIn(db), await valueOf(db)]).toEqual([[bad.hash], A.toJS(doc)]);
  });

  test("is set aside also when another write comes first, which is tried too", async () => {
    let late: (() => Promise<unknown>) | undefined;
    const { db } = dbWith({
      check: async (job) => {
        const result = await sound.check(job);
        if (result.refused) {
          const write = late;
          late = undefined;
          await write?.();
        }
        return result;
      },
    });
    const first = set(startOf(db), "aa", { a: 1 });
    const bad = [badOn(first, "dd"), badOn(first, "ee")] as const;
    await send(db, lastOf(first), bad[0]);
    late = () => send(db, lastOf(set(first, "bb", { b: 1 })), bad[1]);
    await db.projection.catchUp();
    expect(refusedIn(db).sort()).toEqual(bad.map(hashOf).sort());
    expect(await valueOf(db)).toEqual({ a: 1, b: 1 });
    expect(db.history(DOC, undefined, 1)).toMatchObject([{ author: "skald", refused: { length: 2 } }]);
  });

  test("found when the time is used up is set aside, and what comes after it in the next round", async () => {
    const { db, clock } = dbWith({
      check: async (job) => {
        const result = await sound.check(job);
        clock.ahead += 6000;
        return result;
      },
    });
    const first = set(startOf(db), "aa", { a: 1 });
    const bad = [badOn(first, "dd"), badOn(first, "ee")];
    await send(db, lastOf(first), ...bad);
    await db.projection.catchUp();
    await db.projection.catchUp();
    expect(refusedIn(db).sort()).toEqual(bad.map(hashOf).sort());
    const asides = db.history(DOC, undefined, 10).filter(({ author }) => author === "skald");
    expect(asides.map(({ refused }) => refused?.length)).toEqual([1, 1]);
    expect(await valueOf(db)).toEqual({ a: 1 });
  });

  test("is one that is refused alone, whatever a check says of it among others", async () => {
    const { db } = dbWith({
      // As a module answers after it panicked: the first of several is to blame.
      check: async (job) =>
        job.changes.length === 1 ? sound.check(job) : { refused: { index: 0, reason: "it panicked" } },
    });
    const first = set(startOf(db), "aa", { a: 1 });
    const bad = badOn(first, "dd");
    await send(db, lastOf(first), bad, lastOf(set(first, "bb", { b: 1 })));
    await db.projection.catchUp();
    expect([refusedIn(db), await valueOf(db)]).toEqual([[hashOf(bad)], { a: 1, b: 1 }]);
  });

  test("is none where the document before it does not load", async () => {
    const { db } = dbWith({ check: async () => ({ refused: { index: -1, reason: "it does not load" } }) });
    await send(db, lastOf(set(startOf(db), "aa", { a: 1 })));
    await db.projection.catchUp();
    expect([refusedIn(db), await valueOf(db)]).toEqual([[], { a: 1 }]);
  });
});

test("a document that came with a history of its own takes changes on its genesis as well, saved or not", async () => {
  const { db } = dbWith({});
  let own = A.init<Record<string, unknown>>({ actor: "aa".repeat(16) });
  const changes = Array.from({ length: 300 }, (_, i) => lastOf((own = set(own, "aa", { [`k${i % 9}`]: i }))));
  await send(db, ...changes);
  expect(await db.keepSaved(DOC)).toBe(true);
  expect(await valueOf(db)).toEqual(A.toJS(own));
  const other = set(startOf(db), "bb", { b: 1 });
  await send(db, lastOf(other));
  const both = A.toJS(A.merge(own, other));
  expect([await valueOf(db), refusedIn(db)]).toEqual([both, []]);
  await db.projection.catchUp();
  expect([await valueOf(db), refusedIn(db)]).toEqual([both, []]);
});
