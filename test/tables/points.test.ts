import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import Database from "better-sqlite3";
import { Engine } from "../../src/db/engine.ts";
import type { Db } from "../../src/db/db.ts";
import { writeEvents } from "../../src/db/write-events.ts";
import { toHex } from "../../src/ids/hash.ts";
import { MAIN } from "../../src/log/branches.ts";
import type { StoredCommit } from "../../src/log/log.ts";
import { commitState } from "../../src/tables/bring.ts";
import { TablesDesk } from "../../src/tables/desk.ts";
import type { Points } from "../../src/tables/points.ts";
import type { DocumentState, Part, Step, StepResults } from "../../src/tables/steps.ts";
import { TablesOf } from "../../src/tables/tables.ts";
import type { StepRunner } from "../../src/tables/thread.ts";
import { refusal } from "../log/fixture.ts";
import { seeded, seedOf } from "../support/fault-process.ts";
import { memoryDir } from "../support/temp-dir.ts";

/** Files of past states and of branches: each is what a file would be that was made anew from that state alone. */
const root = memoryDir();
const RUNS = Number(process.env["SKALD_TEST_RUNS"] ?? 2);
const STEPS = 45;

/** What writes the files, in this thread: `broken` changes what it is told, as a broken build would. */
class DeskRunner implements StepRunner {
  readonly #desk = new TablesDesk();
  readonly steps: string[] = [];
  broken: (part: Part) => Part = (part) => part;
  /** Called before each part. */
  onFeed: () => Promise<void> | void = () => {};

  async run<S extends Step>(file: string, step: S): Promise<StepResults[S["kind"]]> {
    await Promise.resolve();
    this.steps.push(step.kind);
    if (step.kind === "feed") await this.onFeed();
    const told: Step = step.kind === "feed" ? { ...step, part: this.broken(step.part) } : step;
    const answer = this.#desk.answer({ id: 0, file, step: told });
    if ("error" in answer)
      throw Object.assign(new Error(answer.error.message), answer.error, { name: "SkaldError" });
    return answer.result as StepResults[S["kind"]];
  }

  close(): Promise<void> {
    this.#desk.close();
    return Promise.resolve();
  }
}

const runner = new DeskRunner();
const errors: unknown[] = [];
let engine: Engine;
let tablesOf: TablesOf;
let count = 0;

beforeAll(() => {
  engine = new Engine({ dir: path.join(root, "data"), reserve: 0, documents: { workers: 1 } });
  tablesOf = new TablesOf({ engine, runner, onError: (error) => errors.push(error) });
});
beforeEach(() => {
  runner.broken = (part) => part;
  runner.onFeed = () => {};
});
afterAll(async () => {
  await engine.close();
  await tablesOf.close();
  expect(errors).toEqual([]);
});

async function withDb(work: (db: Db) => Promise<void>): Promise<void> {
  const dbId = `db${(count += 1)}`;
  await engine.create(dbId);
  await engine.use(dbId, work);
}

const put = (db: Db, doc: string, value: unknown, branch: string = MAIN) =>
  db.tx({ author: "ann", branch, writes: [{ doc, edit: { kind: "put", value: JSON.stringify(value) } }] });
const define = (db: Db, sql: string, branch: string = MAIN) =>
  writeEvents(db, { author: "ann", branch, events: [{ type: "schema.change", sql }] });

function query(file: string, sql: string): unknown[] {
  const sqlite = new Database(file, { readonly: true });
  try {
    return sqlite.prepare(sql).raw().all();
  } finally {
    sqlite.close();
  }
}

/** All that a file holds, in the order in which it gives it, but for how a full-text index keeps its words. */
function dump(file: string): Record<string, unknown> {
  const sqlite = new Database(file, { readonly: true });
  try {
    const tables = sqlite.pragma("table_list") as { schema: string; name: string; type: string }[];
    const shadows = new Set(tables.filter(({ type }) => type === "shadow").map(({ name }) => name));
    const dumped: Record<string, unknown> = {};
    for (const { schema, name, type } of tables) {
      if (schema !== "main" || type === "shadow" || /^(?:skald_meta|sqlite_.*)$/.test(name)) continue;
      // A view may be of a table that is there no more.
      dumped[name] =
        type === "view" ? viewOf(sqlite, name) : sqlite.prepare(`SELECT * FROM "${name}"`).raw().all();
      if (type !== "virtual" || !name.endsWith("_fts")) continue;
      dumped[`${name} words`] = sqlite
        .prepare(`SELECT rowid FROM "${name}" WHERE "${name}" MATCH 'w1 OR w2' ORDER BY rowid`)
        .raw()
        .all();
    }
    dumped["made"] = (
      sqlite.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema").all() as { name: string }[]
    )
      .filter(({ name }) => !shadows.has(name))
      .map((row) => JSON.stringify(row))
      .sort();
    expect(sqlite.pragma("integrity_check", { simple: true })).toBe("ok");
    return dumped;
  } finally {
    sqlite.close();
  }
}

function viewOf(sqlite: Database.Database, name: string): unknown {
  try {
    return sqlite.prepare(`SELECT * FROM "${name}"`).raw().all();
  } catch (error) {
    return (error as Error).message;
  }
}

/** The commits that lead to a point, by the parents that they name. */
function lineTo(db: Db, branch: string, seq: number): StoredCommit[] {
  const all: StoredCommit[] = [];
  while (all.length < seq) all.push(...db.log.commits(all.length + 1, seq - all.length));
  const byAddress = new Map(all.map((stored) => [toHex(stored.cid), stored]));
  const line: StoredCommit[] = [];
  let at = all.findLast(({ commit }) => db.log.isOn(commit.seq, branch));
  while (at) {
    line.push(at);
    const [parent] = at.commit.parents;
    at = parent && byAddress.get(toHex(parent));
  }
  return line.reverse();
}

/** A file made from nothing: every document, commit and statement of the point, and nothing that was there before. */
async function replayed(db: Db, branch: string, seq: number): Promise<Record<string, unknown>> {
  const line = lineTo(db, branch, seq);
  const names = new Set(line.flatMap(({ commit }) => commit.entries.map(({ doc }) => doc)));
  const documents: DocumentState[] = [];
  const last = line.at(-1)?.commit.seq ?? 0;
  for (const name of [...names].sort()) {
    try {
      const { json, seq: touched } = await db.read(name, { at: String(last), branch });
      documents.push({ name, json, seq: touched });
    } catch (error) {
      const { code } = error as { code: string };
      if (code !== "DOC_NOT_FOUND" && code !== "ERASED") throw error;
    }
  }
  const file = path.join(root, `replayed-${(count += 1)}.sqlite`);
  const desk = new TablesDesk();
  const steps: Step[] = [
    { kind: "make", owner: { uid: "00", epoch: 1 }, life: "x" },
    { kind: "begin", wanted: [] },
    { kind: "feed", part: { commits: line.map(commitState) } },
    { kind: "feed", part: { schema: db.log.schemaAt(branch, seq) } },
    { kind: "feed", part: { documents } },
    {
      kind: "end",
      head: {
        branch: db.log.branchId(branch),
        seq: last,
        schema: db.log.schemaSeq(branch, seq),
      },
    },
    { kind: "close" },
  ];
  for (const step of steps) {
    const answer = desk.answer({ id: 0, file, step });
    if ("error" in answer) throw new Error(answer.error.message);
  }
  return dump(file);
}

async function compare(db: Db, points: Points, branch: string, seq: number): Promise<void> {
  const place = await points.at({ branch, seq }, { exact: true });
  try {
    expect({ branch, seq, ...dump(place.file) }).toEqual({
      branch,
      seq,
      ...(await replayed(db, branch, seq)),
    });
  } finally {
    place.release();
  }
}

const STATEMENTS = [
  "CREATE TABLE t (id TEXT PRIMARY KEY, n INTEGER, u INTEGER UNIQUE, text TEXT)",
  "CREATE TABLE t (id PRIMARY KEY, n INTEGER NOT NULL)",
  "DROP TABLE t",
  "CREATE TABLE s (id INTEGER PRIMARY KEY, n CHECK (n < 50))",
  "CREATE INDEX t_n ON t (n)",
  "CREATE VIEW v AS SELECT id, n FROM t WHERE n > 10",
  "ALTER TABLE t ADD COLUMN more",
  "CREATE VIRTUAL TABLE t_fts USING fts5(text, content='t')",
  "DROP TABLE s",
];

interface Tally {
  points: number;
  merges: number;
  statements: number;
  branches: number;
}

/** One db, changed in all ways at random, and files of points of it compared now and then. */
async function run(seed: number, tally: Tally): Promise<void> {
  const random = seeded(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  await withDb(async (db) => {
    const points = tablesOf.points(db);
    let n = 0;
    const names = (): string[] =>
      db.log
        .branches()
        .filter(({ state }) => state === "open")
        .map(({ name }) => name);
    await put(db, "t/1", { n: 1, text: "w1" });
    for (let i = 0; i < STEPS; i += 1) {
      const branch = pick(names());
      const at = random();
      const doc = `${pick(["t", "t", "s", "free"])}/${Math.floor(random() * 8)}`;
      if (at < 0.4) {
        const value = {
          n: Math.floor(random() * 100),
          text: pick(["w1 w2", "w2", "w3"]),
          ...(random() < 0.5 ? { u: Math.floor(random() * 3) } : {}),
        };
        const { code } = await refusal(put(db, doc, random() < 0.1 ? { text: 1 } : value, branch));
        expect(["none", "ERASED"]).toContain(code);
      } else if (at < 0.48) {
        if (
          (await refusal(db.tx({ author: "ann", branch, writes: [{ doc, delete: true }] }))).code === "none"
        )
          continue;
      } else if (at < 0.62) {
        await define(db, pick(STATEMENTS), branch);
        tally.statements += 1;
      } else if (at < 0.7 && names().length < 4) {
        const from = pick(names());
        const fork = db.log.seqOn(Math.floor(random() * (db.log.head().seq + 1)), from);
        await db.log.createBranch(`b${(n += 1)}`, { author: "ann", from, at: fork });
        tally.branches += 1;
      } else if (at < 0.78) {
        const from = pick(names());
        if (from !== branch) await db.merge({ author: "ann", from, into: branch });
        tally.merges += 1;
      } else if (at < 0.8) await refusal(db.erase({ author: "ann", docs: [doc] }) as never);
      else if (at < 0.82) await db.compact();
      else {
        const seq = Math.floor(random() * (db.log.head().seq + 1));
        await compare(db, points, branch, seq);
        tally.points += 1;
      }
    }
    for (const branch of names()) {
      await compare(db, points, branch, db.log.head().seq);
      tally.points += 1;
    }
  });
}

test(`the file of any point is what a replay of it makes (${RUNS} runs)`, async () => {
  const seed = seedOf();
  const tally: Tally = { points: 0, merges: 0, statements: 0, branches: 0 };
  for (let i = 0; i < RUNS; i += 1) {
    try {
      await run(seed + i, tally);
    } catch (error) {
      throw new Error(`with SKALD_TEST_SEED=${seed + i} and one run`, { cause: error });
    }
  }
  if (process.env["SKALD_TEST_RUNS"]) console.error({ RUNS, ...tally });
  expect(tally.points).toBeGreaterThan(5 * RUNS);
}, 600_000);

const BROKEN: Readonly<Record<string, (part: Part) => Part>> = {
  "keeps commits that are not of the point": ({ forget: _forget, ...part }) => part,
  "keeps the schema that the file had": ({ schema: _schema, ...part }) => part,
  "leaves out what is not there any more": (part) =>
    part.documents ? { ...part, documents: part.documents.filter(({ json }) => json !== undefined) } : part,
};

test.each(Object.keys(BROKEN))("a build that %s is noticed", (name) =>
  withDb(async (db) => {
    await put(db, "t/1", { n: 1 });
    await put(db, "t/2", { n: 2 });
    await put(db, "t/3", { n: 3 });
    await define(db, "CREATE TABLE t (id TEXT PRIMARY KEY, n)");
    await put(db, "t/4", { n: 4 });
    const points = tablesOf.points(db);
    await tablesOf.of(db).current();
    runner.broken = BROKEN[name] as (part: Part) => Part;
    await expect(compare(db, points, MAIN, 3)).rejects.toThrow(/toEqual/);
  }),
);

const folderOf = (db: Db): string => path.join(engine.folderOf(db.id), "points");
const filesOf = (db: Db): string[] => (existsSync(folderOf(db)) ? readdirSync(folderOf(db)).sort() : []);

test("a point is made once, by whoever asks first, and found by those who ask later", () =>
  withDb(async (db) => {
    for (let i = 0; i < 6; i += 1) await put(db, `c/${i}`, { i });
    const points = tablesOf.points(db);
    const lent = await Promise.all([2, 2, 3, 2].map((seq) => points.at({ branch: MAIN, seq })));
    expect(points.builds).toBe(2);
    expect(new Set(lent.map(({ file }) => file)).size).toBe(2);
    for (const place of lent) place.release();
    const again = await points.at({ branch: MAIN, seq: 2 });
    expect(again.file).toBe(lent[0]?.file);
    expect(again.life).toBe(lent[0]?.life);
    expect(query(again.file, "SELECT key FROM documents")).toEqual([["0"], ["1"]]);
    again.release();
    // A branch without commits of its own stands where it was made.
    await db.log.createBranch("side", { author: "ann", at: 2 });
    expect(points.builds).toBe(2);
  }));

test("main at its head is the file that follows it, unless exactly that state is asked for", () =>
  withDb(async (db) => {
    await put(db, "c/a", { n: 1 });
    const points = tablesOf.points(db);
    const now = await points.at({ branch: MAIN, seq: 1 });
    expect(now.file).toBe((await tablesOf.of(db).current()).file);
    const exact = await points.at({ branch: MAIN, seq: 1 }, { exact: true });
    expect(exact.file).not.toBe(now.file);
    await put(db, "c/a", { n: 2 });
    await tablesOf.of(db).current();
    expect(query(exact.file, "SELECT value FROM documents")).toEqual([['{"n":1}']]);
    exact.release();
    const named = await tablesOf.at(db, { at: db.log.commit(1) ? "1" : "" });
    expect(named.file).toBe(exact.file);
    named.release();
    expect(await refusal(tablesOf.at(db, { branch: "none" }) as never)).toMatchObject({
      code: "BRANCH_NOT_FOUND",
    });
    expect(await refusal(tablesOf.at(db, { at: "9" }) as never)).toMatchObject({ code: "POINT_IN_FUTURE" });
  }));

test("what is used longest ago goes when there are too many bytes, never what is in use; all of it when the db opens or closes", async () => {
  const small = new TablesOf({ engine, runner, pointBytes: 1, onError: (error) => errors.push(error) });
  const dbId = `db${(count += 1)}`;
  await engine.create(dbId);
  await engine.use(dbId, async (db) => {
    for (let i = 0; i < 4; i += 1) await put(db, `c/${i}`, { i });
    const points = small.points(db);
    const held = await points.at({ branch: MAIN, seq: 2 });
    const other = await points.at({ branch: MAIN, seq: 3 });
    expect(points.bytes).toBeGreaterThan(1);
    other.release();
    other.release();
    expect([existsSync(held.file), existsSync(other.file)]).toEqual([true, false]);
    expect((await points.at({ branch: MAIN, seq: 2 })).file).toBe(held.file);
    await compare(db, points, MAIN, 3);
    expect(filesOf(db).length).toBe(1);
  });
  const folder = path.join(engine.folderOf(dbId), "points");
  await engine.rebuild(dbId).catch(() => {});
  expect(existsSync(folder)).toBe(false);
});

test("a document that was erased is in no file, whether that was there, is being made or is made then", () =>
  withDb(async (db) => {
    await put(db, "c/secret", { text: "4711-hidden" });
    await put(db, "c/b", { n: 1 });
    await put(db, "c/b", { n: 2 });
    const points = tablesOf.points(db);
    const before = await points.at({ branch: MAIN, seq: 2 });
    expect(query(before.file, "SELECT key FROM documents")).toEqual([["b"], ["secret"]]);
    before.release();
    let erasing: Promise<unknown> | undefined;
    runner.onFeed = async () => {
      erasing ??= db.erase({ author: "ann", docs: ["c/secret"] });
      // The commit is there; the rest waits for this.
      await new Promise((resolve) => setTimeout(resolve, 20));
    };
    const during = await points.at({ branch: MAIN, seq: 1 });
    expect(query(during.file, "SELECT key FROM documents")).toEqual([]);
    await erasing;
    await db.erased();
    runner.onFeed = () => {};
    expect(existsSync(before.file)).toBe(false);
    during.release();
    await compare(db, points, MAIN, 2);
    await compare(db, points, MAIN, 1);
    for (const name of filesOf(db))
      expect(readFileSync(path.join(folderOf(db), name)).includes("4711-hidden")).toBe(false);
  }));

test("changes that are set aside count in no file any more, also of points before that", () =>
  withDb(async (db) => {
    const one = await put(db, "c/a", { n: 1 });
    const two = await put(db, "c/a", { n: 2 });
    await put(db, "c/b", { n: 3 });
    const points = tablesOf.points(db);
    const before = await points.at({ branch: MAIN, seq: 2 });
    expect(query(before.file, "SELECT value FROM documents")).toEqual([['{"n":2}']]);
    before.release();
    const [here, there] = [one, two].map(({ heads }) => heads["c/a"] as string[]) as [string[], string[]];
    await db.log.setAside("c/a", there, there, here, "for the test");
    const after = await points.at({ branch: MAIN, seq: 2 });
    expect(query(after.file, "SELECT value FROM documents")).toEqual([['{"n":1}']]);
    after.release();
    await compare(db, points, MAIN, 2);
    await compare(db, points, MAIN, 3);
  }));

test("the threads do the same", async () => {
  const threads = new TablesOf({ engine, onError: (error) => errors.push(error) });
  await withDb(async (db) => {
    await define(db, "CREATE TABLE t (id TEXT PRIMARY KEY, n)");
    for (let i = 0; i < 5; i += 1) await put(db, `t/${i}`, { n: i });
    const points = threads.points(db);
    await compare(db, points, MAIN, 3);
    await compare(db, points, MAIN, 2);
    expect(await refusal(points.at({ branch: "none", seq: 1 }) as never)).toMatchObject({
      code: "BRANCH_NOT_FOUND",
    });
    await db.log.createBranch("side", { author: "ann", at: 3 });
    await put(db, "t/9", { n: 9 }, "side");
    await compare(db, points, "side", db.log.head().seq);
  });
  await threads.close();
});
