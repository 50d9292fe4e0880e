import Database from "better-sqlite3";
import path from "node:path";
import { tempDir } from "../support/temp-dir.ts";

/** A tables file made by hand, with its writer's connection, which keeps its write-ahead log in place. */
export function tablesFile(
  rows = 100,
  file = path.join(tempDir(), "tables.sqlite"),
): { file: string; sqlite: Database.Database } {
  const sqlite = new Database(file);
  sqlite.pragma("journal_mode = WAL");
  sqlite.exec(SCHEMA);
  sqlite.transaction(() => {
    const document = sqlite.prepare("INSERT INTO documents VALUES ('tasks', ?, ?, 3)");
    const task = sqlite.prepare("INSERT INTO tasks VALUES (?, ?, ?, ?, NULL)");
    const words = sqlite.prepare("INSERT INTO tasks_fts VALUES (?, ?)");
    for (let n = 0; n < rows; n++) {
      const [key, title] = [`t${n}`, `task ${n}`];
      document.run(key, JSON.stringify({ title, done: n % 2 === 1, price: n / 4 }));
      task.run(key, title, BigInt(n % 2), n / 4);
      words.run(key, title);
    }
  })();
  return { file, sqlite };
}

const SCHEMA = `
CREATE TABLE skald_head (id INTEGER PRIMARY KEY CHECK (id = 1), branch INTEGER NOT NULL, seq INTEGER NOT NULL, schema INTEGER NOT NULL) STRICT;
CREATE TABLE skald_secret (id INTEGER PRIMARY KEY, word TEXT) STRICT;
CREATE TABLE documents (collection TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (collection, key)) STRICT, WITHOUT ROWID;
CREATE TABLE commits (seq INTEGER NOT NULL PRIMARY KEY, id TEXT NOT NULL, branch TEXT NOT NULL, time TEXT NOT NULL, author TEXT NOT NULL, message TEXT) STRICT, WITHOUT ROWID;
CREATE TABLE changes (collection TEXT NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, time TEXT NOT NULL, author TEXT NOT NULL, message TEXT, deleted INTEGER NOT NULL, changes INTEGER NOT NULL, PRIMARY KEY (collection, key, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE schema_violations (collection TEXT NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, code TEXT NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (collection, key)) STRICT, WITHOUT ROWID;
INSERT INTO skald_head VALUES (1, 0, 3, 2);
INSERT INTO skald_secret VALUES (1, 'CANARY');
INSERT INTO commits VALUES (3, 'bafythree', 'main', '2026-01-01T00:00:00.000Z', 'me', NULL);
CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT NOT NULL, done INTEGER DEFAULT 0, price REAL, data BLOB) WITHOUT ROWID;
CREATE INDEX tasks_done ON tasks(done);
CREATE UNIQUE INDEX tasks_lower ON tasks(lower(title));
CREATE VIEW open_tasks AS SELECT id, upper(title) AS shout FROM tasks WHERE done = 0;
CREATE VIEW leak AS SELECT word FROM skald_secret;
CREATE VIRTUAL TABLE tasks_fts USING fts5(id UNINDEXED, title);
CREATE VIRTUAL TABLE places USING rtree(id, x0, x1);
`;
