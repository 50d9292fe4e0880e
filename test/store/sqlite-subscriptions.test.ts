import { copyFileSync, cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import Database from "better-sqlite3";
import type { StoredSubscription } from "../../src/store/contract.ts";
import {
  SUBSCRIPTIONS_FILE,
  inspectSubscriptions,
  openSqliteSubscriptions,
} from "../../src/store/sqlite-subscriptions.ts";
import { seedOf, seeded } from "../support/fault-process.ts";
import { tempDir } from "../support/temp-dir.ts";

const UID = new Uint8Array(16).fill(7);
const FLIPS = Number(process.env["SKALD_TEST_FLIPS"] ?? 150);

const row = (name: string, state = name, definition = "{}"): StoredSubscription => ({
  name,
  definition,
  state: Buffer.from(state),
});
const open = (dir: string, options = {}) => openSqliteSubscriptions(dir, UID, options);
const rowsOf = (dir: string): unknown[] => {
  const table = open(dir);
  const rows = [...(table?.stored.values() ?? [])].map(({ name, definition, state }) => [
    name,
    definition,
    Buffer.from(state).toString(),
  ]);
  table?.close();
  return rows;
};
const fileIn = (dir: string): string => path.join(dir, SUBSCRIPTIONS_FILE);

/** A closed file with three subscriptions. */
function made(): string {
  const dir = tempDir();
  const table = open(dir, { create: true });
  table?.write([row("a"), row("b", "x".repeat(9000)), row("c")], []);
  table?.close();
  return dir;
}

describe("the file of a db's subscriptions", () => {
  test("is made by the first one, and is not there before", () => {
    const dir = tempDir();
    expect(open(dir)).toBeUndefined();
    expect(existsSync(fileIn(dir))).toBe(false);
    const table = open(dir, { create: true });
    expect(table?.stored.size).toBe(0);
    table?.close();
    expect(rowsOf(dir)).toEqual([]);
  });

  test("gives back what was written, changed and removed", () => {
    const dir = tempDir();
    const table = open(dir, { create: true });
    table?.write([row("b"), row("a")], []);
    table?.write([row("b", "later", '{"n":1}'), row("c")], ["a"]);
    table?.write([row("d")], ["c", "nobody"]);
    expect([...(table?.stored.keys() ?? [])].sort()).toEqual(["b", "d"]);
    table?.close();
    expect(rowsOf(dir)).toEqual([
      ["b", '{"n":1}', "later"],
      ["d", "{}", "d"],
    ]);
  });

  test("has what was written also when its process ended without closing it, however long its write-ahead log", () => {
    const dir = tempDir();
    const table = open(dir, { create: true });
    for (let i = 0; i < 100; i += 1) table?.write([row("a", `${i}`.padEnd(90_000, "."))], []);
    const copy = tempDir();
    for (const suffix of ["", "-wal"]) copyFileSync(fileIn(dir) + suffix, fileIn(copy) + suffix);
    // It was moved into the file on the way, or it would be twice as long.
    expect(readFileSync(`${fileIn(copy)}-wal`).length).toBeLessThan(6 * 1024 * 1024);
    expect(rowsOf(copy)).toEqual([["a", "{}", "99".padEnd(90_000, ".")]]);
    table?.close();
  });

  test("is not begun by what a crash left of one that was being made", () => {
    const dir = tempDir();
    writeFileSync(`${fileIn(dir)}.new`, "half");
    expect(open(dir)).toBeUndefined();
    open(dir, { create: true })?.close();
    expect(rowsOf(dir)).toEqual([]);
  });
});

describe("is named as damaged and never taken for an empty one:", () => {
  const spoilt = (dir: string, spoil: (sqlite: Database.Database) => void): void => {
    const sqlite = new Database(fileIn(dir));
    spoil(sqlite);
    sqlite.close();
  };
  const sql =
    (text: string) =>
    (dir: string): void =>
      spoilt(dir, (sqlite) => sqlite.exec(text));

  test.each<[string, (dir: string) => void, string]>([
    ["a row that is gone", sql("DELETE FROM subscription WHERE name = 'b'"), "SUBSCRIPTIONS_DAMAGED"],
    ["all rows gone", sql("DELETE FROM subscription"), "SUBSCRIPTIONS_DAMAGED"],
    [
      "a row that changed",
      sql("UPDATE subscription SET state = x'00' WHERE name = 'a'"),
      "SUBSCRIPTIONS_DAMAGED",
    ],
    ["a head that changed", sql("UPDATE head SET count = 2"), "SUBSCRIPTIONS_DAMAGED"],
    ["a head that is gone", sql("DELETE FROM head"), "SUBSCRIPTIONS_DAMAGED"],
    ["another schema", sql("ALTER TABLE subscription ADD COLUMN more TEXT"), "SUBSCRIPTIONS_DAMAGED"],
    ["a file of a later version", sql("PRAGMA user_version = 99"), "DB_NEWER"],
    ["an empty file", (dir) => writeFileSync(fileIn(dir), ""), "SUBSCRIPTIONS_DAMAGED"],
    [
      "half a file",
      (dir) => writeFileSync(fileIn(dir), readFileSync(fileIn(dir)).subarray(0, 9000)),
      "SUBSCRIPTIONS_DAMAGED",
    ],
    ["no SQLite file", (dir) => writeFileSync(fileIn(dir), "hello".repeat(1000)), "SUBSCRIPTIONS_DAMAGED"],
    [
      "a file of another kind",
      (dir) => {
        rmSync(fileIn(dir));
        spoilt(dir, (sqlite) => sqlite.exec("CREATE TABLE t (a)"));
      },
      "SUBSCRIPTIONS_DAMAGED",
    ],
    [
      "one row from an older file",
      (dir) => {
        const older = readFileSync(fileIn(dir));
        const table = open(dir);
        table?.write([row("a", "later")], []);
        table?.close();
        const other = path.join(dir, "older.sqlite");
        writeFileSync(other, older);
        spoilt(dir, (sqlite) =>
          sqlite.exec(
            `ATTACH '${other}' AS older; REPLACE INTO subscription SELECT * FROM older.subscription WHERE name = 'a'`,
          ),
        );
      },
      "SUBSCRIPTIONS_DAMAGED",
    ],
  ])("%s", (_what, spoil, code) => {
    const dir = made();
    spoil(dir);
    expect(() => open(dir)).toThrow(expect.objectContaining({ code }) as Error);
    // Nor is it made anew by whoever asks for one.
    expect(() => open(dir, { create: true })).toThrow(expect.objectContaining({ code }) as Error);
    expect(inspectSubscriptions(dir, UID)).toHaveLength(1);
  });

  test("the file of another db", () => {
    const dir = made();
    expect(() => openSqliteSubscriptions(dir, new Uint8Array(16))).toThrow(
      expect.objectContaining({ code: "SUBSCRIPTIONS_DAMAGED" }) as Error,
    );
    expect(inspectSubscriptions(dir, UID)).toEqual([]);
  });

  test("a write-ahead log with a flipped bit before its end", () => {
    const dir = tempDir();
    const table = open(dir, { create: true });
    for (let i = 0; i < 5; i += 1) table?.write([row("a", `${i}`)], []);
    const copy = tempDir();
    for (const suffix of ["", "-wal"]) copyFileSync(fileIn(dir) + suffix, fileIn(copy) + suffix);
    table?.close();
    const wal = readFileSync(`${fileIn(copy)}-wal`);
    wal[5000] = (wal[5000] as number) ^ 1;
    writeFileSync(`${fileIn(copy)}-wal`, wal);
    expect(() => open(copy)).toThrow(expect.objectContaining({ code: "SUBSCRIPTIONS_DAMAGED" }) as Error);
  });
});

test("a bit that flipped anywhere in the file changes no subscription and hides none", () => {
  const dir = made();
  const sound = readFileSync(fileIn(dir));
  const rows = rowsOf(dir);
  const seed = seedOf();
  const random = seeded(seed);
  const hit = tempDir();
  let refused = 0;
  for (let flip = 0; flip < FLIPS; flip += 1) {
    rmSync(hit, { recursive: true, force: true });
    cpSync(dir, hit, { recursive: true });
    const bytes = Buffer.from(sound);
    const at = Math.floor(random() * bytes.length);
    bytes[at] = (bytes[at] as number) ^ (1 << Math.floor(random() * 8));
    writeFileSync(fileIn(hit), bytes);
    try {
      expect({ seed, flip, at, rows: rowsOf(hit) }).toEqual({ seed, flip, at, rows });
    } catch (error) {
      const code = String((error as { code?: unknown }).code);
      if (!/^(SUBSCRIPTIONS_DAMAGED|DB_NEWER)$/.test(code)) throw error;
      refused += 1;
    }
  }
  expect(refused).toBeGreaterThan(FLIPS / 20);
});
