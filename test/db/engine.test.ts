import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import Database from "better-sqlite3";
import { Engine, type EngineOptions } from "../../src/db/engine.ts";
import { sqliteFiles } from "../../src/db/files.ts";
import { SkaldError } from "../../src/errors.ts";
import { readOwner } from "../../src/store/dir-lock.ts";
import { DbTable } from "../../src/store/sqlite-registry.ts";
import { derivedOf } from "../support/derived.ts";
import { startWriter } from "../support/fault-process.ts";
import { tempDir } from "../support/temp-dir.ts";

const root = tempDir();
let count = 0;
const place = (): string => path.join(root, `data-${++count}`);
const open = (dir: string, options: Partial<EngineOptions> = {}): Engine =>
  new Engine({ dir, reserve: 0, documents: { workers: 1 }, ...options });

async function code(work: () => unknown): Promise<string> {
  try {
    await work();
    return "no error";
  } catch (error) {
    return String((error as { code?: unknown }).code);
  }
}

const put = (engine: Engine, dbId: string, doc: string, value: unknown) =>
  engine.use(dbId, (db) =>
    db.tx({ author: "ann", writes: [{ doc, edit: { kind: "put", value: JSON.stringify(value) } }] }),
  );
const json = (engine: Engine, dbId: string, doc: string) =>
  engine.use(dbId, async (db) => JSON.parse((await db.read(doc)).json) as unknown);

describe("a data directory", () => {
  test("belongs to one engine: another one here is refused and told whose it is", async () => {
    const dir = place();
    const engine = open(dir);
    expect(readOwner(dir)).toEqual({ pid: process.pid });
    const refused = await new Promise<{ code: string; message: string; details: unknown }>((resolve) => {
      try {
        open(dir);
      } catch (error) {
        resolve(error as { code: string; message: string; details: unknown });
      }
    });
    expect(refused.code).toBe("DIR_IN_USE");
    expect(refused.message).toContain(`process ${process.pid}`);
    expect(refused.details).toEqual({ dir, owner: { pid: process.pid } });
    await engine.close();
    expect(readOwner(dir)).toBeUndefined();
    await open(dir).close();
  });

  test("of another process is refused while that lives, and free the moment it is killed", async () => {
    const dir = place();
    const writer = startWriter({ dir, listen: true });
    await writer.heard((line) => line.ready === true);
    let message = "";
    try {
      open(dir);
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message).toContain(`process ${writer.pid}`);
    await writer.kill();
    const engine = open(dir);
    expect(engine.has("faults")).toBe(true);
    await engine.close();
  });

  test("that cannot be used is given back at once", async () => {
    const dir = place();
    mkdirSync(dir);
    writeFileSync(path.join(dir, "dbs"), "a file where a folder should be");
    expect(await code(() => open(dir))).toBe("STORAGE_FAILED");
    expect(readOwner(dir)).toBeUndefined();
    rmSync(path.join(dir, "dbs"));
    await open(dir).close();
  });

  test("whose lock file is no lock is refused with a name for it", async () => {
    const dir = place();
    mkdirSync(dir);
    writeFileSync(
      path.join(dir, "lock.sqlite"),
      "no database, but long enough to be taken for one".repeat(100),
    );
    expect(await code(() => open(dir))).toBe("DB_FOREIGN");
  });
});

describe("a registered db", () => {
  test("whose file is gone is missing, never a new empty one", async () => {
    const dir = place();
    const engine = open(dir);
    await engine.create("notes");
    await put(engine, "notes", "c/a", { n: 1 });
    await engine.close();
    const folder = path.join(dir, "dbs", "notes");
    rmSync(path.join(folder, "log.sqlite"));
    const again = open(dir);
    expect(await code(() => again.use("notes", () => 0))).toBe("DB_MISSING");
    rmSync(folder, { recursive: true });
    expect(await code(() => again.use("notes", () => 0))).toBe("DB_MISSING");
    expect(existsSync(folder)).toBe(false);
    expect(await again.create("notes")).toBe(false);
    await again.delete("notes");
    expect(again.has("notes")).toBe(false);
    await again.close();
  });

  test("under another's files is refused", async () => {
    const dir = place();
    const engine = open(dir);
    await engine.create("one");
    await engine.create("two");
    await engine.close();
    rmSync(path.join(dir, "dbs", "two"), { recursive: true });
    cpSync(path.join(dir, "dbs", "one"), path.join(dir, "dbs", "two"), { recursive: true });
    const again = open(dir);
    expect(await code(() => again.use("two", () => 0))).toBe("DB_FOREIGN");
    expect(await code(() => again.use("one", () => 0))).toBe("no error");
    await again.close();
  });

  test("is told apart by capitals, also where the file system does not", async () => {
    const engine = open(place());
    for (const dbId of ["notes", "Notes", "NOTES", ".notes"]) await engine.create(dbId);
    await put(engine, "Notes", "c/a", { n: 1 });
    expect(await code(() => json(engine, "notes", "c/a"))).toBe("DOC_NOT_FOUND");
    expect(engine.list("", 10)).toHaveLength(4);
    await engine.close();
  });
});

describe("making and deleting", () => {
  test("never touches a folder of no registered db", async () => {
    const dir = place();
    const engine = open(dir);
    await engine.create("notes");
    await put(engine, "notes", "c/a", { n: 1 });
    await engine.close();
    // As after a restore of an older service.sqlite: the db is there, and nobody knows it.
    const table = new DbTable(dir);
    table.remove("notes");
    table.close();
    const file = path.join(dir, "dbs", "notes", "log.sqlite");
    const before = readFileSync(file);
    const again = open(dir);
    expect(await code(() => again.create("notes"))).toBe("DB_EXISTS");
    await again.close();
    expect(readFileSync(file).equals(before)).toBe(true);
  });

  test("that a crash cut short is finished at the next start", async () => {
    const dir = place();
    const engine = open(dir);
    await engine.create("kept");
    await engine.create("half-deleted");
    await engine.close();
    const table = new DbTable(dir);
    const row = (dbId: string, state: "creating" | "deleting") => ({ dbId, folder: dbId, created: 1, state });
    table.put(row("half-deleted", "deleting"));
    rmSync(path.join(dir, "dbs", "half-deleted", "log.sqlite"));
    table.put(row("half-made", "creating"));
    table.put(row("not-begun", "creating"));
    table.close();
    mkdirSync(path.join(dir, "dbs", "half-made"));
    writeFileSync(path.join(dir, "dbs", "half-made", "log.sqlite"), "");
    const again = open(dir);
    expect(again.list("", 10).map(({ dbId }) => dbId)).toEqual(["kept"]);
    for (const dbId of ["half-deleted", "half-made"])
      expect(existsSync(path.join(dir, "dbs", dbId))).toBe(false);
    for (const dbId of ["half-deleted", "half-made", "not-begun"])
      expect(await again.create(dbId)).toBe(true);
    await again.close();
  });

  test("that the disk did not let through is finished when it is asked for again", async () => {
    const dir = place();
    const dbs = path.join(dir, "dbs");
    /** While this lasts no folder of a db can be removed. */
    const blocked = async (work: () => Promise<unknown>): Promise<string> => {
      const answer = await code(async () => {
        await work();
      });
      if (existsSync(`${dbs}-away`)) {
        rmSync(dbs);
        renameSync(`${dbs}-away`, dbs);
      }
      return answer;
    };
    const block = (): void => {
      renameSync(dbs, `${dbs}-away`);
      writeFileSync(dbs, "");
    };
    const told: unknown[] = [];
    let full = true;
    const engine = open(dir, {
      onError: (error) => told.push((error as { code?: unknown }).code),
      files: {
        ...sqliteFiles,
        createLog: (...args) => {
          const made = sqliteFiles.createLog(...args);
          if (!full) return made;
          made.close();
          block();
          throw new SkaldError("STORAGE_FULL", "The disk is full.");
        },
      },
    });
    expect(await blocked(() => engine.create("notes"))).toBe("STORAGE_FULL");
    expect([told, engine.has("notes"), readdirSync(dbs)]).toEqual([["STORAGE_FAILED"], false, ["notes"]]);
    full = false;
    expect(await engine.create("notes")).toBe(true);
    const once = await blocked(() => {
      block();
      return engine.delete("notes");
    });
    expect([once, engine.has("notes"), readdirSync(dbs)]).toEqual(["STORAGE_FAILED", false, ["notes"]]);
    expect(await code(() => engine.use("notes", () => 0))).toBe("DB_NOT_FOUND");
    await engine.delete("notes");
    expect(readdirSync(dbs)).toEqual([]);
    expect(await code(() => engine.delete("notes"))).toBe("DB_NOT_FOUND");
    await engine.create("notes");
    const both = await Promise.all([1, 2].map(() => code(() => engine.delete("notes"))));
    expect(both).toEqual(["no error", "DB_NOT_FOUND"]);
    await engine.close();
  });

  test("of one name at once end in one db, whole or gone", async () => {
    const engine = open(place());
    for (let round = 0; round < 5; round += 1) {
      const both = await Promise.all([engine.create("notes"), engine.create("notes")]);
      expect(both.filter(Boolean)).toHaveLength(1);
      await put(engine, "notes", "c/a", { round });
      const uid = await engine.use("notes", (db) => Buffer.from(db.log.identity.uid).toString("hex"));
      const [, made] = await Promise.all([
        engine.delete("notes"),
        engine.create("notes").catch(() => "refused"),
      ]);
      if (made === true) {
        expect(await engine.use("notes", (db) => Buffer.from(db.log.identity.uid).toString("hex"))).not.toBe(
          uid,
        );
        await engine.delete("notes");
      }
      expect(engine.has("notes")).toBe(false);
    }
    await engine.close();
  });

  test("waits for whoever is using the db", async () => {
    const engine = open(place());
    await engine.create("notes");
    const held = engine.hold("notes");
    const deleted = engine.delete("notes");
    expect(await code(() => engine.use("notes", () => 0))).toBe("DB_NOT_FOUND");
    const receipt = await held?.db.tx({
      author: "ann",
      writes: [{ doc: "c/a", edit: { kind: "put", value: "{}" } }],
    });
    expect(receipt?.seq).toBe(1);
    held?.release();
    held?.release();
    await deleted;
    expect(engine.stats()).toEqual({ known: 0, open: 0 });
    await engine.close();
  });
});

describe("open dbs", () => {
  test("are kept to a number: the least recently used idle ones make room, and come back as they were", async () => {
    const engine = open(place(), { openDbs: 2 });
    const ids = ["a", "b", "c", "d", "e"];
    for (const dbId of ids) await engine.create(dbId);
    for (const round of [1, 2, 3]) {
      await Promise.all(ids.map((dbId) => put(engine, dbId, "c/a", { round, dbId })));
      for (const dbId of ids) expect(await json(engine, dbId, "c/a")).toEqual({ round, dbId });
      expect(engine.stats().open).toBeLessThanOrEqual(2);
    }
    const held = engine.hold("a");
    await Promise.all(["b", "c", "d"].map((dbId) => json(engine, dbId, "c/a")));
    expect(held?.db.log.head().seq).toBe(3);
    expect(engine.stats().open).toBeLessThanOrEqual(3);
    held?.release();
    await engine.close();
  });

  test("survive being rebuilt several times at once while they are written", async () => {
    const engine = open(place());
    await engine.create("notes");
    await put(engine, "notes", "c/0", { n: 0 });
    const writes = Array.from({ length: 10 }, (_, n) => put(engine, "notes", `c/${n}`, { n }));
    await Promise.all([...writes, engine.rebuild("notes"), engine.rebuild("notes"), engine.rebuild("notes")]);
    for (let n = 0; n < 10; n += 1) expect(await json(engine, "notes", `c/${n}`)).toEqual({ n });
    await engine.close();
  });
});

describe("a derived file", () => {
  const spoilt: [string, (file: string) => void][] = [
    ["that is missing", (file) => rmSync(file)],
    ["that is no database", (file) => writeFileSync(file, "no database, and long enough".repeat(500))],
    ["that is empty", (file) => writeFileSync(file, "")],
    ["that was cut short", (file) => writeFileSync(file, readFileSync(file).subarray(0, 4096 * 3 + 100))],
    [
      "whose pages are zeros but the first",
      (file) => {
        const bytes = readFileSync(file);
        writeFileSync(file, bytes.fill(0, 4096));
      },
    ],
    ["of a newer Skald", (file) => meddle(file, "PRAGMA user_version = 99")],
    ["of another program", (file) => meddle(file, "PRAGMA application_id = 7")],
    ["without its head", (file) => meddle(file, "DELETE FROM head")],
    ["that is ahead of the log", (file) => meddle(file, "UPDATE head SET seq = 1000")],
  ];

  function meddle(file: string, sql: string): void {
    const sqlite = new Database(file);
    sqlite.exec(sql);
    sqlite.close();
  }

  test.each(
    ["catalog.sqlite", "views.sqlite"].flatMap((name) =>
      spoilt.map(([how, spoil]) => [name, how, spoil] as const),
    ),
  )("%s %s is made anew by itself", async (name, _, spoil) => {
    const dir = place();
    const first = open(dir);
    await first.create("notes");
    for (let n = 0; n < 12; n += 1) await put(first, "notes", `c/${n % 5}`, { n, pad: "x".repeat(3000) });
    const before = await derivedOf(first, "notes");
    await first.close();
    spoil(path.join(dir, "dbs", "notes", name));
    const told: unknown[] = [];
    const engine = open(dir, { onError: (error) => told.push((error as { code?: unknown }).code) });
    // Damage that opening does not see shows on first use: that answer may be an error, the next is none.
    for (let tries = 0; tries < 3; tries += 1) {
      await engine
        .use("notes", async (db) => {
          await db.projection.catchUp();
          for (let n = 0; n < 5; n += 1) db.log.state(`c/${n}`);
        })
        .catch((error: unknown) => {
          expect((error as { code?: unknown }).code).toMatch(/^D(B|ERIVED)_DAMAGED$/);
        });
    }
    expect(await json(engine, "notes", "c/1")).toEqual({ n: 11, pad: "x".repeat(3000) });
    expect((await put(engine, "notes", "c/1", { n: 12 })).seq).toBe(13);
    const after = await derivedOf(engine, "notes");
    expect(after.head).toBe(before.head + 1);
    await engine.rebuild("notes");
    expect(await derivedOf(engine, "notes")).toEqual(after);
    await engine.close();
    expect(told.filter((what) => what !== "DERIVED_DAMAGED" && what !== "DB_DAMAGED")).toEqual([]);
  });
});

test("a log that is older than its projection is refused, also where its catalog is gone", async () => {
  const dir = place();
  const engine = open(dir);
  await engine.create("notes");
  await put(engine, "notes", "c/a", { n: 1 });
  await engine.close();
  const folder = path.join(dir, "dbs", "notes");
  const older = path.join(place(), "notes");
  cpSync(folder, older, { recursive: true });
  const again = open(dir);
  await put(again, "notes", "c/a", { n: 2 });
  await again.use("notes", (db) => db.projection.catchUp());
  await again.close();
  for (const name of ["log.sqlite", "log.sqlite.closed"])
    cpSync(path.join(older, name), path.join(folder, name));
  for (const name of ["catalog.sqlite", "catalog.sqlite.seal"])
    rmSync(path.join(folder, name), { force: true });
  const third = open(dir);
  await expect(third.use("notes", () => 0)).rejects.toMatchObject({
    code: "DB_DAMAGED",
    message: expect.stringContaining("its projection"),
    details: { log_seq: 1, known_seq: 2 },
  });
  await third.rebuild("notes");
  expect(await json(third, "notes", "c/a")).toEqual({ n: 1 });
  await third.close();
});

describe("a principal", () => {
  test("cannot bring another's changes in beside an edit of its own", async () => {
    const A = await import("@automerge/automerge");
    const engine = open(place());
    await engine.create("notes");
    await engine.use("notes", async (db) => {
      const { bytes } = db.genesis("c/a");
      const [born] = A.applyChanges(A.init<Record<string, unknown>>({ actor: "aa".repeat(16) }), [bytes]);
      const one = A.change(born, (draft) => {
        draft["n"] = 1;
      });
      const first = A.getLastLocalChange(one) as Uint8Array;
      await db.tx({ author: "ann", writes: [{ doc: "c/a", changes: [first] }] });
      const two = A.change(one, (draft) => {
        draft["n"] = 2;
      });
      const changes = [A.getLastLocalChange(two) as Uint8Array];
      const edit = { kind: "put", value: "{}" } as const;
      const writes = [
        { doc: "c/a", changes },
        { doc: "c/b", edit },
      ];
      expect(await code(() => db.tx({ author: "bob", writes }))).toBe("CHANGE_ACTOR");
      expect(db.log.head().seq).toBe(1);
      expect((await db.tx({ author: "ann", writes })).seq).toBe(2);
      // The server's own actor writes for everyone, and is nobody's to use.
      await db.tx({ author: "bob", writes: [{ doc: "c/b", edit: { kind: "put", value: '{"b":1}' } }] });
      const [own] = db.log.changes("c/b", 2, 3);
      expect(
        await code(() => db.tx({ author: "bob", writes: [{ doc: "c/b", changes: [own as Uint8Array] }] })),
      ).toBe("CHANGE_ACTOR");
    });
    await engine.close();
  });
});
