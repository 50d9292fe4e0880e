import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import Database from "better-sqlite3";
import { Engine, type EngineOptions } from "../../src/db/engine.ts";
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
const FLIPS = Number(process.env["SKALD_TEST_FLIPS"] ?? 2000);
const dir = path.join(root, "data");
const folder = path.join(dir, "dbs", "rot");
const open = (options: Partial<EngineOptions> = {}): Engine =>
  new Engine({ dir, reserve: 0, documents: { workers: 1 }, onError: () => {}, ...options });

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
    const doc = `notes/${String(n % 40).padStart(3, "0")}`;
    const pad = n % 29 === 0 ? "y".repeat(9000) : "x".repeat((n * 37) % 400);
    await put(engine, "rot", author, `tx-${n}`, doc, { n, pad });
    receipts.push([author, `tx-${n}`, doc]);
  };
  for (let n = 0; n < 160; n += 1) await write(n);
  await engine.use("rot", async (db) => {
    await db.tx({ author: "ann", writes: [{ doc: "notes/007", delete: true }] });
    await put(engine, "rot", "ann", "large", "notes/large", { text: "not much to say ".repeat(4000) });
    const { bytes, seq } = await db.save("notes/001");
    db.views.putSaved("notes/001", seq, bytes);
    await db.projection.catchUp();
    db.log.tidy();
  });
  olderLog = readFileSync(path.join(folder, "log.sqlite"));
  for (let n = 160; n < 190; n += 1) await write(n);
  staleWal = readFileSync(path.join(folder, "log.sqlite-wal"));
  for (let n = 0; n < 5; n += 1) await put(engine, "other", "eve", `o-${n}`, `notes/${n}`, { n });
  otherWal = readFileSync(path.join(dir, "dbs", "other", "log.sqlite-wal"));
  await engine.use("rot", async (db) => {
    db.log.tidy();
  });
  for (let n = 190; n < 210; n += 1) await write(n);
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

/** What came of one damage; throws nothing. */
async function outcome(
  options: Partial<EngineOptions> = {},
): Promise<{ wrong: string[]; refused: string[]; found: string[] }> {
  // What damages the log must be named: looked at before anything else touches the files.
  let found: string[];
  try {
    const storage = openSqliteLog(folder, "rot", { readonly: true });
    try {
      found = findingsIn(storage).map(({ what, where }) => `${what}: ${where}`);
      if (storage.last() !== 212) found.push(`it ends at ${storage.last()}`);
    } finally {
      storage.close();
    }
  } catch (error) {
    found = [String((error as { code?: unknown }).code)];
  }
  const engine = open(options);
  try {
    return { ...(await ask(engine, "rot", questions, expected)), found };
  } finally {
    await engine.close().catch(() => {});
  }
}

/** Damages an image and judges what is answered. Gives a complaint, or the outcome's name. */
async function judge(image: Image, damage: Damage): Promise<{ complaint?: string; outcome: string }> {
  image.restore(folder);
  apply(folder, damage);
  const { wrong, refused, found } = await outcome();
  const log = damage.file.startsWith("log.sqlite");
  if (wrong.length > 0) return { complaint: `answered wrong: ${wrong[0]}`, outcome: "wrong" };
  if (log && found.length === 0 && refused.length > 0 && !refused.every((code) => code === "DB_DAMAGED"))
    return { complaint: `refused with ${refused[0]} and not found`, outcome: "wrong" };
  if (!log && found.length > 0) return { complaint: `the log has ${found[0]}`, outcome: "wrong" };
  if (!log && refused.length > 0) {
    // Derived damage may cost an answer or two until what is derived is made anew, never more.
    const again = await outcome();
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
    for (const [kind, row] of [...tally].sort()) process.stderr.write(`${kind}: ${JSON.stringify(row)}\n`);
  }
  return complaints;
}

/** Half of the flips over all bytes alike, half over the kinds alike: rare kinds are the dangerous ones. */
function flips(image: Image): (random: () => number) => Damage {
  const scratch = path.join(root, "scratch");
  mkdirSync(scratch, { recursive: true });
  const places = image.places(scratch);
  const kinds = [...Map.groupBy(places, ({ kind }) => kind).values()];
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
      const files = [...image().files].filter(([, bytes]) => bytes.length > 8192).map(([name]) => name);
      const make = (random: () => number): Damage =>
        spoil(image(), files[Math.floor(random() * files.length)] as string, random);
      expect(await run(Math.floor(FLIPS * 0.05), image(), seed + 2, make)).toEqual([]);
    },
    600_000,
  );
});
