import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import Database from "better-sqlite3";
import { Engine, type EngineOptions } from "../../src/db/engine.ts";
import { scrubDb } from "../../src/db/scrub-check.ts";
import { Scrub } from "../../src/db/scrub.ts";
import { realWorld, type World } from "../../src/world.ts";
import { sqliteFiles, type DbFiles } from "../../src/db/files.ts";
import { dropSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { openSqliteLog } from "../../src/store/sqlite-log.ts";
import { dropViews } from "../../src/store/sqlite-views.ts";
import { documentSum, type RawRow } from "../../src/store/views-rows.ts";
import { seedOf, seeded } from "../support/fault-process.ts";
import { findingsIn } from "../support/ledger.ts";
import { Image, apply, crashCopy, flip, spoil, type Damage } from "../support/rot.ts";
import { ask, questionsOf, type Question } from "../support/rot-answers.ts";
import { tempDir } from "../support/temp-dir.ts";

const root = tempDir();
const FLIPS = Number(process.env["SKALD_TEST_FLIPS"] ?? 30);
const dir = path.join(root, "data");
const folder = path.join(dir, "dbs", "rot");
const open = (options: Partial<EngineOptions> = {}): Engine => {
  const engine = new Engine({ dir, reserve: 0, documents: { workers: 1 }, onError: () => {}, ...options });
  opened.add(engine);
  const close = engine.close.bind(engine);
  engine.close = () => {
    opened.delete(engine);
    return close();
  };
  return engine;
};

// An engine that a failed test left open would fail all others.
const opened = new Set<Engine>();
afterEach(async () => {
  for (const engine of opened) await engine.close().catch(() => {});
  opened.clear();
});

let closed: Image;
let crashed: Image;
/** The write-ahead log as it was before the last moving in. */
let staleWal: Buffer;
let otherWal: Buffer;
let olderLog: Buffer;
let questions: Question[];
let expected: string[];

const put = (engine: Engine, db: string, author: string, id: string, doc: string, value: unknown) =>
  engine.use(db, (held) =>
    held.tx({
      author,
      clientTxId: id,
      writes: [{ doc, edit: { kind: "put", value: JSON.stringify(value) } }],
    }),
  );

beforeAll(async () => {
  const engine = open();
  await engine.create("rot");
  await engine.create("other");
  const receipts: [string, string, string][] = [];
  const write = async (n: number): Promise<void> => {
    const author = n % 3 === 0 ? "ann" : "bob";
    const doc = `notes/${String(n % 16).padStart(3, "0")}`;
    const pad = n % 29 === 0 ? "y".repeat(9000) : "x".repeat((n * 37) % 400);
    await put(engine, "rot", author, `tx-${n}`, doc, { n, pad });
    receipts.push([author, `tx-${n}`, doc]);
  };
  for (let n = 0; n < 80; n += 1) await write(n);
  await engine.use("rot", async (db) => {
    await db.tx({ author: "ann", writes: [{ doc: "notes/007", delete: true }] });
    await put(engine, "rot", "ann", "large", "notes/large", { text: "not much to say ".repeat(4000) });
    const { bytes, seq } = await db.save("notes/001");
    db.views.putSaved("notes/001", seq, bytes);
    await db.projection.catchUp();
    db.log.tidy();
  });
  olderLog = readFileSync(path.join(folder, "log.sqlite"));
  for (let n = 80; n < 95; n += 1) await write(n);
  staleWal = readFileSync(path.join(folder, "log.sqlite-wal"));
  for (let n = 0; n < 5; n += 1) await put(engine, "other", "eve", `o-${n}`, `notes/${n}`, { n });
  otherWal = readFileSync(path.join(dir, "dbs", "other", "log.sqlite-wal"));
  await engine.use("rot", async (db) => {
    db.log.tidy();
  });
  for (let n = 95; n < 107; n += 1) await write(n);
  await engine.use("rot", async (db) => {
    await db.projection.catchUp();
    db.log.counts();
    questions = questionsOf(db, receipts);
    expected = [];
    for (const { ask: one } of questions) expected.push(JSON.stringify(one(db)));
  });
  const copy = path.join(root, "crashed");
  crashCopy(folder, copy);
  await engine.close();
  crashed = new Image(copy);
  closed = new Image(folder);
}, 120_000);

/** What came of one damage, to the log or to what is derived. */
async function outcome(
  log: boolean,
  options: Partial<EngineOptions> = {},
): Promise<{ wrong: string[]; refused: string[]; found: string[] }> {
  const engine = open(options);
  const asked = await ask(engine, "rot", questions, expected).finally(() => engine.close().catch(() => {}));
  // Every commit is among the questions, so what verify could find shows in an answer too.
  return { ...asked, found: log && asked.refused.length > 0 ? verified() : [] };
}

function verified(): string[] {
  try {
    const storage = openSqliteLog(folder, "rot", { readonly: true });
    try {
      const found = findingsIn(storage).map(({ what, where }) => `${what}: ${where}`);
      if (storage.last() !== 109) found.push(`it ends at ${storage.last()}`);
      return found;
    } finally {
      storage.close();
    }
  } catch (error) {
    return [String((error as { code?: unknown }).code)];
  }
}

/** Damages an image and judges what is answered. Gives a complaint, or the outcome's name. */
async function judge(image: Image, damage: Damage): Promise<{ complaint?: string; outcome: string }> {
  image.restore(folder);
  apply(folder, damage);
  const log = damage.file.startsWith("log.sqlite");
  const { wrong, refused, found } = await outcome(log);
  if (wrong.length > 0) return { complaint: `answered wrong: ${wrong[0]}`, outcome: "wrong" };
  if (log && found.length === 0 && refused.length > 0 && !refused.every((code) => code === "DB_DAMAGED"))
    return { complaint: `refused with ${refused[0]} and not found`, outcome: "wrong" };
  if (!log && refused.length > 0) {
    // Derived damage may cost an answer or two until what is derived is made anew, never more.
    const again = await outcome(log);
    if (again.wrong.length > 0 || again.refused.length > 0)
      return { complaint: `not healed: ${again.wrong[0] ?? again.refused[0]}`, outcome: "wrong" };
    return { outcome: "healed" };
  }
  if (refused.length > 0) return { outcome: "refused" };
  return { outcome: found.length > 0 ? "found" : "right" };
}

async function run(count: number, image: Image, seed: number, make: (random: () => number) => Damage) {
  const random = seeded(seed);
  const tally = new Map<string, Record<string, number>>();
  const complaints: string[] = [];
  for (let i = 0; i < count; i += 1) {
    const damage = make(random);
    const { complaint, outcome: came } = await judge(image, damage);
    const row = tally.get(damage.kind) ?? {};
    row[came] = (row[came] ?? 0) + 1;
    tally.set(damage.kind, row);
    if (complaint !== undefined)
      complaints.push(`seed ${seed}, no. ${i}, ${damage.kind}, ${damage.what}: ${complaint}`);
    if (complaints.length >= 8) break;
  }
  if (process.env["SKALD_TEST_FLIPS"]) {
    for (const [kind, row] of [...tally].toSorted(([a], [b]) => (a < b ? -1 : 1)))
      process.stderr.write(`${kind}: ${JSON.stringify(row)}\n`);
  }
  return complaints;
}

/** Half of the flips over all bytes alike, half over the kinds alike: rare kinds are the dangerous ones. */
function flips(image: Image): (random: () => number) => Damage {
  const scratch = path.join(root, "scratch");
  mkdirSync(scratch, { recursive: true });
  const places = image.places(scratch);
  const kinds = [...new Set(places.map(({ kind }) => kind))].map((kind) =>
    places.filter((place) => place.kind === kind),
  );
  const total = places.reduce((sum, { from, to }) => sum + to - from, 0);
  return (random) => {
    if (random() < 0.5) {
      const some = kinds[Math.floor(random() * kinds.length)] as typeof places;
      return flip(image, some[Math.floor(random() * some.length)] as (typeof places)[number], random);
    }
    let at = random() * total;
    for (const place of places) {
      at -= place.to - place.from;
      if (at < 0) return flip(image, place, random);
    }
    return flip(image, places[0] as (typeof places)[number], random);
  };
}

describe("no wrong answer is served", () => {
  const seed = seedOf();
  test("after a bit of a closed db flipped", async () => {
    expect(await run(Math.floor(FLIPS * 0.5), closed, seed, flips(closed))).toEqual([]);
  }, 600_000);

  test("after a bit of a db that a crash left flipped", async () => {
    expect(await run(Math.floor(FLIPS * 0.4), crashed, seed + 1, flips(crashed))).toEqual([]);
  }, 600_000);

  test.each([
    ["closed", () => closed],
    ["left by a crash", () => crashed],
  ])(
    "after pages of a db %s were zeroed or swapped, or a file was cut",
    async (_, image) => {
      const files = [...image().files].filter(([, bytes]) => bytes.length > 897).map(([name]) => name);
      const make = (random: () => number): Damage =>
        spoil(image(), files[Math.floor(random() * files.length)] as string, random);
      expect(await run(Math.floor(FLIPS * 0.05), image(), seed + 2, make)).toEqual([]);
    },
    600_000,
  );

  test("of documents as Automerge reads them, for some of the damage", async () => {
    const values = async (): Promise<string[]> => {
      const engine = open();
      try {
        return await engine.use("rot", async (db) => {
          const read = [];
          for (let n = 0; n < 16; n += 3) {
            const { json } = await db.read(`notes/${String(n).padStart(3, "0")}`);
            read.push(json);
          }
          const { bytes } = await db.save("notes/001");
          return [...read, String(bytes.length)];
        });
      } finally {
        await engine.close();
      }
    };
    closed.restore(folder);
    const sound = await values();
    const random = seeded(seed + 3);
    const make = flips(crashed);
    for (let i = 0; i < 8; i += 1) {
      const damage = make(random);
      crashed.restore(folder);
      apply(folder, damage);
      const read = await values().catch((error: unknown) => String((error as { code?: unknown }).code));
      if (typeof read === "string") expect(read).toMatch(/^D(B|ERIVED)_DAMAGED$|^DB_FOREIGN$/);
      else expect([damage.what, ...read]).toEqual([damage.what, ...sound]);
    }
  }, 120_000);
});

describe("a log that is not the one that was left", () => {
  const log = () => path.join(folder, "log.sqlite");
  const wal = () => path.join(folder, "log.sqlite-wal");
  const files = () => new Image(folder).files;

  const cases: [string, () => Image, () => void, RegExp][] = [
    [
      "an older one, closed",
      () => closed,
      () => writeFileSync(log(), olderLog),
      /ends at commit 82, .* knows of commit 109/,
    ],
    [
      "an older one, and nothing derived to tell",
      () => closed,
      () => {
        writeFileSync(log(), olderLog);
        dropSqliteCatalog(folder);
        dropViews(folder);
      },
      /ends at commit 82, .* knows of commit 109/,
    ],
    [
      "one without its write-ahead log after a crash",
      () => crashed,
      () => rmSync(wal()),
      /ends at commit 97, .* knows of commit 109/,
    ],
    [
      "one with an older write-ahead log after a crash",
      () => crashed,
      () => writeFileSync(wal(), staleWal),
      /ends at commit|damaged/,
    ],
    [
      "one with another db's write-ahead log after a crash",
      () => crashed,
      () => writeFileSync(wal(), otherWal),
      /other|ends at commit|damaged/,
    ],
    [
      "a newer one with an older write-ahead log",
      () => closed,
      () => writeFileSync(wal(), staleWal),
      /closed without one/,
    ],
    [
      "a newer one with another db's write-ahead log",
      () => closed,
      () => writeFileSync(wal(), otherWal),
      /closed without one/,
    ],
  ];
  test.each(cases)(
    "is refused with both ends named, and left as it is: %s",
    async (_, image, spoilIt, says) => {
      image().restore(folder);
      spoilIt();
      const before = files();
      const engine = open();
      const refused = await engine
        .use("rot", () => "opened")
        .catch((error: unknown) => error as Error & { code: string });
      await engine.close();
      expect(refused).toMatchObject({
        code: expect.stringMatching(/^DB_(DAMAGED|FOREIGN)$/),
        message: expect.stringMatching(says),
      });
      for (const [name, bytes] of files()) {
        if (name.startsWith("log.sqlite"))
          expect([name, before.get(name)?.equals(bytes) ?? bytes.length === 0]).toEqual([name, true]);
      }
    },
  );

  test("is taken as it is by a rebuild, when that is meant", async () => {
    closed.restore(folder);
    writeFileSync(log(), olderLog);
    const engine = open();
    await expect(engine.use("rot", () => 0)).rejects.toMatchObject({
      details: { log_seq: 82, known_seq: 109 },
    });
    await engine.rebuild("rot");
    expect(await engine.use("rot", (db) => db.log.head().seq)).toBe(82);
    expect((await put(engine, "rot", "ann", "again", "notes/000", { back: true })).seq).toBe(83);
    await engine.close();
    const again = open();
    expect(await again.use("rot", (db) => db.log.head().seq)).toBe(83);
    await again.close();
  });
});

describe("a commit whose record is damaged", () => {
  test("is named by verify and to whoever asks for it, and the others are served", async () => {
    closed.restore(folder);
    const bytes = Buffer.from(closed.bytes("log.sqlite"));
    const at = bytes.indexOf("y".repeat(600)) + 300;
    bytes[at] = (bytes[at] as number) ^ 1;
    apply(folder, { kind: "", what: "", file: "log.sqlite", bytes });
    const [finding] = verified();
    const seq = Number(/^record: commit (\d+):/.exec(finding as string)?.[1]);
    expect(seq).toBeGreaterThan(0);
    const engine = open();
    await engine.use("rot", async (db) => {
      expect(() => db.log.commit(seq)).toThrow(
        expect.objectContaining({ code: "DB_DAMAGED", details: expect.objectContaining({ seq }) }),
      );
      expect(db.log.commit(seq + 1)?.commit.seq).toBe(seq + 1);
      expect(JSON.parse((await db.read("notes/005")).json)).toMatchObject({ n: expect.any(Number) });
    });
    expect((await put(engine, "rot", "ann", "after", "notes/005", { n: 0 })).seq).toBe(110);
    await engine.close();
  });
});

describe("damage under an open db", () => {
  /** Another connection changes a row that the engine has not read yet, as rot does between two reads. */
  const meddle = (file: string, sql: string): void => {
    const sqlite = new Database(path.join(folder, file));
    expect(sqlite.prepare(sql).run().changes).toBe(1);
    sqlite.close();
  };
  const doc = "notes/003";
  const cases: [string, string, string, (engine: Engine) => Promise<unknown>][] = [
    [
      "a document's state",
      "catalog.sqlite",
      `UPDATE doc SET last = last - 1 WHERE name = '${doc}'`,
      (e) => e.use("rot", (db) => db.log.state(doc)?.last),
    ],
    [
      "a document that is hidden, and would begin anew",
      "catalog.sqlite",
      `DELETE FROM doc WHERE name = '${doc}'`,
      (e) => put(e, "rot", "ann", "new", doc, { n: "new" }).then(({ heads }) => heads[doc]?.length),
    ],
    [
      "a receipt that is hidden, and would be written twice",
      "catalog.sqlite",
      "DELETE FROM receipt WHERE client_tx_id = 'tx-3'",
      (e) => put(e, "rot", "ann", "tx-3", doc, { n: "twice" }).then(({ seq, duplicate }) => [seq, duplicate]),
    ],
    [
      "a receipt of another commit",
      "catalog.sqlite",
      "UPDATE receipt SET seq = 9 WHERE client_tx_id = 'tx-3'",
      (e) => put(e, "rot", "ann", "tx-3", doc, { n: "twice" }).then(({ seq, duplicate }) => [seq, duplicate]),
    ],
    [
      "a commit left out of a history",
      "catalog.sqlite",
      `DELETE FROM touch WHERE seq = 20 AND doc = (SELECT id FROM doc WHERE name = '${doc}')`,
      (e) => e.use("rot", (db) => [db.log.history(doc, 109, 100), db.log.changes(doc, 0, 109).length]),
    ],
    [
      "a value",
      "views.sqlite",
      `UPDATE document SET json = '{"n":0}' WHERE name = '${doc}'`,
      (e) => e.use("rot", async (db) => (await db.read(doc)).json),
    ],
    [
      "a saved form",
      "views.sqlite",
      "UPDATE saved SET bytes = x'00' WHERE name = 'notes/001'",
      (e) => e.use("rot", async (db) => (await db.save("notes/001")).bytes.length),
    ],
  ];
  test.each(cases)("of %s is never served: it is made anew", async (_, file, sql, asks) => {
    closed.restore(folder);
    const sound = open();
    const right = await asks(sound);
    await sound.close();
    closed.restore(folder);
    const engine = open();
    await engine.use("rot", () => 0);
    meddle(file, sql);
    const first = await asks(engine).catch((error: unknown) => error as { code: string });
    if (typeof first === "object" && first !== null && "code" in first) {
      expect(first.code).toBe("DERIVED_DAMAGED");
      expect(await asks(engine)).toEqual(right);
    } else expect(first).toEqual(right);
    await engine.rebuild("rot");
    const storage = openSqliteLog(folder, "rot", { readonly: true });
    expect(findingsIn(storage)).toEqual([]);
    storage.close();
    await engine.close();
  });

  test("is found by the scrub where nobody reads", async () => {
    closed.restore(folder);
    const told: string[] = [];
    const engine = open({ onError: (error) => told.push(String((error as { code?: unknown }).code)) });
    await engine.use("rot", () => 0);
    meddle(
      "catalog.sqlite",
      "DELETE FROM address WHERE seq = 50 AND prefix = (SELECT min(prefix) FROM address WHERE seq = 50)",
    );
    const scrubbed = async (): Promise<{ found: unknown[]; status: ReturnType<Scrub["status"]> }> => {
      const found: unknown[] = [];
      const turns: (() => void)[] = [];
      let clock = 0;
      const world: World = {
        ...realWorld,
        monotonic: () => clock,
        timer: (ms, work) => (turns.push(() => ((clock += ms), work())), () => {}),
      };
      const scrub = new Scrub({ engine, days: 7, onFinding: (error) => found.push(error), world });
      scrub.start();
      while (scrub.status().lastPass === undefined) {
        turns.shift()?.();
        // The documents are read by threads, which take time of their own.
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      const status = scrub.status();
      await scrub.stop();
      return { found, status };
    };
    const first = await scrubbed();
    expect(first.found).toEqual([expect.objectContaining({ code: "DERIVED_DAMAGED" })]);
    expect(first.status).toMatchObject({ findings: 1, progress: 1 });
    const second = await scrubbed();
    expect(second.found).toEqual([]);
    expect(second.status.commits).toBe(109 + 5);
    await engine.close();
    // The log itself, in a commit that is not the newest.
    const bytes = Buffer.from(closed.bytes("log.sqlite"));
    const at = bytes.indexOf("y".repeat(600)) + 300;
    bytes[at] = (bytes[at] as number) ^ 1;
    closed.restore(folder);
    apply(folder, { kind: "", what: "", file: "log.sqlite", bytes });
    const again = open();
    const scrub = new Scrub({
      engine: again,
      days: 7,
      onFinding: (error) => told.push((error as Error).message),
    });
    for await (const step of scrubDb(again, "other")) expect(step.of).toBe(5);
    const walk = scrubDb(again, "rot");
    let last = await walk.next();
    while (last.done !== true) last = await walk.next();
    expect(last.value).toContainEqual({ what: "record", where: expect.stringMatching(/^commit \d+:/) });
    expect(scrub.status()).toEqual({ progress: 0, commits: 0, findings: 0, lastPass: undefined });
    await again.close();
  }, 120_000);
});

describe("the net", () => {
  /** A build that takes rows as they come: what a row says of itself is made to fit before it is read. */
  const believing: DbFiles = {
    ...sqliteFiles,
    openViews: (place) => {
      const file = path.join(place, "views.sqlite");
      rmSync(`${file}.seal`, { force: true });
      const sqlite = new Database(file);
      const fit = sqlite.prepare("UPDATE document SET sum = ? WHERE name = ?");
      for (const row of sqlite.prepare("SELECT * FROM document").all() as RawRow[])
        fit.run(documentSum(row), row.name);
      sqlite.close();
      return sqliteFiles.openViews(place);
    },
  };
  /** A build that leaves a write-ahead log to SQLite, and drops what is derived when that is ahead. */
  const trusting: DbFiles = {
    ...sqliteFiles,
    openLog: (place, dbId, options) => {
      new Database(path.join(place, "log.sqlite")).exec("PRAGMA wal_checkpoint(TRUNCATE)").close();
      dropSqliteCatalog(place);
      dropViews(place);
      return sqliteFiles.openLog(place, dbId, options);
    },
  };

  test("sees a build that has no second tree of names: a document begins anew, a transaction is written twice", async () => {
    closed.restore(folder);
    const engine = open();
    await engine.use("rot", () => 0);
    const sqlite = new Database(path.join(folder, "catalog.sqlite"));
    sqlite.prepare("DELETE FROM witness").run();
    sqlite.prepare("DELETE FROM doc WHERE name = 'notes/003'").run();
    sqlite.prepare("DELETE FROM receipt WHERE client_tx_id = 'tx-4'").run();
    sqlite.close();
    expect(await put(engine, "rot", "bob", "tx-4", "notes/004", { n: "twice" })).toMatchObject({
      duplicate: false,
    });
    await put(engine, "rot", "ann", "new", "notes/003", { n: "anew" });
    await engine.close().catch(() => {});
    expect(verified()).toContainEqual(expect.stringMatching(/^base: notes\/003 in commit 111/));
  });

  test("sees a build that does not check its rows", async () => {
    closed.restore(folder);
    const bytes = Buffer.from(closed.bytes("views.sqlite"));
    const at = bytes.indexOf('"pad":"xxxxxxxx') + 10;
    bytes[at] = (bytes[at] as number) ^ 1;
    apply(folder, { kind: "", what: "", file: "views.sqlite", bytes });
    expect((await outcome(false)).wrong).toEqual([]);
    apply(folder, { kind: "", what: "", file: "views.sqlite", bytes });
    expect((await outcome(false, { files: believing })).wrong).toEqual([
      expect.stringMatching(/^value of notes/),
    ]);
  });

  test("sees a build that lets SQLite end a write-ahead log where a frame is damaged", async () => {
    crashed.restore(folder);
    const bytes = Buffer.from(crashed.bytes("log.sqlite-wal"));
    const at = 32 + 24 + 4000;
    bytes[at] = (bytes[at] as number) ^ 1;
    const damage = { kind: "", what: "", file: "log.sqlite-wal", bytes };
    apply(folder, damage);
    const sound = await outcome(true);
    expect(sound).toMatchObject({ wrong: [], refused: ["DB_DAMAGED"] });
    crashed.restore(folder);
    apply(folder, damage);
    expect((await outcome(false, { files: trusting })).wrong.length).toBeGreaterThan(0);
  });
});
