import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import Database from "better-sqlite3";
import { blake3 } from "../../src/ids/hash.ts";
import { createSqliteLog, forgetClosed, openSqliteLog } from "../../src/store/sqlite-log.ts";
import { descriptorsIn } from "../support/harness-checks.ts";
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
    expect(descriptorsIn(left)).toEqual([]);
  });

  test("refuses writes before the disk is full, and keeps nothing of them", async () => {
    const folder = place();
    const storage = createSqliteLog(folder, "notes", { reserve: Number.MAX_SAFE_INTEGER });
    for (const _ of [1, 2])
      await expect(storage.append([{ seq: 1, body }])).rejects.toMatchObject({
        code: "STORAGE_FULL",
        details: { reserve_bytes: Number.MAX_SAFE_INTEGER },
      });
    expect([storage.last(), storage.page(1, 10)]).toEqual([0, []]);
    storage.close();
    const roomy = openSqliteLog(folder, "notes", { reserve: 0 });
    await roomy.append([{ seq: 1, body }]);
    expect(roomy.last()).toBe(1);
    roomy.close();
  });

  test("of which a write failed answers nothing else to any other, and reads on", async () => {
    const folder = place();
    const storage = createSqliteLog(folder, "notes");
    await storage.append([{ seq: 1, body }]);
    storage.close();
    // SQLite refuses this connection every write.
    const failing = openSqliteLog(folder, "notes", { readonly: true, reserve: 0 });
    const failed = { code: "STORAGE_FAILED" };
    await expect(failing.append([{ seq: 2, body }])).rejects.toMatchObject(failed);
    for (const seq of [2, 9]) await expect(failing.append([{ seq, body }])).rejects.toMatchObject(failed);
    await expect(failing.replace(5, 9, body)).rejects.toMatchObject(failed);
    expect(code(() => failing.tidy())).toBe("STORAGE_FAILED");
    expect([failing.last(), failing.read(1)]).toEqual([1, Buffer.from(body)]);
    failing.close();
    expect(descriptorsIn(folder)).toEqual([]);
  });

  test("whose folder was removed under it is let go without a word", async () => {
    const folder = place();
    const storage = createSqliteLog(folder, "notes");
    await storage.append([{ seq: 1, body }]);
    rmSync(folder, { recursive: true });
    storage.tidy();
    storage.close();
    expect(existsSync(folder)).toBe(false);
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

describe("a log beside the note of its closing", () => {
  const NOTE = "log.sqlite.closed";
  const bodyOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

  /** The log of `from` (a new one without it) after `work`, closed, in a folder of its own. */
  async function after(
    from: string | undefined,
    work: (storage: ReturnType<typeof openSqliteLog>) => Promise<void> | void,
  ): Promise<string> {
    const folder = place();
    if (from === undefined) createSqliteLog(folder, "notes").close();
    else cpSync(from, folder, { recursive: true });
    const storage = openSqliteLog(folder, "notes");
    await work(storage);
    storage.tidy();
    storage.close();
    return folder;
  }

  async function logs() {
    const empty = await after(undefined, () => {});
    const two = await after(empty, (storage) =>
      storage.append([1, 2].map((seq) => ({ seq, body: bodyOf(`${seq}`) }))),
    );
    const three = await after(two, (storage) => storage.append([{ seq: 3, body: bodyOf("3") }]));
    const five = await after(three, (storage) =>
      storage.append([4, 5].map((seq) => ({ seq, body: bodyOf(`${seq}`) }))),
    );
    return {
      empty,
      two,
      three,
      five,
      bundled: await after(five, (storage) => storage.replace(2, 5, bodyOf("2 to 5"))),
      packed: await after(three, (storage) => storage.replace(2, 3, bodyOf("2 and 3"))),
      other: await after(two, (storage) => storage.append([{ seq: 3, body: bodyOf("another") }])),
      further: await after(two, (storage) =>
        storage.append([3, 4].map((seq) => ({ seq, body: bodyOf(`another ${seq}`) }))),
      ),
    };
  }

  /** The log of one folder beside the note of another. */
  function combined(log: string, note: string): string {
    const folder = place();
    mkdirSync(folder);
    cpSync(path.join(log, "log.sqlite"), path.join(folder, "log.sqlite"));
    cpSync(path.join(note, NOTE), path.join(folder, NOTE));
    return folder;
  }

  test("is taken when it is that one or has gone on from there, and else refused", async () => {
    const all = await logs();
    const opens = (log: keyof typeof all, note: keyof typeof all): unknown => {
      const folder = combined(all[log], all[note]);
      try {
        const storage = openSqliteLog(folder, "notes");
        storage.close();
        return storage.last();
      } catch (error) {
        const { code: why, details } = error as { code: string; details: Record<string, unknown> };
        // What was refused is as it was found, and who only reads it is not stopped.
        expect(readFileSync(path.join(folder, NOTE))).toEqual(readFileSync(path.join(all[note], NOTE)));
        openSqliteLog(folder, "notes", { readonly: true }).close();
        expect(descriptorsIn(folder)).toEqual([]);
        return [why, details["log_seq"], details["known_seq"]];
      }
    };
    expect(opens("empty", "empty")).toBe(0);
    expect(opens("five", "empty")).toBe(5);
    expect(opens("three", "three")).toBe(3);
    expect(opens("five", "three")).toBe(5);
    expect(opens("bundled", "three")).toBe(5);
    expect(opens("bundled", "bundled")).toBe(5);
    expect(opens("two", "three")).toEqual(["DB_DAMAGED", 2, 3]);
    expect(opens("empty", "three")).toEqual(["DB_DAMAGED", 0, 3]);
    expect(opens("three", "five")).toEqual(["DB_DAMAGED", 3, 5]);
    expect(opens("other", "three")).toEqual(["DB_DAMAGED", 3, 3]);
    expect(opens("further", "three")).toEqual(["DB_DAMAGED", 4, 3]);
    // One that goes no further must have exactly that last record.
    expect(opens("packed", "three")).toEqual(["DB_DAMAGED", 3, 3]);
  });

  test("has none while it is written, and keeps it while it is only read", async () => {
    const { three } = await logs();
    const note = readFileSync(path.join(three, NOTE));
    const reader = openSqliteLog(three, "notes");
    reader.tidy();
    expect(reader.page(1, 9)).toHaveLength(3);
    reader.close();
    expect(readFileSync(path.join(three, NOTE))).toEqual(note);
    const writer = openSqliteLog(three, "notes");
    await writer.append([{ seq: 4, body }]);
    expect(existsSync(path.join(three, NOTE))).toBe(false);
    // Not everything is in the file, so nothing is said of it.
    writer.close();
    expect(existsSync(path.join(three, NOTE))).toBe(false);
    const tidied = openSqliteLog(three, "notes");
    tidied.tidy();
    tidied.close();
    expect(readFileSync(path.join(three, NOTE), "utf8")).toMatch(/^4 [0-9a-f]{32} [0-9a-f]{32}\n$/);
  });

  test("and beside a write-ahead log that it was closed without is refused, and nothing touched", async () => {
    const { three, five } = await logs();
    const crashed = openSqliteLog(five, "notes");
    await crashed.append([{ seq: 6, body }]);
    cpSync(path.join(five, "log.sqlite-wal"), path.join(three, "log.sqlite-wal"));
    crashed.close();
    const files = ["log.sqlite", "log.sqlite-wal", NOTE].map((name) => path.join(three, name));
    const before = files.map((file) => readFileSync(file));
    expect(code(() => openSqliteLog(three, "notes"))).toBe("DB_DAMAGED");
    expect(code(() => forgetClosed(three))).toBe("DB_DAMAGED");
    expect(files.map((file) => readFileSync(file))).toEqual(before);
    rmSync(path.join(three, "log.sqlite-wal"));
    forgetClosed(three);
    expect(existsSync(path.join(three, NOTE))).toBe(false);
    openSqliteLog(three, "notes").close();
  });
});
