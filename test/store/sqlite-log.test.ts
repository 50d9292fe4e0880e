import { cpSync, existsSync, mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import Database from "better-sqlite3";
import { blake3 } from "../../src/ids/hash.ts";
import { createSqliteLog, openSqliteLog } from "../../src/store/sqlite-log.ts";
import { tempDir } from "../support/temp-dir.ts";
import { acceptsAsLogStorage } from "./acceptance.ts";

const root = tempDir();
let count = 0;
const place = (): string => path.join(root, `db-${++count}`);
const body = new Uint8Array([1, 2, 3]);

acceptsAsLogStorage("SQLite", () => {
  const folder = place();
  return {
    create: () => createSqliteLog(folder, "notes"),
    open: (options = {}) => openSqliteLog(folder, "notes", options),
  };
});

function made(): string {
  const folder = place();
  createSqliteLog(folder, "notes").close();
  return folder;
}

function code(work: () => unknown): string {
  try {
    work();
    return "no error";
  } catch (error) {
    return String((error as { code?: unknown }).code);
  }
}

/** Changes a closed file by hand. */
function meddle(folder: string, work: (sqlite: Database.Database) => void): void {
  const sqlite = new Database(path.join(folder, "log.sqlite"));
  work(sqlite);
  sqlite.close();
}

describe("a log file", () => {
  test("waits for the disk on every commit, frees pages and checkpoints by itself alone", () => {
    const folder = made();
    meddle(folder, (sqlite) => {
      expect(sqlite.pragma("journal_mode", { simple: true })).toBe("wal");
      expect(sqlite.pragma("auto_vacuum", { simple: true })).toBe(2);
      expect(sqlite.pragma("application_id", { simple: true })).toBe(0x536b6c4c);
      expect(sqlite.pragma("user_version", { simple: true })).toBe(2);
    });
  });

  test("says who it is under a check of its own", () => {
    const folder = made();
    meddle(folder, (sqlite) => {
      const get = sqlite.prepare("SELECT value FROM identity WHERE name = ?").pluck();
      const parts = ["db_id", "uid", "actor", "created"].map((name) => get.get(name) as Buffer);
      expect(parts.map((part) => part.length).slice(0, 3)).toEqual([5, 16, 16]);
      const digest = blake3(Buffer.concat(parts.flatMap((part) => [Buffer.of(part.length), part])));
      expect(get.get("check")).toEqual(Buffer.from(digest.subarray(0, 8)));
    });
  });

  test("left by a crash with a wrong transaction before a whole one is damaged, and not touched", async () => {
    const folder = place();
    const storage = createSqliteLog(folder, "notes");
    for (const seq of [1, 2, 3]) await storage.append([{ seq, body: new Uint8Array(5000).fill(seq) }]);
    const left = place();
    cpSync(folder, left, { recursive: true });
    storage.close();
    const file = path.join(left, "log.sqlite-wal");
    const wal = readFileSync(file);
    const at = wal.indexOf(Buffer.alloc(100, 1));
    expect(at).toBeGreaterThan(0);
    wal[at] = 9;
    writeFileSync(file, wal);
    expect(code(() => openSqliteLog(left, "notes"))).toBe("DB_DAMAGED");
    expect(readFileSync(file)).toEqual(wal);
  });

  test("left by a crash is asked about before it is touched, and refused when others know of more", async () => {
    const folder = place();
    const storage = createSqliteLog(folder, "notes");
    await storage.append([1, 2, 3].map((seq) => ({ seq, body })));
    const left = place();
    cpSync(folder, left, { recursive: true });
    storage.close();
    const before = ["log.sqlite", "log.sqlite-wal"].map((name) => readFileSync(path.join(left, name)));
    expect(before[1]?.length).toBeGreaterThan(0);
    const asked: string[] = [];
    const known = (seq: number) => () => {
      asked.push(`${seq}`);
      return seq;
    };
    expect(code(() => openSqliteLog(left, "notes", { known: known(4) }))).toBe("DB_DAMAGED");
    expect(["log.sqlite", "log.sqlite-wal"].map((name) => readFileSync(path.join(left, name)))).toEqual(
      before,
    );
    const opened = openSqliteLog(left, "notes", { known: known(3) });
    expect([opened.last(), asked]).toEqual([3, ["4", "3"]]);
    // Everything was moved into the file, so the next opening has nothing to ask about.
    expect(statSync(path.join(left, "log.sqlite-wal"), { throwIfNoEntry: false })?.size ?? 0).toBe(0);
    opened.close();
    openSqliteLog(left, "notes", { known: known(99) }).close();
    expect(asked).toEqual(["4", "3"]);
  });

  test("is never made anew by opening it", () => {
    const folder = place();
    expect(code(() => openSqliteLog(folder, "notes"))).toBe("DB_MISSING");
    mkdirSync(folder);
    expect(code(() => openSqliteLog(folder, "notes"))).toBe("DB_MISSING");
    expect(existsSync(path.join(folder, "log.sqlite"))).toBe(false);
  });

  test("that exists is not made again", () => {
    const folder = made();
    expect(code(() => createSqliteLog(folder, "notes"))).toBe("DB_EXISTS");
    openSqliteLog(folder, "notes").close();
  });

  test("of no length is damaged, not new", () => {
    const folder = made();
    truncateSync(path.join(folder, "log.sqlite"), 0);
    expect(code(() => openSqliteLog(folder, "notes"))).toBe("DB_DAMAGED");
    expect(code(() => openSqliteLog(folder, "notes", { readonly: true }))).toBe("DB_DAMAGED");
  });

  test("cut short is damaged", async () => {
    const folder = place();
    const storage = createSqliteLog(folder, "notes");
    for (let seq = 1; seq <= 20; seq += 1) await storage.append([{ seq, body: new Uint8Array(3000) }]);
    storage.close();
    truncateSync(path.join(folder, "log.sqlite"), 5 * 4096);
    expect(code(() => openSqliteLog(folder, "notes").page(1, 100))).toBe("DB_DAMAGED");
  });

  test("of a newer Skald, of another program, of another kind and of another db is told apart and left alone", () => {
    const newer = made();
    meddle(newer, (sqlite) => sqlite.pragma("user_version = 3"));
    expect(code(() => openSqliteLog(newer, "notes"))).toBe("DB_NEWER");

    const foreign = place();
    mkdirSync(foreign);
    meddle(foreign, (sqlite) => sqlite.exec("CREATE TABLE theirs (x)"));
    expect(code(() => openSqliteLog(foreign, "notes"))).toBe("DB_FOREIGN");
    expect(code(() => createSqliteLog(foreign, "notes"))).toBe("DB_FOREIGN");
    meddle(foreign, (sqlite) => {
      expect(sqlite.prepare("SELECT name FROM sqlite_schema").pluck().all()).toEqual(["theirs"]);
    });

    const kind = made();
    meddle(kind, (sqlite) => sqlite.pragma(`application_id = ${0x536b6c43}`));
    expect(code(() => openSqliteLog(kind, "notes"))).toBe("DB_FOREIGN");

    const text = place();
    mkdirSync(text);
    writeFileSync(path.join(text, "log.sqlite"), "a text that is no database. ".repeat(500));
    expect(code(() => openSqliteLog(text, "notes"))).toBe("DB_FOREIGN");

    const other = made();
    expect(code(() => openSqliteLog(other, "else"))).toBe("DB_FOREIGN");
    openSqliteLog(other, "notes").close();
  });

  test("without a part of its identity is damaged", () => {
    const folder = made();
    meddle(folder, (sqlite) => sqlite.exec("DELETE FROM identity WHERE name = 'uid'"));
    expect(code(() => openSqliteLog(folder, "notes"))).toBe("DB_DAMAGED");
  });

  test("without its table is damaged", () => {
    const folder = made();
    meddle(folder, (sqlite) => sqlite.exec("DROP TABLE record"));
    expect(code(() => openSqliteLog(folder, "notes"))).toBe("DB_DAMAGED");
  });

  test("whose records overlap or leave a gap says so when it is inspected", async () => {
    const folder = place();
    const storage = createSqliteLog(folder, "notes");
    for (let seq = 1; seq <= 5; seq += 1) await storage.append([{ seq, body }]);
    storage.close();
    meddle(folder, (sqlite) => sqlite.exec("UPDATE record SET first = 2 WHERE seq = 3"));
    const again = openSqliteLog(folder, "notes");
    expect(again.inspect()).toEqual([expect.stringContaining("record 3")]);
    again.close();
  });

  test("tidies although somebody reads it, without waiting for him", async () => {
    const folder = place();
    const storage = createSqliteLog(folder, "notes");
    await storage.append([{ seq: 1, body }]);
    const reader = new Database(path.join(folder, "log.sqlite"), { readonly: true });
    const rows = reader.prepare("SELECT seq FROM record").iterate();
    rows.next();
    await storage.append([{ seq: 2, body }]);
    const began = process.hrtime.bigint();
    storage.tidy();
    // The busy timeout of five seconds is what it must not wait for; anything below it will do.
    expect(Number(process.hrtime.bigint() - began) / 1e9).toBeLessThan(4);
    await storage.append([{ seq: 3, body }]);
    rows.return?.();
    reader.close();
    storage.tidy();
    expect(storage.page(1, 10)).toHaveLength(3);
    storage.close();
  });

  test("moves its write-ahead log into place once that has grown past its bound", async () => {
    const folder = place();
    const storage = createSqliteLog(folder, "notes", { walBytes: 100_000 });
    let largest = 0;
    for (let seq = 1; seq <= 300; seq += 1) {
      await storage.append([{ seq, body: new Uint8Array(4000) }]);
      largest = Math.max(largest, storage.bytes());
    }
    expect(largest).toBeLessThan(300 * 4000 * 2 + 1_000_000);
    storage.close();
    expect(existsSync(path.join(folder, "log.sqlite-wal"))).toBe(false);
  });
});
