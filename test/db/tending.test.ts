import path from "node:path";
import { checkDb, finished } from "../../src/db/check.ts";
import { startPacker } from "../../src/db/compaction.ts";
import type { Db } from "../../src/db/db.ts";
import { Engine, type EngineOptions } from "../../src/db/engine.ts";
import { DEFAULT_TENDING } from "../../src/db/tending.ts";
import { realWorld } from "../../src/world.ts";
import { memoryDir } from "../support/temp-dir.ts";

const root = memoryDir();
let count = 0;

async function withEngine(
  work: (engine: Engine) => Promise<void>,
  { dir = path.join(root, `d-${++count}`), ...options }: Partial<EngineOptions> = {},
): Promise<void> {
  const engine = new Engine({ dir, reserve: 0, documents: { workers: 1 }, ...options });
  try {
    await work(engine);
  } finally {
    await engine.close();
  }
}

function gateOf(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {};
  const promise = new Promise<void>((open) => (resolve = open));
  return { promise, resolve };
}

/** Commits of five documents in turn. */
async function fill(db: Db, commits: number): Promise<void> {
  for (let i = 0; i < commits; i += 1) {
    const value = JSON.stringify({ n: db.log.head().seq });
    await db.tx({ author: "ann", writes: [{ doc: `c/${i % 5}`, edit: { kind: "put", value } }] });
  }
}

/** Every document at every point, as text. */
async function everything(db: Db): Promise<string[]> {
  const found: string[] = [];
  for (let at = 5; at <= db.log.head().seq; at += 1)
    for (let doc = 0; doc < 5; doc += 1) found.push((await db.read(`c/${doc}`, { at: String(at) })).json);
  return found;
}

test("old commits go into bundles of full size, and what is spread over many of them has a saved form", () =>
  withEngine(async (engine) => {
    await engine.create("db");
    await engine.use("db", async (db) => {
      await fill(db, 45);
      const before = await everything(db);
      await db.tend();
      expect(db.storage.ranges()).toEqual([]);
      engine.setSettings("db", { commits: 10, ageMs: 0 });
      await db.tend();
      const starts = [1, 11, 21, 31];
      expect(db.storage.ranges()).toEqual(starts.map((first) => ({ first, last: first + 9 })));
      for (let doc = 0; doc < 5; doc += 1) expect(db.views.saved(`c/${doc}`)?.seq).toBeGreaterThan(35);
      expect(await everything(db)).toEqual(before);
      expect((await finished(checkDb(db))).findings).toEqual([]);
      // Few more: nothing to do.
      await fill(db, 4);
      await db.tend();
      expect(db.storage.ranges()).toHaveLength(4);
    });
  }));

test("commits count once they are old, and settings hold until they are changed", async () => {
  let now = Date.UTC(2026, 0, 1);
  const world = { ...realWorld, now: () => now };
  const dir = path.join(root, `d-${++count}`);
  await withEngine(
    async (engine) => {
      await engine.create("db");
      expect(engine.settingsOf("db")).toEqual(DEFAULT_TENDING);
      expect(engine.setSettings("db", { commits: 10, ageMs: 5000 })).toMatchObject({
        commits: 10,
        ageMs: 5000,
      });
      await engine.use("db", async (db) => {
        await fill(db, 12);
        now += 4999;
        await fill(db, 12);
        await db.tend();
        expect(db.storage.ranges()).toEqual([]);
        now += 1;
        await db.tend();
        expect(db.storage.ranges()).toEqual([{ first: 1, last: 10 }]);
      });
    },
    { dir, world },
  );
  await withEngine(
    async (engine) => {
      expect(engine.settingsOf("db")).toMatchObject({ commits: 10, ageMs: 5000 });
      engine.setSettings("db", { commits: 0, bytes: 1 });
      now += 60_000;
      await engine.use("db", async (db) => {
        await db.tend();
        expect(db.storage.ranges()).toHaveLength(1);
        // Not so many commits, and so many bytes.
        engine.setSettings("db", { commits: 14 });
        await db.tend();
        expect(db.storage.ranges()).toEqual([
          { first: 1, last: 10 },
          { first: 11, last: 24 },
        ]);
      });
      await engine.delete("db");
      await engine.create("db");
      expect(engine.settingsOf("db")).toEqual(DEFAULT_TENDING);
    },
    { dir, world },
  );
});

test("writers go on meanwhile, and a db that closes leaves the rest as it was", async () => {
  const dir = path.join(root, `d-${++count}`);
  let packed = 0;
  const second = gateOf();
  const gate = gateOf();
  const engine = new Engine({
    dir,
    reserve: 0,
    documents: { workers: 1 },
    packer: () => {
      const packer = startPacker();
      return {
        ...packer,
        packRecords: async (...bundle) => {
          packed += 1;
          if (packed === 2) {
            second.resolve();
            await gate.promise;
          }
          return (packer.packRecords as NonNullable<typeof packer.packRecords>)(...bundle);
        },
      };
    },
  });
  await engine.create("db");
  await engine.use("db", async (db) => {
    await fill(db, 40);
    engine.setSettings("db", { commits: 10, ageMs: 0 });
    await Promise.all([second.promise, fill(db, 10)]);
    expect(db.log.head().seq).toBe(50);
  });
  const closed = engine.close();
  gate.resolve();
  await closed;
  expect(packed).toBe(2);
  await withEngine(
    async (again) => {
      await again.use("db", async (db) => {
        expect(db.storage.ranges()).toEqual([{ first: 1, last: 10 }]);
        expect((await finished(checkDb(db))).findings).toEqual([]);
        await db.tend();
        expect(db.storage.ranges()).toHaveLength(5);
        expect((await finished(checkDb(db))).findings).toEqual([]);
      });
    },
    { dir },
  );
});

test("a bundle that does not come back leaves the commits alone, and says so", () => {
  const told: unknown[] = [];
  return withEngine(
    async (engine) => {
      await engine.create("db");
      await engine.use("db", async (db) => {
        await fill(db, 20);
        engine.setSettings("db", { commits: 10, ageMs: 0 });
        await db.tend();
        expect(told).toMatchObject([{ code: "INTERNAL" }]);
        expect(db.storage.ranges()).toEqual([]);
        await fill(db, 1);
        expect((await finished(checkDb(db))).findings).toEqual([]);
      });
    },
    {
      onError: (error) => told.push(error),
      packer: () => {
        const packer = startPacker();
        return {
          ...packer,
          // One byte of a record changes on the way.
          packRecords: (uid, from, bodies) =>
            (packer.packRecords as NonNullable<typeof packer.packRecords>)(
              uid,
              from,
              bodies.map((body, i) =>
                i === 3 ? body.map((byte, at) => (at === 60 ? byte ^ 1 : byte)) : body,
              ),
            ),
        };
      },
    },
  );
});
