import Database from "better-sqlite3";
import type { Db } from "../../src/db/db.ts";
import type { TxRequest } from "../../src/db/write.ts";
import { seeded, seedOf } from "../support/fault-process.ts";
import { SqlDbs, type SqlDb } from "./sql-db.ts";

/**
 * Writers at once, through the whole path, against the same statements one after another on a plain SQLite database, in
 * the order of the seqs that they were answered with. SKALD_SQL_WRITERS raises the number of rounds.
 */
const ROUNDS = Number(process.env["SKALD_SQL_WRITERS"] ?? 2);
const SEED = seedOf();
const SCHEMA = [
  "CREATE TABLE acc (id TEXT PRIMARY KEY, owner TEXT, amount INTEGER NOT NULL DEFAULT 0 CHECK (amount >= 0))",
  "CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT UNIQUE, total INTEGER)",
];

const dbs = new SqlDbs();
afterAll(async () => {
  await dbs.close();
  expect(dbs.errors).toEqual([]);
});

interface Asked {
  readonly sql: string;
  readonly args: (string | number)[];
}

/** A statement that somebody writes, from a random source. */
function statementOf(random: () => number): Asked {
  const pick = (n: number): number => Math.floor(random() * n);
  const id = `k${pick(6)}`;
  const other = `k${pick(6)}`;
  const n = pick(10);
  const all: Asked[] = [
    { sql: "INSERT INTO acc (id, owner, amount) VALUES (?, ?, ?)", args: [id, other, n] },
    {
      sql: "INSERT INTO acc (id, amount) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET amount = amount + excluded.amount RETURNING id, amount",
      args: [id, n],
    },
    { sql: "UPDATE acc SET amount = amount - ? WHERE id = ? RETURNING amount", args: [n, id] },
    { sql: "UPDATE acc SET amount = amount + 1 WHERE owner = ? RETURNING id", args: [other] },
    { sql: "UPDATE OR REPLACE acc SET id = ? WHERE id = ?", args: [other, id] },
    { sql: "DELETE FROM acc WHERE id = ? RETURNING owner, amount", args: [id] },
    { sql: "DELETE FROM acc WHERE amount > ?", args: [25 + n] },
    { sql: "REPLACE INTO acc VALUES (?, ?, ?)", args: [id, null as never, n] },
    {
      sql: "INSERT INTO log (id, what, total) SELECT coalesce(max(id), 0) + 1, ?, (SELECT sum(amount) FROM acc) FROM log RETURNING id, total",
      args: [`w${pick(40)}`],
    },
    { sql: "INSERT OR IGNORE INTO log VALUES (?, ?, 0)", args: [pick(20), `w${pick(40)}`] },
    {
      sql: "UPDATE log SET total = (SELECT count(*) FROM acc) WHERE id = (SELECT max(id) FROM log)",
      args: [],
    },
    // More than one row is touched, and the last one may break the check.
    { sql: "UPDATE acc SET amount = amount - 4", args: [] },
  ];
  return all[pick(all.length)] as Asked;
}

interface Done extends Asked {
  readonly seq: number;
  readonly rows: unknown;
  readonly affected: number;
  /** Of its commit, if it made one. */
  readonly message: string;
}

let count = 0;

async function writer(sql: SqlDb, random: () => number, statements: number, done: Done[]): Promise<void> {
  for (let i = 0; i < statements; i += 1) {
    const { sql: text, args } = statementOf(random);
    try {
      const message = `statement ${(count += 1)}`;
      const { seq, rows, affected } = await sql.run(text, args, { message });
      done.push({ sql: text, args, seq, rows, affected: affected[0] ?? 0, message });
    } catch (error) {
      const { code } = error as { code: string };
      if (code !== "SQL_CONSTRAINT" && code !== "SQL_CONFLICT" && code !== "PATCH_FAILED") throw error;
    }
  }
}

/** What several writers at once were answered that they would not have been one after another; undefined when all is well. */
async function round(sql: SqlDb, seed: number): Promise<string | undefined> {
  const random = seeded(seed);
  const done: Done[] = [];
  const first = sql.db.log.head().seq;
  await Promise.all(Array.from({ length: 4 }, () => writer(sql, random, 15, done)));
  // Those that wrote stand at their own seq, those that did not behind whoever wrote it.
  const wrote = new Map<number, Done>();
  const looked: Done[] = [];
  for (const one of done)
    if (sql.db.log.commit(one.seq)?.commit.message === one.message) wrote.set(one.seq, one);
    else looked.push(one);
  const plain = new Database(":memory:");
  for (const statement of SCHEMA) plain.exec(`${statement} WITHOUT ROWID`);
  for (let seq = first; seq <= sql.db.log.head().seq; seq += 1) {
    const own = wrote.get(seq);
    if (seq > first && !own) return `nobody wrote ${seq}`;
    for (const one of [...(own ? [own] : []), ...looked.filter((other) => other.seq === seq)]) {
      const before = dump(plain);
      const answer = JSON.stringify(run(plain, one));
      const given = JSON.stringify({ rows: one.rows, affected: one.affected });
      if (answer !== given) return `${one.sql} at ${seq} gave ${given} and not ${answer}`;
      if (one !== own && dump(plain) !== before) return `${one.sql} at ${seq} made no commit`;
    }
  }
  const tables = JSON.stringify([
    await sql.rows("SELECT * FROM acc ORDER BY id"),
    await sql.rows("SELECT * FROM log ORDER BY id"),
  ]);
  if (tables !== dump(plain)) return `the tables hold ${tables} and not ${dump(plain)}`;
  if (process.env["SKALD_SQL_WRITERS"])
    process.stderr.write(`seed ${seed}: ${wrote.size} commits, ${looked.length} statements without one\n`);
  return wrote.size > 5 ? undefined : "hardly anything was written";
}

test.each(Array.from({ length: ROUNDS }, (_, i) => SEED + i))(
  "statements of several writers are as if each had been run alone at its seq (SKALD_TEST_SEED=%i)",
  (seed) =>
    dbs.with(async (sql) => {
      expect(await round(sql, seed)).toBeUndefined();
    }, SCHEMA),
  120_000,
);

test.each([
  [
    "a log that does not ask what has changed since",
    (request: TxRequest) => ({ ...request, unchanged: undefined }),
  ],
  [
    "a statement that stands on its own rows alone, wherever it looked",
    (request: TxRequest) => ({
      ...request,
      unchanged: {
        since: request.unchanged?.since ?? 0,
        collections: [],
        docs: request.writes.map(({ doc }) => doc),
      },
    }),
  ],
])(
  "that is seen to fail with %s",
  async (_, broken) => {
    const problems: (string | undefined)[] = [];
    for (let i = 0; i < 6 && !problems.some(Boolean); i += 1)
      await dbs.with(async (sql) => {
        const { db } = sql;
        const around = {
          log: db.log,
          tx: (request: TxRequest) => db.tx(broken(request) as TxRequest),
          inTurn: (ms: number, work: (tx: Db["tx"]) => Promise<unknown>) =>
            db.inTurn(ms, (tx) => work((request) => tx(broken(request) as TxRequest))),
        };
        problems.push(await round(sql.around(around as unknown as Db), SEED + i));
      }, SCHEMA);
    expect(problems.some(Boolean)).toBe(true);
  },
  120_000,
);

function run(sqlite: Database.Database, { sql, args }: Asked): unknown {
  try {
    const statement = sqlite.prepare(sql);
    const bound = args.map((arg) => (typeof arg === "number" ? BigInt(arg) : arg));
    if (!statement.reader) return { affected: statement.run(...bound).changes };
    const rows = statement.raw().all(...bound);
    return { rows, affected: sqlite.prepare("SELECT changes()").pluck().get() };
  } catch (error) {
    return (error as Error).message;
  }
}

function dump(sqlite: Database.Database): string {
  return JSON.stringify(
    ["acc", "log"].map((table) => sqlite.prepare(`SELECT * FROM ${table} ORDER BY id`).raw().all()),
  );
}
