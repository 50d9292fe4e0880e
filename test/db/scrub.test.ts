import path from "node:path";
import Database from "better-sqlite3";
import { SkaldError } from "../../src/errors.ts";
import { finished } from "../../src/db/check.ts";
import { Engine, type EngineOptions } from "../../src/db/engine.ts";
import { sqliteFiles } from "../../src/db/files.ts";
import { scrubDb, type Checker, type ScrubbedEngine } from "../../src/db/scrub-check.ts";
import { Scrub } from "../../src/db/scrub.ts";
import { openSqliteLog } from "../../src/store/sqlite-log.ts";
import { realWorld, type World } from "../../src/world.ts";
import { viewsAround } from "../support/broken-builds.ts";
import { tempDir } from "../support/temp-dir.ts";

/** A clock that only goes on when a timer is run, and what timers there are. */
function handClock(): { world: World; waits: number[]; next: (late?: number) => Promise<void> } {
  let clock = 1_000_000;
  const turns: { at: number; work: () => void; off: boolean }[] = [];
  const waits: number[] = [];
  return {
    waits,
    world: {
      ...realWorld,
      now: () => Math.floor(clock),
      monotonic: () => clock,
      timer: (ms, work) => {
        const turn = { at: clock + ms, work, off: false };
        waits.push(ms);
        turns.push(turn);
        return () => void (turn.off = true);
      },
    },
    async next(late = 0) {
      const turn = turns.shift();
      if (!turn) throw new Error("nothing is waiting");
      clock = turn.at + late;
      if (!turn.off) turn.work();
      for (let i = 0; i < 20; i += 1) await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

const DAY = 86_400_000;

/** An engine of dbs that are names only. */
const named = (...ids: string[]): ScrubbedEngine & { gone: Set<string> } => {
  const gone = new Set<string>();
  return {
    gone,
    list: (after, limit) =>
      ids
        .filter((dbId) => dbId > after)
        .slice(0, limit)
        .map((dbId) => ({ dbId, folder: dbId, created: 0, state: "ready" as const })),
    has: (dbId) => !gone.has(dbId),
    world: realWorld,
    hold: () => undefined,
    use: () => Promise.reject(new Error("not asked for")),
    folderOf: (dbId) => dbId,
  };
};

async function passOf(
  engine: ScrubbedEngine,
  check: Checker,
  most = 1000,
): Promise<{ found: unknown[]; status: ReturnType<Scrub["status"]>; waits: number[] }> {
  const found: unknown[] = [];
  const { world, next, waits } = handClock();
  const scrub = new Scrub({ engine, days: 7, onFinding: (error) => found.push(error), check, world });
  scrub.start();
  for (let i = 0; i < most && scrub.status().lastPass === undefined; i += 1) await next();
  const status = scrub.status();
  await scrub.stop();
  return { found, status, waits };
}

describe("the scrub", () => {
  test("goes through every db, however many there are, and starts again when a pass was meant to end", async () => {
    const ids = Array.from({ length: 205 }, (_, i) => `db-${String(i).padStart(3, "0")}`);
    const seen: string[] = [];
    const check: Checker = async function* (_, dbId) {
      seen.push(dbId);
      yield { done: 1, of: 1, commits: 3 };
      return [];
    };
    const { world, next, waits } = handClock();
    const scrub = new Scrub({ engine: named(...ids), days: 7, onFinding: () => {}, check, world });
    scrub.start();
    const start = world.monotonic();
    while (scrub.status().lastPass === undefined) await next();
    expect(seen).toEqual(ids);
    expect(scrub.status()).toMatchObject({ progress: 1, commits: 3 * 205, findings: 0 });
    while (seen.length === 205) await next();
    expect(world.monotonic() - start).toBeGreaterThanOrEqual(7 * DAY);
    expect(world.monotonic() - start).toBeLessThan(7 * DAY + 60_000);
    expect(Math.max(...waits)).toBeLessThanOrEqual(7 * DAY);
    await scrub.stop();
  });

  test("never runs when it is told to take no days", async () => {
    const { world, waits } = handClock();
    const scrub = new Scrub({ engine: named("a"), days: 0, onFinding: () => {}, world });
    scrub.start();
    expect([waits, scrub.status()]).toEqual([
      [],
      { progress: 0, commits: 0, findings: 0, lastPass: undefined },
    ]);
    await scrub.stop();
  });

  test("waits no longer than a timer can, however many days it is given", async () => {
    const { world, next, waits } = handClock();
    const check: Checker = async function* () {
      yield { done: 1, of: 1, commits: 1 };
      return [];
    };
    const scrub = new Scrub({ engine: named("a"), days: 1e6, onFinding: () => {}, check, world });
    scrub.start();
    while (scrub.status().lastPass === undefined) await next();
    await next();
    expect(Math.max(...waits)).toBe(2 ** 31 - 1);
    await scrub.stop();
  });

  test("puts a slice off while timers come late, and not for ever", async () => {
    const { world, next, waits } = handClock();
    let slices = 0;
    const check: Checker = async function* () {
      for (;;) yield { done: (slices += 1), of: 100, commits: 1 };
    };
    const scrub = new Scrub({ engine: named("a"), days: 7, onFinding: () => {}, check, world });
    scrub.start();
    for (let i = 0; i < 20; i += 1) await next(30);
    expect([slices, waits.slice(1)]).toEqual([0, Array.from({ length: 20 }, () => 1000)]);
    await next(30);
    expect(slices).toBe(1);
    await next(25);
    expect(slices).toBe(2);
    await scrub.stop();
  });

  test("tells what it finds, and counts it until a whole pass finds less", async () => {
    const check: Checker = async function* (_, dbId) {
      yield { done: 0, of: 0, commits: 0 };
      return dbId === "b"
        ? [
            { what: "record", where: "commit 3" },
            { what: "seq", where: "commit 4" },
          ]
        : [];
    };
    const { found, status } = await passOf(named("a", "b", "c"), check);
    expect(found.map((error) => (error as SkaldError).details)).toEqual([
      { db: "b", what: "record", where: "commit 3" },
      { db: "b", what: "seq", where: "commit 4" },
    ]);
    expect(found).toContainEqual(expect.objectContaining({ code: "DB_DAMAGED" }));
    expect(status).toMatchObject({ findings: 2, progress: 1 });
  });

  test("goes on after a db that cannot be checked, and says so unless it passes or the db is gone", async () => {
    const engine = named("busy", "damaged", "deleted", "full", "going", "last");
    const seen: string[] = [];
    // eslint-disable-next-line require-yield -- none of them comes to its first step
    const check: Checker = async function* (_, dbId) {
      seen.push(dbId);
      if (dbId === "busy") throw new SkaldError("WORK_BUSY", "later");
      if (dbId === "full") throw new SkaldError("STORAGE_FULL", "full");
      if (dbId === "going") throw new SkaldError("UNAVAILABLE", "closing");
      if (dbId === "damaged") throw new SkaldError("DB_DAMAGED", "its file is none");
      if (dbId === "last") throw new TypeError("a bug");
      if (dbId === "deleted") {
        engine.gone.add(dbId);
        throw new SkaldError("DB_NOT_FOUND", "gone");
      }
      return [];
    };
    const { found, status } = await passOf(engine, check);
    expect(seen).toEqual(["busy", "damaged", "deleted", "full", "going", "last"]);
    expect(found.map((error) => (error as Error).message)).toEqual(["its file is none", "a bug"]);
    expect(status.findings).toBe(2);
    engine.gone.add("damaged");
    seen.length = 0;
    await passOf(engine, check);
    expect(seen).not.toContain("damaged");
  });

  test("that cannot even list the dbs says so and ends the pass", async () => {
    const engine: ScrubbedEngine = {
      ...named("a"),
      list: () => {
        throw new SkaldError("STORAGE_FAILED", "the list cannot be read");
      },
    };
    const { found, status } = await passOf(engine, async function* () {
      yield { done: 0, of: 1, commits: 0 };
      return [];
    });
    expect(found).toEqual([expect.objectContaining({ code: "STORAGE_FAILED" })]);
    expect(status.lastPass).toBeDefined();
  });

  test("that is stopped in the middle of a db lets go of it", async () => {
    let ended = false;
    const check: Checker = async function* () {
      try {
        for (let done = 0; ; done += 1) yield { done, of: 1000, commits: 1 };
      } finally {
        ended = true;
      }
    };
    const { status } = await passOf(named("a", "b"), check, 5);
    expect(ended).toBe(true);
    expect(status.lastPass).toBeUndefined();
    expect(status.progress).toBeGreaterThan(0);
  });
});

test("the scrub plans nothing more once it is stopped in the middle of a slice", async () => {
  const { world, next, waits } = handClock();
  let go = (): void => {};
  const check: Checker = async function* () {
    await new Promise<void>((resolve) => (go = resolve));
    yield { done: 1, of: 2, commits: 1 };
    return [];
  };
  const scrub = new Scrub({ engine: named("a"), days: 7, onFinding: () => {}, check, world });
  scrub.start();
  await next();
  const before = waits.length;
  const stopped = scrub.stop();
  go();
  await stopped;
  expect(waits).toHaveLength(before);
});

describe("what the scrub does with a db", () => {
  async function written(options: Partial<EngineOptions> = {}): Promise<Engine> {
    const engine = new Engine({ dir: tempDir(), reserve: 0, documents: { workers: 1 }, ...options });
    await engine.create("empty");
    await engine.create("notes");
    await engine.use("notes", async (db) => {
      for (let n = 0; n < 70; n += 1)
        await db.tx({
          author: "ann",
          clientTxId: `tx-${n}`,
          writes: [{ doc: `c/${n % 45}`, edit: { kind: "put", value: `{"n":${n}}` } }],
        });
      await db.compact({ upTo: 30 });
      await db.projection.catchUp();
    });
    return engine;
  }

  test("is holding it no longer once the scrub is stopped, wherever that comes", async () => {
    const engine = await written();
    for (const steps of [1, 3, 6, 9, 12]) {
      const { world, next } = handClock();
      const scrub = new Scrub({ engine, days: 7, onFinding: () => {}, world });
      scrub.start();
      for (let i = 0; i < steps; i += 1) await next();
      await scrub.stop();
      // It waits for everyone who holds the db.
      await engine.rebuild("notes");
    }
    await engine.close();
  });

  test("is done on the machine's own clock, too, and finds nothing in a sound one", async () => {
    const engine = new Engine({ dir: tempDir(), reserve: 0, documents: { workers: 1 } });
    await engine.create("notes");
    await engine.use("notes", (db) =>
      db.tx({ author: "ann", writes: [{ doc: "c/a", edit: { kind: "put", value: "{}" } }] }),
    );
    const found: unknown[] = [];
    const scrub = new Scrub({ engine, days: 1e-6, onFinding: (error) => found.push(error) });
    scrub.start();
    while (scrub.status().lastPass === undefined) await new Promise((resolve) => setTimeout(resolve, 20));
    await scrub.stop();
    expect([found, scrub.status().commits > 0]).toEqual([[], true]);
    await engine.close();
  });

  test("names what is wrong with its log, and looks at nothing that is derived of it", async () => {
    const engine = await written();
    const storage = openSqliteLog(engine.folderOf("notes"), "notes");
    const body = storage.read(50) as Uint8Array;
    await storage.replace(
      50,
      50,
      body.map((byte, i) => (i === 60 ? byte ^ 4 : byte)),
    );
    storage.close();
    expect(await finished(scrubDb(engine, "notes"))).toEqual([
      expect.objectContaining({ what: "record", where: expect.stringMatching(/^commit 50: /) }),
    ]);
    await engine.close();
  });

  test("has what is wrong with what is derived made anew, and says what it was", async () => {
    let wrong = true;
    const told: unknown[] = [];
    const engine = await written({
      onError: (error) => told.push(error),
      files: {
        ...sqliteFiles,
        openViews: (folder) => {
          const sound = sqliteFiles.openViews(folder);
          return wrong
            ? viewsAround(sound, {
                document: (name: string) => {
                  const row = sound.document(name);
                  return row && { ...row, json: '{"n":-1}' };
                },
              })
            : sound;
        },
      },
    });
    const scrubbed = finished(scrubDb(engine, "notes"));
    wrong = false;
    await expect(scrubbed).rejects.toMatchObject({
      code: "DERIVED_DAMAGED",
      message: expect.stringMatching(/^projection: c\/\d+: its value is not .*, and \d+ more\.$/),
      details: { db: "notes", what: "projection" },
    });
    expect(await finished(scrubDb(engine, "notes"))).toEqual([]);
    expect(told).toEqual([expect.objectContaining({ code: "DERIVED_DAMAGED" })]);
    await engine.close();
  });

  test("ends with the damage that somebody else comes upon meanwhile", async () => {
    const engine = await written({ onError: () => {} });
    const scrub = scrubDb(engine, "notes");
    let outcome: unknown;
    for (let meddled = false; outcome === undefined;) {
      const step = await scrub.next().catch((error: unknown) => ({ error }));
      if ("error" in step) outcome = step.error;
      else if (step.done) outcome = step.value;
      else if (!meddled && step.value.done > 1.2) {
        meddled = true;
        const views = new Database(path.join(engine.folderOf("notes"), "views.sqlite"));
        views.exec("UPDATE document SET json = '{}' WHERE name = 'c/7'");
        views.close();
        await engine.use("notes", (db) => db.read("c/7", { at: "60" })).catch(() => {});
      }
    }
    expect(outcome).toMatchObject({ code: "DERIVED_DAMAGED" });
    expect(await finished(scrubDb(engine, "notes"))).toEqual([]);
    await engine.close();
  });

  test("says nothing of one that was deleted meanwhile, or made anew under its name", async () => {
    for (const anew of [false, true]) {
      const engine = await written();
      const storage = openSqliteLog(engine.folderOf("notes"), "notes");
      await storage.replace(50, 50, new Uint8Array([1]));
      storage.close();
      const scrub = scrubDb(engine, "notes");
      // Through with the log, which is damaged.
      for (let step = await scrub.next(); !step.done && step.value.done < 1; step = await scrub.next());
      await engine.delete("notes");
      if (anew) await engine.create("notes");
      expect([anew, await finished(scrub)]).toEqual([anew, []]);
      await engine.close();
    }
  });

  test("leaves one alone that is about to be closed", async () => {
    const engine = await written();
    const held = engine.hold("notes");
    const rebuilt = engine.rebuild("notes");
    await expect(finished(scrubDb(engine, "notes"))).rejects.toMatchObject({ code: "UNAVAILABLE" });
    held?.release();
    await rebuilt;
    await engine.close();
  });
});
