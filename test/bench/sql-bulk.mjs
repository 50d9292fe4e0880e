import { mkdtempSync, rmSync } from "node:fs";
import path from "node:path";
import Database from "better-sqlite3";
import { Engine } from "../../dist/db/engine.js";
import { openQueries } from "../../dist/query/open.js";
import { row } from "./figures.mjs";

/**
 * A bulk load through SQL: batches of `values`, each one commit, beside raw SQLite that inserts the same rows into the
 * same table and as many blocks into a log, in transactions of the same size.
 */
export async function run({ dir, quick, rows = quick ? 10_000 : 100_000, batch = 1000 }) {
  const root = mkdtempSync(path.join(dir, "sql-bulk-"));
  try {
    const skald = await loadSkald(path.join(root, "skald"), rows, batch);
    const raw = loadRaw(path.join(root, "raw"), rows, batch, skald.blockBytes);
    return [
      row({
        work: `${rows} rows through SQL, ${batch} a commit`,
        ours: rows / (skald.ms / 1000),
        theirs: rows / (raw.ms / 1000),
        against: "SQLite with the rows and as many blocks",
        reach: "≥ 0.25",
        unit: "rows/s",
        note: `tables there after ${Math.round(skald.followedMs)} ms more; ${Math.round((1000 * skald.cpuMs) / rows)} µs of processor a row in the server, ${((1000 * raw.cpuMs) / rows).toFixed(1)} in SQLite`,
      }),
    ];
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

const INSERT = "INSERT INTO items (id, title, amount, done) VALUES (?, ?, ?, ?)";
const rowOf = (n) => [`item-${String(n).padStart(7, "0")}`, `The title of item ${n}`, n * 3, n % 2];

function* batches(rows, batch) {
  for (let from = 0; from < rows; from += batch)
    yield Array.from({ length: Math.min(batch, rows - from) }, (_, i) => rowOf(from + i));
}

async function loadSkald(dir, rows, batch) {
  const onError = (error) => process.stderr.write(`${error.stack}\n`);
  const engine = new Engine({ dir, reserve: 0 });
  const sql = openQueries({ engine, onError });
  try {
    await engine.create("bulk");
    return await engine.use("bulk", async (db) => {
      const statement = { author: "bench", principal: "bench" };
      await sql.queries.exec(db, {
        ...statement,
        sql: "CREATE TABLE items (id TEXT PRIMARY KEY, title TEXT NOT NULL, amount INTEGER, done INTEGER DEFAULT 0)",
      });
      // What starts once is not the load's.
      await sql.batch(db, { ...statement, statements: [{ sql: INSERT, values: [["first", "x", 0, 0]] }] });
      const cpu = process.cpuUsage();
      const from = performance.now();
      for (const values of batches(rows, batch))
        await sql.batch(db, { ...statement, statements: [{ sql: INSERT, values }] });
      const ms = performance.now() - from;
      await sql.tables.of(db).current();
      const followedMs = performance.now() - from - ms;
      const { user, system } = process.cpuUsage(cpu);
      const { seq } = db.log.head();
      const [block] = db.log.commit(seq).blocks;
      return { ms, followedMs, cpuMs: (user + system) / 1000, blockBytes: block.length };
    });
  } finally {
    await sql.processes.close();
    await engine.close();
    await sql.tables.close();
  }
}

function loadRaw(file, rows, batch, blockBytes) {
  const sqlite = new Database(file);
  sqlite.pragma("journal_mode = WAL");
  sqlite.pragma("synchronous = FULL");
  sqlite.exec(
    `CREATE TABLE items (id TEXT PRIMARY KEY, title TEXT NOT NULL, amount INTEGER, done INTEGER DEFAULT 0) WITHOUT ROWID;
     CREATE TABLE block (seq INTEGER PRIMARY KEY, body BLOB NOT NULL)`,
  );
  const insert = sqlite.prepare(INSERT);
  const block = sqlite.prepare("INSERT INTO block (body) VALUES (?)");
  const body = Buffer.alloc(blockBytes, 7);
  const cpu = process.cpuUsage();
  const from = performance.now();
  for (const values of batches(rows, batch))
    sqlite.transaction(() => {
      for (const value of values) {
        insert.run(value);
        block.run(body);
      }
    })();
  const ms = performance.now() - from;
  const { user, system } = process.cpuUsage(cpu);
  sqlite.close();
  return { ms, cpuMs: (user + system) / 1000 };
}
