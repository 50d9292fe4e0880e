import Database from "better-sqlite3";
import type { Db } from "../../src/db/db.ts";
import { writeEvents } from "../../src/db/write-events.ts";
import type { Args } from "../../src/query/args.ts";
import type { AppliedBatch, WatchedTables } from "../../src/query/watches.ts";
import { seedOf, seeded } from "../support/fault-process.ts";
import { tempDir } from "../support/temp-dir.ts";
import { WatchClient, WatchingEngine, answered, until } from "./watch-fixture.ts";

const runs = Number(process.env["SKALD_TEST_RUNS"] ?? 1);
const STEPS = 40;

type Fields = Readonly<Record<string, string | number | boolean | null>>;
type Op =
  | { readonly kind: "docs"; readonly docs: readonly (readonly [name: string, fields: Fields | undefined])[] }
  | { readonly kind: "schema"; readonly sql: string };

/** The tables after the first commits, made by SQLite from what was written and nothing of ours. */
function tablesAfter(ops: readonly Op[]): Database.Database {
  const sqlite = new Database(":memory:");
  sqlite.exec(`
    CREATE TABLE documents (collection TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (collection, key)) STRICT, WITHOUT ROWID;
    CREATE TABLE commits (seq INTEGER NOT NULL PRIMARY KEY, author TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE changes (collection TEXT NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, deleted INTEGER NOT NULL, PRIMARY KEY (collection, key, seq)) STRICT, WITHOUT ROWID;`);
  const docs = new Map<string, { fields: Fields; seq: number }>();
  ops.forEach((op, i) => {
    const seq = i + 1;
    sqlite.prepare("INSERT INTO commits VALUES (?, 'me')").run(seq);
    if (op.kind === "schema") {
      const isTable = op.sql.startsWith("CREATE TABLE");
      sqlite.exec(isTable ? `${op.sql} WITHOUT ROWID` : op.sql);
      return;
    }
    for (const [name, fields] of op.docs) {
      const was = docs.has(name);
      if (fields) docs.set(name, { fields, seq });
      else docs.delete(name);
      if (fields || was)
        sqlite
          .prepare("INSERT INTO changes VALUES (?, ?, ?, ?)")
          .run(...name.split("/"), seq, fields ? 0 : 1);
    }
  });
  const tables = new Set(
    sqlite.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").pluck().all() as string[],
  );
  for (const [name, { fields, seq }] of docs) {
    const [collection = "", key = ""] = name.split("/");
    sqlite
      .prepare("INSERT INTO documents VALUES (?, ?, ?, ?)")
      .run(collection, key, JSON.stringify(fields), seq);
    if (!tables.has(collection)) continue;
    const columns = (sqlite.pragma(`table_info(${collection})`) as { name: string }[]).map(
      (column) => column.name,
    );
    const values = columns.map((column) => {
      const value = column === "id" ? key : fields[column];
      if (typeof value === "boolean") return value ? 1n : 0n;
      return typeof value === "number" && Number.isInteger(value) ? BigInt(value) : (value ?? null);
    });
    sqlite.prepare(`INSERT INTO ${collection} VALUES (${columns.map(() => "?").join(", ")})`).run(...values);
  }
  return sqlite;
}

const TABLES: Readonly<Record<string, string>> = {
  tasks: "CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT, done INTEGER, score REAL, tag)",
  notes: "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT COLLATE NOCASE, task TEXT)",
};

class Model {
  readonly ops: Op[] = [];
  readonly random = seeded(seedOf());
  readonly #there = new Set<string>();
  #extra = 0;

  pick<T>(of: readonly T[]): T {
    return of[Math.floor(this.random() * of.length)] as T;
  }

  key(): string {
    return `k${Math.floor(this.random() * 8)}`;
  }

  fields(): Fields {
    const fields: Record<string, string | number | boolean | null> = {};
    const some = (name: string, value: () => string | number | boolean | null): void => {
      if (this.random() < 0.8) fields[name] = value();
    };
    some("title", () => this.pick(["a", "A", "b", "ä", "", 5]));
    some("done", () => this.pick([true, false, 0, 1, 2]));
    some("score", () => this.pick([0, 1, 1.5, 2, 3, -1]));
    some("tag", () => this.pick(["x", "y", 1, 1.5, null]));
    some("task", () => this.key());
    return fields;
  }

  next(): Op {
    if (this.random() < 0.08) {
      const sql = this.#schema();
      if (sql !== undefined) return { kind: "schema", sql };
    }
    const names = new Set(
      Array.from(
        { length: 1 + Math.floor(this.random() * 3) },
        () => `${this.pick(["tasks", "tasks", "notes", "other"])}/${this.key()}`,
      ),
    );
    return {
      kind: "docs",
      docs: [...names].map((name) => [name, this.random() < 0.2 ? undefined : this.fields()]),
    };
  }

  #schema(): string | undefined {
    const name = this.pick(["tasks", "notes", "done_tasks", "by_score", "extra"]);
    if (name in TABLES) {
      if (this.#there.has(name)) {
        // What stands on it would be in the way.
        if (this.random() < 0.6 || this.#there.has("done_tasks")) return undefined;
        this.#there.delete(name);
        if (name === "tasks") this.#there.delete("by_score");
        return `DROP TABLE ${name}`;
      }
      this.#there.add(name);
      return TABLES[name];
    }
    if (!this.#there.has("tasks")) return undefined;
    if (name === "extra") return `ALTER TABLE tasks ADD COLUMN extra${(this.#extra += 1)} TEXT`;
    if (this.#there.has(name)) {
      this.#there.delete(name);
      return name === "by_score" ? "DROP INDEX by_score" : "DROP VIEW done_tasks";
    }
    this.#there.add(name);
    return name === "by_score"
      ? "CREATE INDEX by_score ON tasks(score)"
      : "CREATE VIEW done_tasks AS SELECT id, title FROM tasks WHERE done = 1";
  }

  statement(): [sql: string, args: Args] {
    const key = this.key();
    return this.pick<[string, Args]>([
      ["SELECT * FROM tasks WHERE id = ?", [key]],
      ["SELECT * FROM tasks WHERE id = :key", { key }],
      ["SELECT id, title FROM tasks WHERE done = 1 ORDER BY title, id", []],
      ["SELECT count(*), total(score) FROM tasks WHERE score BETWEEN ? AND 2", [this.pick([0, 1, 1.5])]],
      ["SELECT id, score FROM tasks WHERE score > ? AND title IN ('a', 'ä')", [this.pick([0, 1n, 1.5])]],
      ["SELECT title, count(*) FROM tasks GROUP BY title", []],
      ["SELECT tag, typeof(tag) FROM tasks WHERE tag = ?", [this.pick([1n, "x", 1.5])]],
      ["SELECT id FROM tasks WHERE tag IS NULL", []],
      ["SELECT * FROM tasks", []],
      ["SELECT * FROM notes WHERE title = 'a'", []],
      ["SELECT n.id, t.title FROM notes n JOIN tasks t ON t.id = n.task ORDER BY 1", []],
      ["SELECT * FROM done_tasks", []],
      ["SELECT key FROM documents WHERE collection = 'tasks' AND json_extract(value, '$.title') = 'a'", []],
      ["SELECT key FROM documents WHERE collection = 'other' AND key >= ?", [key]],
      ["SELECT seq FROM documents WHERE collection = 'notes' AND key = ?", [key]],
      ["SELECT max(seq) FROM commits", []],
      ["SELECT key, count(*) FROM changes WHERE collection = 'tasks' GROUP BY key", []],
      ["SELECT title FROM tasks LIMIT 3", []],
    ]);
  }
}

interface Tally {
  events: number;
  deltas: number;
  resumed: number;
  errors: number;
  evaluations: number;
  watches: number;
}

/** Random commits under random watches, which join and leave; gives what any of them was told that was not so. */
async function hunt(): Promise<{ wrong: string[]; tally: Tally }> {
  const model = new Model();
  const tally: Tally = { events: 0, deltas: 0, resumed: 0, errors: 0, evaluations: 0, watches: 0 };
  const dir = tempDir();
  const clients: WatchClient[] = [];
  const failures: string[] = [];
  let on = new WatchingEngine(dir);
  await on.engine.create("db");
  for (let life = 0; life < 2; life += 1) {
    if (life > 0) on = new WatchingEngine(dir);
    await on.engine.use("db", async (db) => {
      const watches = on.watches(db, asIs);
      const open = new Set<WatchClient>();
      const join = async (client: WatchClient): Promise<void> => {
        const from = client.told.length;
        try {
          await client.open(on, db, watches);
          open.add(client);
          if (client.told[from]?.event === "resumed") tally.resumed += 1;
        } catch (error) {
          // The statement is none in this schema.
          client.error = { code: (error as { code?: string }).code ?? String(error) };
        }
      };
      await Promise.all(clients.filter(({ error }) => !error).map(join));
      for (let step = 0; step < STEPS; step += 1) {
        await write(db, model);
        const what = model.random();
        if (what < 0.35 && open.size < 24) {
          const client = new WatchClient(...model.statement(), model.random() < 0.6);
          clients.push(client);
          // Some begin in the midst of further commits.
          const joining = join(client);
          if (model.random() < 0.5) await write(db, model);
          await joining;
        } else if (what < 0.45 && open.size > 0) {
          const client = model.pick([...open]);
          client.close();
          open.delete(client);
          client.error = { code: "LEFT" };
        } else if (what < 0.55) await settled(db, open);
      }
      await settled(db, open);
      const now = tablesAfter(model.ops);
      for (const client of open)
        if (!client.error) failures.push(...compared(client, client.told.length - 1, now));
      now.close();
      tally.evaluations += watches.evaluations;
      for (const client of open) client.close();
      if (watches.size > 0) failures.push(`${watches.size} watches are left`);
    });
    await on.close();
    failures.push(...on.errors.map(String));
  }
  // Each state that anybody was told of, against SQLite at that commit.
  for (let seq = 0; seq <= model.ops.length; seq += 1) {
    const sqlite = tablesAfter(model.ops.slice(0, seq));
    for (const client of clients)
      client.told.forEach((told, i) => {
        if (told.seq === seq) failures.push(...compared(client, i, sqlite));
      });
    sqlite.close();
  }
  for (const client of clients) {
    tally.watches += 1;
    tally.events += client.told.length;
    const seqs = client.told.map(({ seq }) => seq);
    if (seqs.some((seq, i) => i > 0 && seq < (seqs[i - 1] as number)))
      failures.push(`${client.sql} went back`);
    const code = client.error?.["code"];
    if (code === "SQL_ERROR") tally.errors += 1;
    else if (code !== undefined && code !== "LEFT")
      failures.push(`${client.sql} ended with ${JSON.stringify(client.error)}`);
    tally.deltas += client.deltas;
  }
  return { wrong: failures, tally };
}

function compared(client: WatchClient, at: number, sqlite: Database.Database): string[] {
  const told = client.told[at];
  if (!told) return [`${client.sql} was told of nothing`];
  let truth: unknown;
  try {
    truth = answered(sqlite, client);
  } catch (error) {
    truth = String(error);
  }
  const { rows, columns, hash } = told;
  if (JSON.stringify(truth) === JSON.stringify({ rows: [...rows], columns, hash })) return [];
  return [
    `${client.sql} ${JSON.stringify(client.args, (_, one: unknown) => (typeof one === "bigint" ? String(one) : one))} was told by ${told.event} at ${told.seq}: ${JSON.stringify(rows)}, and it is ${JSON.stringify(truth)}`,
  ];
}

/** The next commit of a model. */
async function write(db: Db, model: Model): Promise<void> {
  const next = model.next();
  // A deletion of what is not there is no commit.
  const op: Op =
    next.kind === "schema"
      ? next
      : { kind: "docs", docs: next.docs.filter(([name, fields]) => fields || isThere(model.ops, name)) };
  if (op.kind === "docs" && op.docs.length === 0) return;
  await commit(db, op);
  model.ops.push(op);
  if (db.log.head().seq !== model.ops.length) throw new Error("the model counts otherwise");
}

async function commit(db: Db, op: Op): Promise<void> {
  if (op.kind === "schema") {
    await writeEvents(db, { author: "me", events: [{ type: "schema.change", sql: op.sql }] });
    return;
  }
  await db.tx({
    author: "me",
    writes: op.docs.map(([doc, fields]) =>
      fields
        ? { doc, edit: { kind: "put" as const, value: JSON.stringify(fields) } }
        : { doc, delete: true as const },
    ),
  });
}

function isThere(ops: readonly Op[], name: string): boolean {
  const last = ops.findLast((op) => op.kind === "docs" && op.docs.some(([doc]) => doc === name));
  return last?.kind === "docs" && last.docs.some(([doc, fields]) => doc === name && fields !== undefined);
}

/** Until all who watch were told of everything, as far as the server thinks. */
async function settled(db: Db, open: ReadonlySet<WatchClient>): Promise<void> {
  const { seq } = db.log.head();
  await until(
    () => [...open].every((client) => client.error !== undefined || client.place().seq >= seq),
    () => [...open].map((client) => `${client.sql} at ${client.place().seq} of ${seq}`).join("; "),
  );
}

type Wrapped = (tables: WatchedTables) => WatchedTables;

const asIs: Wrapped = (tables) => tables;
/** Tells of batches otherwise than they were. */
const telling =
  (other: (applied: AppliedBatch) => AppliedBatch): Wrapped =>
  (tables) => ({
    current: () => tables.current(),
    want: (table) => tables.want(table),
    onApplied: (listener) => tables.onApplied((applied) => listener(other(applied))),
  });

test(`in ${runs} random histories, restarts in them, each watch is told of states that were, and ends at the one that is`, async () => {
  for (let run = 0; run < runs; run += 1) {
    const { wrong, tally } = await hunt();
    if (process.env["SKALD_TEST_RUNS"] !== undefined)
      process.stderr.write(`watches: ${JSON.stringify(tally)}\n`);
    expect(wrong.slice(0, 5)).toEqual([]);
    // A busy machine has more commits in one event.
    expect(tally.events).toBeGreaterThan(10);
    if (runs > 3) expect(tally.deltas).toBeGreaterThan(0);
  }
}, 300_000);

/** The statements whose watches end at another result than SQLite has, after a row came into and left what they read. */
async function wrongAfter(on: WatchingEngine, dbId: string, wrapped: Wrapped): Promise<string[]> {
  await on.engine.create(dbId);
  return on.engine.use(dbId, async (db) => {
    const ops: Op[] = [];
    const write = async (op: Op): Promise<void> => {
      await commit(db, op);
      ops.push(op);
    };
    const task = (key: string, fields: Fields): Op => ({ kind: "docs", docs: [[`tasks/${key}`, fields]] });
    await write({ kind: "schema", sql: TABLES["tasks"] as string });
    await write(task("stays", { title: "a", score: 5 }));
    await write(task("goes", { title: "a", score: 9 }));
    await write(task("comes", { title: "b", score: 1 }));
    const watches = on.watches(db, wrapped);
    const open = new Set(
      [
        "SELECT id FROM tasks WHERE score > 4",
        "SELECT id FROM tasks WHERE title = 'a'",
        "SELECT count(*) FROM tasks",
      ].map((sql) => new WatchClient(sql)),
    );
    for (const client of open) await client.open(on, db, watches);
    await write(task("goes", { title: "b", score: 1 }));
    await settled(db, open);
    const left = tablesAfter(ops);
    const wrong = [...open].flatMap((client) => compared(client, client.told.length - 1, left));
    left.close();
    await write(task("comes", { title: "a", score: 9 }));
    await write(task("new", { title: "c", score: 0 }));
    await settled(db, open);
    const came = tablesAfter(ops);
    wrong.push(...[...open].flatMap((client) => compared(client, client.told.length - 1, came)));
    came.close();
    for (const client of open) client.close();
    return wrong;
  });
}

test("watches are noticed that hear nothing of a row before a commit, of one after it, or of a table", async () => {
  const rows =
    (which: "before" | "after") =>
    (applied: AppliedBatch): AppliedBatch => ({
      ...applied,
      touched: new Map(
        [...applied.touched].map(([table, changes]) => [
          table,
          changes === "all"
            ? changes
            : changes.filter((change) => change[which]).map((change) => ({ [which]: change[which] })),
        ]),
      ),
    });
  const without = (applied: AppliedBatch): AppliedBatch => ({
    ...applied,
    touched: new Map([...applied.touched].filter(([name]) => name !== "tasks")),
  });
  const on = new WatchingEngine(tempDir());
  try {
    expect(await wrongAfter(on, "whole", asIs)).toEqual([]);
    expect(await wrongAfter(on, "after", telling(rows("after")))).toHaveLength(2);
    expect(await wrongAfter(on, "before", telling(rows("before")))).toHaveLength(2);
    expect((await wrongAfter(on, "none", telling(without))).length).toBeGreaterThan(2);
  } finally {
    await on.close();
  }
}, 120_000);
