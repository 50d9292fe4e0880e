import path from "node:path";
import Database from "better-sqlite3";
import * as A from "@automerge/automerge";
import { checkDb, finished } from "../../src/db/check.ts";
import type { Db } from "../../src/db/db.ts";
import { Engine } from "../../src/db/engine.ts";
import { verifyLines } from "../../src/db/verify.ts";
import { packBundle } from "../../src/log/bundle.ts";
import { verifyLog } from "../../src/log/verify.ts";
import { openSqliteLog } from "../../src/store/sqlite-log.ts";
import { nextTurn, realWorld } from "../../src/world.ts";
import { seedOf, seeded } from "../support/fault-process.ts";
import { findingsIn } from "../support/ledger.ts";
import { tempDir } from "../support/temp-dir.ts";

/** Checks that run while others write; so many times with SKALD_TEST_LIVE. */
const CHECKS = Number(process.env["SKALD_TEST_LIVE"] ?? 1);
const COMMITS = 200;
const seed = seedOf();
const random = seeded(seed);
let ahead = 0;
const failures: unknown[] = [];
const engine = new Engine({
  dir: tempDir(),
  reserve: 0,
  documents: { workers: 1 },
  // A wall clock that jumps by years.
  world: { ...realWorld, now: () => Date.now() + ahead },
  onError: (error) => failures.push(error),
});
afterAll(() => engine.close());

let count = 0;
const pick = (many: number): number => Math.floor(random() ** 2 * many);
const put = (db: Db, doc: string) => {
  const n = count++;
  const edit =
    n % 11 === 10
      ? ({ kind: "clear" } as const)
      : ({ kind: "put", value: `{"n":${n},"pad":"${"x".repeat(n % 300)}"}` } as const);
  return db.tx({ author: n % 2 ? "ann" : "bob", clientTxId: `tx-${n}`, writes: [{ doc, edit }] });
};

/** A change that passes the guard and that Automerge does not take: it is set aside. */
function bad(db: Db, doc: string): Promise<unknown> {
  const actor = (count++).toString(16).padStart(32, "a");
  const set = (doc: A.Doc<Record<string, unknown>>, key: string) =>
    A.change(doc, { time: 0 }, (draft) => void (draft[key] = 1));
  const [copy] = A.applyChanges(A.init<Record<string, unknown>>({ actor }), [db.genesis(doc).bytes]);
  const good = set(copy, "good");
  const { hash: _, ...parts } = A.decodeChange(last(set(A.clone(good, { actor }), "bad")));
  const ops = [{ ...parts.ops[0], obj: `1@${"99".repeat(16)}` }];
  const changes = [last(good), new Uint8Array(A.encodeChange({ ...parts, ops } as never))];
  return db.tx({ author: "eve", writes: [{ doc, changes }] });
}

const last = (doc: A.Doc<unknown>): Uint8Array => A.getLastLocalChange(doc) as Uint8Array;

/** Everything that can go on in a db; ends when `on` says so. */
async function storm(dbId: string, on: () => boolean): Promise<void> {
  const docs = (): string => `c/${pick(60)}`;
  const loop = async (work: (db: Db, n: number) => Promise<unknown>): Promise<void> => {
    for (let n = 1; on(); n += 1) {
      await engine.use(dbId, (db) => work(db, n));
      // Not so fast that the check only runs after it.
      await new Promise((resolve) => setTimeout(resolve, 20 + pick(40)));
    }
  };
  await Promise.all([
    loop((db) => put(db, docs())),
    loop((db) => put(db, docs())),
    // One long history, so that its saved form is kept anew all the time.
    loop((db) =>
      db.tx({
        author: "cy",
        writes: [{ doc: "c/long", edit: { kind: "merge-patch", patch: `{"n":${count++}}` } }],
      }),
    ),
    loop(async (db, n) => {
      if (n % 3 === 0) await bad(db, docs());
      if (n % 4 === 0) await db.tx({ author: "dee", writes: [{ doc: docs(), delete: true }] }).catch(ignore);
      if (n % 5 === 0) db.log.tidy();
      if (n % 7 === 0) await db.projection.catchUp();
      if (n % 8 === 0) await keep(db, "c/long");
      if (n % 12 === 0) await db.compact({ upTo: Math.max(2, db.log.head().seq - pick(40)) });
      if (n % 15 === 0) ahead = Math.floor((random() - 0.5) * 2e12);
    }),
  ]);
}

async function keep(db: Db, doc: string): Promise<void> {
  if (!db.log.state(doc) || db.log.state(doc)?.deleted) return;
  const { seq, bytes } = await db.save(doc);
  db.views.putSaved(doc, seq, bytes);
}

/** A deletion of what is not there is refused. */
function ignore(): void {}

async function verified(dbId: string): Promise<Record<string, unknown>> {
  let last = "{}";
  for await (const line of verifyLines(engine, dbId, new AbortController().signal)) last = line;
  return JSON.parse(last) as Record<string, unknown>;
}

/** Whether something of each kind has been done to the db. */
const happened = (dbId: string): Promise<boolean> =>
  engine.use(
    dbId,
    (db) =>
      db.storage.ranges().length > 0 &&
      db.views.saved("c/long") !== undefined &&
      db.log.list("c/", "", 100, true).some(({ refused }) => refused.size > 0),
  );

describe("a check", () => {
  test("of a db that is written, compacted and tidied meanwhile finds nothing", async () => {
    await engine.create("live");
    await engine.use("live", async (db) => {
      for (let n = 0; n < COMMITS; n += 1) await put(db, `c/${pick(60)}`);
      const start = db.log.head().seq;
      let writing = true;
      const writers = storm("live", () => writing);
      const found = await finished(checkDb(db, { random, sample: 8 }));
      writing = false;
      await writers;
      expect({ seed, findings: found.findings }).toEqual({ seed, findings: [] });
      expect(db.log.head().seq).toBeGreaterThan(start);
      expect(findingsIn(db.storage)).toEqual([]);
    });
  }, 120_000);

  test("through a reader of its own finds nothing, however often, while everything goes on", async () => {
    await engine.create("storm");
    let writing = true;
    const writers = storm("storm", () => writing);
    const verdicts: Record<string, unknown>[] = [];
    const seqs: unknown[] = [];
    for (let n = 0; n < CHECKS || !(await happened("storm")); n += 1) {
      const { verdict, seq, problems } = await verified("storm");
      verdicts.push({ verdict, problems });
      seqs.push(seq);
    }
    writing = false;
    await writers;
    expect({ seed, verdicts }).toEqual({
      seed,
      verdicts: verdicts.map(() => ({ verdict: "sound", problems: [] })),
    });
    await engine.use("storm", (db) => {
      expect(db.log.head().seq).toBeGreaterThan(seqs.at(-1) as number);
    });
    expect(failures).toEqual([]);
    if (process.env["SKALD_TEST_LIVE"]) process.stderr.write(`commits checked: ${seqs.join(", ")}\n`);
  }, 600_000);

  test("does little at a time, and can be left", async () => {
    await engine.use("live", async (db) => {
      const stages = new Set<string>();
      const check = checkDb(db);
      for await (const { stage } of check) {
        stages.add(stage);
        if (stage === "catalog") break;
      }
      expect([...stages]).toEqual(["log", "feed", "catalog"]);
      expect(await check.next()).toEqual({ done: true, value: undefined });
    });
  });
});

describe("a walk through a log", () => {
  test.each([
    ["single commits", 0],
    ["a bundle that is made anew with more", 30],
  ])("that is compacted around the place where it is goes on: %s", async (_, bundled) => {
    const dbId = `walk-${bundled}`;
    await engine.create(dbId);
    await engine.use(dbId, async (db) => {
      for (let n = 0; n < 250; n += 1) await put(db, `c/${pick(9)}`);
      if (bundled > 0) await db.log.compact(packBundle, { upTo: bundled });
      const storage = openSqliteLog(engine.folderOf(dbId), dbId, { readonly: true });
      const seqs: number[] = [];
      const walk = verifyLog(storage, ({ commit }) => seqs.push(commit.seq));
      const { value: first } = walk.next();
      expect((first as { checked: number }).checked).toBeLessThan(250);
      for (let n = 0; n < 20; n += 1) await put(db, `c/${pick(9)}`);
      await db.log.compact(packBundle, { upTo: 260 });
      let step = walk.next();
      while (!step.done) step = walk.next();
      expect(step.value.findings).toEqual([]);
      for (const _more of step.value.walk.read(storage.last()));
      expect(step.value.findings).toEqual([]);
      expect(storage.ranges().at(-1)?.last).toBe(260);
      expect(seqs).toEqual(Array.from({ length: storage.last() }, (_more, i) => i + 1));
      storage.close();
    });
  });
});

describe("a check of a db that goes away under it", () => {
  test("ends with a verdict when the db comes upon damage of what is derived, and says what is done", async () => {
    await engine.create("broken");
    await engine.use("broken", async (db) => {
      for (let n = 0; n < 40; n += 1) await put(db, `c/${n % 20}`);
      await db.projection.catchUp();
    });
    const file = path.join(engine.folderOf("broken"), "views.sqlite");
    let last = "{}";
    for await (const line of verifyLines(engine, "broken", new AbortController().signal)) {
      last = line;
      if ((JSON.parse(line) as { stage: string }).stage !== "catalog") continue;
      const views = new Database(file);
      views.exec("UPDATE document SET json = '{}' WHERE name = 'c/7'");
      views.close();
      // Somebody reads it: the answer comes from the log, and the db is closed as soon as nobody uses it.
      await engine.use("broken", (db) => db.read("c/7", { at: "9" }));
    }
    expect(JSON.parse(last)).toMatchObject({
      verdict: "damaged",
      problems: expect.arrayContaining([
        {
          what: "projection",
          where: expect.stringMatching(/views\.sqlite .*c\/7.* It is being made anew\.$/),
          means: expect.any(String),
          heals: "rebuild",
        },
      ]),
    });
    expect((await verified("broken"))["verdict"]).toBe("sound");
    expect(failures.splice(0)).toContainEqual(expect.objectContaining({ code: "DERIVED_DAMAGED" }));
  }, 60_000);

  test("waits for who makes it anew, and checks that", async () => {
    await engine.create("waiting");
    await engine.use("waiting", (db) => put(db, "c/a"));
    const held = engine.hold("waiting");
    const rebuilt = engine.rebuild("waiting");
    const outcome = verified("waiting");
    for (let turns = 0; turns < 50; turns += 1) await nextTurn(realWorld);
    held?.release();
    expect(await outcome).toMatchObject({ verdict: "sound", seq: 1 });
    await rebuilt;
  });

  test("says so when it was deleted or made anew, and checks what is made anew of it", async () => {
    await engine.create("gone");
    for (let n = 0; n < 120; n += 1) await engine.use("gone", (db) => put(db, `c/${n % 20}`));
    const outcomes = new Set<string>();
    for (let n = 0; n < 12; n += 1) {
      const check = verifyLines(engine, "gone", new AbortController().signal);
      const run = (async () => {
        let last = "{}";
        for await (const line of check) last = line;
        const { verdict, problems } = JSON.parse(last) as { verdict: string; problems: unknown[] };
        return verdict === "sound" ? "sound" : JSON.stringify(problems);
      })().catch((error: unknown) => String((error as { code?: string }).code));
      for (let turns = pick(60); turns > 0; turns -= 1) await nextTurn(realWorld);
      if (n % 3 === 0) await engine.rebuild("gone");
      else {
        await engine.delete("gone");
        await engine.create("gone");
        for (let i = 0; i < 30; i += 1) await engine.use("gone", (db) => put(db, `c/${i % 20}`));
      }
      outcomes.add(await run);
    }
    for (const one of outcomes) expect(["sound", "UNAVAILABLE", "DB_NOT_FOUND"]).toContain(one);
  }, 120_000);
});
