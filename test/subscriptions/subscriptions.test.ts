import { cpSync } from "node:fs";
import path from "node:path";
import type { Db } from "../../src/db/db.ts";
import { Engine } from "../../src/db/engine.ts";
import { SkaldError } from "../../src/errors.ts";
import type { SubscriptionTable } from "../../src/store/contract.ts";
import { openSqliteSubscriptions } from "../../src/store/sqlite-subscriptions.ts";
import { Consumer, type Delivered } from "../../src/subscriptions/subscription-consumer.ts";
import type { Definition } from "../../src/subscriptions/subscription-definition.ts";
import type { LiveSubscription } from "../../src/subscriptions/subscription-live.ts";
import {
  Subscriptions,
  type DbSubscriptions,
  type OpenSubscriptions,
} from "../../src/subscriptions/subscriptions.ts";
import { over } from "../simulation/storage.ts";
import { setChange } from "../support/plain-change.mjs";
import { tempDir } from "../support/temp-dir.ts";

const engines: Engine[] = [];
afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.close()));
});

const DEFINITION: Definition = {
  mode: "shared",
  include: "none",
  creator: "ann",
  created: 0,
  ackMs: 50,
  maxUnacked: 100,
};

interface Bench {
  readonly dir: string;
  readonly db: Db;
  readonly all: DbSubscriptions;
  readonly subscriptions: Subscriptions;
  readonly errors: unknown[];
}

async function start(dir = path.join(tempDir(), "data"), open?: OpenSubscriptions): Promise<Bench> {
  const engine = new Engine({ dir, reserve: 0, documents: { workers: 1 } });
  engines.push(engine);
  await engine.create("notes");
  const held = engine.hold("notes");
  if (!held) throw new Error("it is closing");
  const errors: unknown[] = [];
  const onError = (error: unknown): void => void errors.push(error);
  const subscriptions = new Subscriptions({ engine, onError, ...(open ? { open } : {}) });
  held.release();
  return { dir, db: held.db, all: subscriptions.of(held.db), subscriptions, errors };
}

/** What a process finds that starts on the directory as it is at this moment. */
async function crashed({ dir }: Bench, open?: OpenSubscriptions): Promise<Bench> {
  const copy = path.join(tempDir(), "data");
  cpSync(dir, copy, { recursive: true, filter: (name) => !/lock\.sqlite|\.sock$|-shm$/.test(name) });
  return start(copy, open);
}

let actors = 0;
/** Commits of a document each, by hand: no thread has to start for that. */
async function write(db: Db, count: number): Promise<void> {
  for (let n = 0; n < count; n += 1) {
    const actor = (actors += 1).toString(16).padStart(32, "a");
    const { bytes } = setChange({ deps: [], actor, seq: 1, startOp: 1, key: "n", value: n });
    await db.tx({ author: "ann", writes: [{ doc: `c/d${actors}`, changes: [bytes] }] });
  }
}

/** Everything that can be had now. */
async function drain(live: LiveSubscription, id = "c"): Promise<Delivered[]> {
  const consumer = new Consumer(id, 1000);
  const leave = live.enter(consumer, true);
  await live.settled();
  const taken = consumer.take();
  leave(true);
  return taken;
}

const seqs = (delivered: readonly Delivered[]): number[] => delivered.map(({ event }) => event.seq);

/** What was acknowledged before a crash and comes again after it; what never comes is -1. */
async function afterCrash(open?: OpenSubscriptions): Promise<number[]> {
  const bench = await start(undefined, open);
  await bench.all.put("s", DEFINITION, 0);
  await write(bench.db, 6);
  const live = bench.all.get("s");
  expect(seqs(await drain(live))).toEqual([1, 2, 3, 4, 5, 6]);
  await live.ack([2, 3, 5]);
  const later = await crashed(bench, open);
  const back = later.all.has("s") ? seqs(await drain(later.all.get("s"))) : [-1];
  return back.filter((seq) => [-1, 2, 3, 5].includes(seq));
}

describe("what was acknowledged", () => {
  test("is acknowledged after a crash, and the rest comes again", async () => {
    expect(await afterCrash()).toEqual([]);
  });

  const around =
    (own: (sound: SubscriptionTable) => Partial<SubscriptionTable>): OpenSubscriptions =>
    (...args) => {
      const sound = openSqliteSubscriptions(...args);
      return sound && over(sound, own(sound));
    };

  test.each<[string, OpenSubscriptions]>([
    [
      "answers before it is written",
      around((sound) => ({
        write: (puts, removes) => {
          if (puts.every(({ name }) => !sound.stored.has(name))) return sound.write(puts, removes);
          setTimeout(() => {
            try {
              sound.write(puts, removes);
            } catch {
              // The file was closed meanwhile.
            }
          }, 200).unref();
        },
      })),
    ],
    [
      "writes the first state only",
      around((sound) => ({
        write: (puts, removes) =>
          sound.write(
            puts.filter(({ name }) => !sound.stored.has(name)),
            removes,
          ),
      })),
    ],
    [
      "keeps no file",
      (() => {
        const memory = new Map();
        return (_folder, _uid, { create }) =>
          create ? { stored: memory, write: () => {}, close: () => {} } : undefined;
      })(),
    ],
  ])("comes again with a build that %s", async (_what, open) => {
    expect(await afterCrash(open)).not.toEqual([]);
  });

  test("is written with all that is acknowledged in the same turn, in one step", async () => {
    let writes = 0;
    const bench = await start(undefined, (...args) => {
      const sound = openSqliteSubscriptions(...args);
      return (
        sound &&
        over(sound, {
          write: (puts, removes) => {
            writes += 1;
            sound.write(puts, removes);
          },
        })
      );
    });
    await bench.all.put("a", DEFINITION, 0);
    await bench.all.put("b", DEFINITION, 0);
    await write(bench.db, 40);
    for (const name of ["a", "b"]) await drain(bench.all.get(name));
    writes = 0;
    await Promise.all(
      Array.from({ length: 40 }, (_, i) => bench.all.get(i % 2 === 0 ? "a" : "b").ack([i + 1])),
    );
    expect(writes).toBe(1);
    const later = await crashed(bench);
    expect([later.all.get("a").progress().counts.ahead, later.all.get("b").position]).toEqual([19, 0]);
    expect(seqs(await drain(later.all.get("a")))).toEqual(Array.from({ length: 20 }, (_, i) => 2 * i + 2));
  });

  test("on a full disk is refused, and kept when it is said again once there is room", async () => {
    let full = false;
    const bench = await start(undefined, (...args) => {
      const sound = openSqliteSubscriptions(...args);
      return (
        sound &&
        over(sound, {
          write: (puts, removes) => {
            if (full) throw new SkaldError("STORAGE_FULL", "The disk is full.");
            sound.write(puts, removes);
          },
        })
      );
    });
    await bench.all.put("s", DEFINITION, 0);
    await write(bench.db, 3);
    const live = bench.all.get("s");
    await drain(live);
    full = true;
    await expect(live.ack([1])).rejects.toMatchObject({ code: "STORAGE_FULL" });
    await expect(bench.all.put("t", DEFINITION, 0)).rejects.toMatchObject({ code: "STORAGE_FULL" });
    expect(bench.all.has("t")).toBe(false);
    expect(() => bench.all.remove("s")).toThrow("The disk is full.");
    expect(bench.all.has("s")).toBe(true);
    full = false;
    await live.ack([1]);
    expect((await crashed(bench)).all.get("s").position).toBe(1);
  });
});

test("failed deliveries count on over a restart, one that the restart cut off does not", async () => {
  const bench = await start();
  await bench.all.put("s", { ...DEFINITION, maxAttempts: 3 }, 0);
  await write(bench.db, 2);
  const live = bench.all.get("s");
  await drain(live);
  live.nack("c", [1], 0);
  await live.ack([2]);
  expect((await drain(live)).map(({ attempt }) => attempt)).toEqual([2]);
  const later = await crashed(bench);
  expect((await drain(later.all.get("s"))).map(({ event, attempt }) => [event.seq, attempt])).toEqual([
    [1, 2],
  ]);
  later.all.get("s").nack("c", [1], 0);
  await drain(later.all.get("s"));
  later.all.get("s").nack("c", [1], 0);
  expect(later.all.get("s").parked).toMatchObject([{ seq: 1, attempts: 3, reason: "nack" }]);
  await later.all.get("s").retry([1]);
  // What is to be tried again is tried again also after that.
  const last = await crashed(later);
  expect(last.all.get("s").position).toBe(2);
  expect(seqs(await drain(last.all.get("s")))).toEqual([1]);
  await last.all.get("s").ack([1]);
  const end = await crashed(last);
  expect([end.all.get("s").parked, await drain(end.all.get("s"))]).toEqual([[], []]);
});

test("a subscription that got further than the log, or is of another one, is not gone on with", async () => {
  const bench = await start();
  await write(bench.db, 5);
  await bench.all.put("s", DEFINITION, 0);
  await bench.all.get("s").ackThrough(4);
  const file = (name: string, dir: string): string => path.join(dir, "dbs", "notes", name);
  for (const commits of [2, 6]) {
    // The same db as it was early on, which then went another way.
    const other = path.join(tempDir(), "data");
    const early = await start(other);
    await write(early.db, commits);
    await early.db.close();
    const table = openSqliteSubscriptions(path.join(bench.dir, "dbs", "notes"), bench.db.log.identity.uid, {
      create: false,
    });
    const rows = [...(table?.stored.values() ?? [])];
    table?.close();
    const target = openSqliteSubscriptions(path.dirname(file("x", other)), early.db.log.identity.uid, {
      create: true,
    });
    target?.write(rows, []);
    target?.close();
    engines.splice(engines.length - 1, 1);
    const later = await crashed({ ...early, dir: other });
    const live = later.all.get("s");
    expect(live.progress().problem?.code).toBe("SUBSCRIPTION_DIVERGED");
    expect(() => live.enter(new Consumer("c"), false)).toThrow(
      expect.objectContaining({ code: "SUBSCRIPTION_DIVERGED" }) as Error,
    );
    await expect(live.ack([1])).rejects.toMatchObject({ code: "SUBSCRIPTION_DIVERGED" });
    later.all.remove("s");
  }
});

test("what a poll was given and had not taken when another of its name came is given to that one", async () => {
  const bench = await start();
  await bench.all.put("s", { ...DEFINITION, ackMs: 60_000 }, 0);
  await write(bench.db, 3);
  const live = bench.all.get("s");
  const first = new Consumer("c", 2);
  live.enter(first, true);
  await live.settled();
  expect(first.room).toBe(0);
  expect(await drain(live)).toMatchObject([1, 2, 3].map((seq) => ({ event: { seq }, attempt: 1 })));
  expect(first.take()).toEqual([]);
  await expect(first.next(bench.db.log.world, 1000)).rejects.toMatchObject({ code: "SUBSCRIPTION_TAKEN" });
});

test("an acknowledgement does not fail for a commit that does not read", async () => {
  const bench = await start();
  await bench.all.put("s", DEFINITION, 0);
  await write(bench.db, 3);
  const { log } = bench.db;
  const sound = log.commit.bind(log);
  log.commit = () => {
    throw new SkaldError("DB_DAMAGED", "It does not read.");
  };
  await bench.all.get("s").ack([1, 2]);
  log.commit = sound;
  expect(bench.errors).toMatchObject([{ code: "DB_DAMAGED" }]);
  const later = await crashed(bench);
  expect(later.all.get("s").progress()).toMatchObject({ position: 2, problem: undefined });
});

test("what a db had is told after it closed, and forgotten with it", async () => {
  const bench = await start();
  await bench.all.put("s", DEFINITION, 0);
  await write(bench.db, 4);
  await bench.all.get("s").ack([1]);
  expect(bench.subscriptions.totals()).toEqual({
    subscriptions: 1,
    consumers: 0,
    lag: 3,
    worst: 3,
    parked: 0,
  });
  const [engine] = engines;
  await engine?.rebuild("notes");
  expect(bench.subscriptions.totals()).toMatchObject({ subscriptions: 1, lag: 3 });
  await engine?.delete("notes");
  expect(bench.subscriptions.totals()).toEqual({
    subscriptions: 0,
    consumers: 0,
    lag: 0,
    worst: 0,
    parked: 0,
  });
});
