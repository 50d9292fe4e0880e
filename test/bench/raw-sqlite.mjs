import { randomBytes } from "node:crypto";
import path from "node:path";
import Database from "better-sqlite3";
import { median, row } from "./figures.mjs";

/**
 * What SQLite itself can do with the same content, the same pragmas and the same number of
 * transactions: the ceiling that our log is held against.
 */
function open(file, schema, { cache, autocheckpoint }) {
  const sqlite = new Database(file);
  sqlite.pragma("trusted_schema = OFF");
  sqlite.pragma("cell_size_check = ON");
  sqlite.pragma("mmap_size = 0");
  sqlite.pragma(`cache_size = ${cache}`);
  sqlite.pragma("auto_vacuum = INCREMENTAL");
  sqlite.pragma("journal_mode = WAL");
  sqlite.pragma("synchronous = FULL");
  sqlite.pragma(`wal_autocheckpoint = ${autocheckpoint}`);
  sqlite.pragma("secure_delete = ON");
  sqlite.exec(schema);
  return sqlite;
}

/**
 * The schema that one would draw first: blocks and commits by address, an index from a document's
 * change to its commit, a row of heads. `items`: `{doc, change, commit, hash}` with what is stored.
 */
export class ConventionalLog {
  #sqlite;
  #batch;
  #seq = 0;

  constructor(dir) {
    this.#sqlite = open(
      path.join(dir, `conventional-${randomBytes(4).toString("hex")}.sqlite`),
      `CREATE TABLE block (cid BLOB PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
       CREATE TABLE "commit" (seq INTEGER PRIMARY KEY, cid BLOB NOT NULL UNIQUE, bytes BLOB NOT NULL) STRICT;
       CREATE TABLE change (doc TEXT NOT NULL, hash BLOB NOT NULL UNIQUE, seq INTEGER NOT NULL) STRICT;
       CREATE TABLE head (doc TEXT PRIMARY KEY, heads BLOB NOT NULL) STRICT;`,
      // Better than ours: random keys suffer without a cache, and each checkpoint holds the group up.
      { cache: -64_000, autocheckpoint: 4000 },
    );
    const block = this.#sqlite.prepare("INSERT INTO block VALUES (?, ?)");
    const commit = this.#sqlite.prepare('INSERT INTO "commit" VALUES (?, ?, ?)');
    const change = this.#sqlite.prepare("INSERT INTO change VALUES (?, ?, ?)");
    const head = this.#sqlite.prepare(
      "INSERT INTO head VALUES (?, ?) ON CONFLICT (doc) DO UPDATE SET heads = excluded.heads",
    );
    this.#batch = this.#sqlite.transaction((items) => {
      for (const item of items) {
        this.#seq += 1;
        block.run(item.cid, item.change);
        commit.run(this.#seq, item.commitCid, item.commit);
        change.run(item.doc, item.hash, this.#seq);
        head.run(item.doc, item.hash);
      }
    });
  }

  append(items) {
    this.#batch.immediate(items);
  }

  close() {
    this.#sqlite.close();
  }
}

/** Moves the write-ahead log into the file as often as ours: each 16 MiB of content. */
const WAL_BYTES = 16 * 1024 * 1024;

/** Our own layout and nothing of our own work: one row a commit, written one behind the other. */
export class RecordLog {
  #sqlite;
  #batch;
  #seq = 0;
  #since = 0;

  constructor(dir) {
    this.#sqlite = open(
      path.join(dir, `records-${randomBytes(4).toString("hex")}.sqlite`),
      "CREATE TABLE record (seq INTEGER PRIMARY KEY, first INTEGER NOT NULL, body BLOB NOT NULL) STRICT;",
      { cache: -2000, autocheckpoint: 0 },
    );
    const insert = this.#sqlite.prepare("INSERT INTO record VALUES (?, ?, ?)");
    this.#batch = this.#sqlite.transaction((items) => {
      for (const item of items) {
        this.#seq += 1;
        insert.run(this.#seq, this.#seq, item.record);
        this.#since += item.record.length;
      }
    });
  }

  append(items) {
    this.#batch.immediate(items);
    if (this.#since < WAL_BYTES) return;
    this.#since = 0;
    this.#sqlite.pragma("wal_checkpoint(TRUNCATE)");
  }

  close() {
    this.#sqlite.close();
  }
}

/** Commit and record as large as ours for one small change; their bytes are noise, as hashes are. */
const COMMIT_BYTES = 329;

/** What is stored of a change, made outside the clock. */
export function itemOf(doc, change, commitBytes = COMMIT_BYTES) {
  return {
    doc,
    change: change.bytes,
    hash: Buffer.from(change.hash, "hex"),
    cid: randomBytes(36),
    commitCid: randomBytes(36),
    commit: randomBytes(commitBytes),
    record: randomBytes(1 + 32 + 2 + commitBytes + 1 + 2 + change.bytes.length + 1 + 8),
  };
}

/** Items a second, `size` in a transaction. */
export function appendAll(log, items, size) {
  const from = performance.now();
  for (let at = 0; at < items.length; at += size) log.append(items.slice(at, at + size));
  return (items.length / (performance.now() - from)) * 1000;
}

/** On its own: what the two layouts cost, 64 at a time and one at a time. */
export async function run({ dir, quick }) {
  const change = { bytes: randomBytes(130), hash: randomBytes(32).toString("hex") };
  const rows = [];
  for (const size of [64, 1]) {
    const count = (quick ? 2_000 : 20_000) / (size === 1 ? 10 : 1);
    const conventional = new ConventionalLog(dir);
    const records = new RecordLog(dir);
    const rates = { conventional: [], records: [] };
    try {
      for (let round = 0; round < 5; round += 1) {
        const items = Array.from({ length: count }, (_, i) => ({
          ...itemOf(`bench/d${i % 64}`, change),
          hash: randomBytes(32),
        }));
        rates.conventional.push(appendAll(conventional, items, size));
        rates.records.push(appendAll(records, items, size));
      }
    } finally {
      conventional.close();
      records.close();
    }
    rows.push(
      row({
        work: `raw SQLite, ${size} a transaction: one row a commit`,
        ours: median(rates.records),
        theirs: median(rates.conventional),
        against: "conventional schema",
        unit: "commits/s",
        note: "neither side is Skald",
      }),
    );
  }
  return rows;
}
