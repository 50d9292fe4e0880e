import { cpSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { BackupFolder } from "../../src/backup/folder.ts";
import { restoreBackup } from "../../src/backup/restore.ts";
import { Subscriptions } from "../../src/subscriptions/subscriptions.ts";
import { seedOf, seeded } from "../support/fault-process.ts";
import {
  backUp,
  closeEngine,
  filesIn,
  fresh,
  openEngine,
  problemsOf,
  recordsOf,
  withTokens,
  write,
} from "./fixture.ts";

const FLIPS = Number(process.env["SKALD_TEST_FLIPS"] ?? 40);
const seed = seedOf();
const random = seeded(seed);
const below = (n: number): number => Math.floor(random() * n);

/** Two backups of a server: bundles and single records, subscriptions, packs that only one of the two needs. */
const engine = openEngine();
const whole = fresh();
const records = new Map<string, string[]>();

beforeAll(async () => {
  withTokens(engine);
  for (const db of ["a", "b"]) {
    await engine.create(db);
    await write(engine, db, 1, 40);
  }
  await engine.use("a", (db) => db.compact());
  const subscriptions = new Subscriptions({ engine, onError: () => {} });
  await engine.use("b", (db) =>
    subscriptions
      .of(db)
      .put(
        "mailer",
        { mode: "single", include: "none", creator: "ann", created: 1, ackMs: 30_000, maxUnacked: 256 },
        3,
      ),
  );
  await backUp(engine, whole);
  for (const db of ["a", "b"]) {
    await write(engine, db, 41, 50);
    records.set(db, await recordsOf(engine, db));
  }
  await backUp(engine, whole);
});

const kinds: Readonly<Record<string, RegExp>> = {
  manifest: /^manifests\//,
  pack: /^packs\//,
  object: /^objects\//,
};

/** What the newest manifest names, with itself. */
function needed(at: string): Set<string> {
  const folder = BackupFolder.open(at);
  const { number, dbs, files } = folder.manifest(folder.numbers().at(-1) as number);
  const all = dbs.flatMap(({ uid, packs, subscriptions }) => [
    ...packs.map((pack) => path.relative(at, folder.packFile(uid, pack))),
    ...(subscriptions === null ? [] : [`objects/${subscriptions.slice(0, 2)}/${subscriptions}`]),
  ]);
  const blocks = files.flatMap((file) => file.blocks).map((hash) => `objects/${hash.slice(0, 2)}/${hash}`);
  return new Set([...all, ...blocks, `manifests/${String(number).padStart(6, "0")}.json`]);
}

const damages: Readonly<Record<string, (file: string) => void>> = {
  "a flipped bit": (file) => {
    const bytes = readFileSync(file);
    const at = below(bytes.length);
    bytes[at] = (bytes[at] as number) ^ (1 << below(8));
    writeFileSync(file, bytes);
  },
  "zeros in the middle": (file) => {
    const bytes = readFileSync(file);
    const at = below(bytes.length);
    if (bytes.subarray(at, at + 64).every((byte) => byte === 0)) bytes[at] = 1;
    else bytes.fill(0, at, Math.min(bytes.length, at + 64));
    writeFileSync(file, bytes);
  },
  "a lost end": (file) => truncateSync(file, below(readFileSync(file).length)),
  "the file gone": (file) => rmSync(file),
};

test(
  `whatever is damaged is named, and a restore that needs it leaves nothing (seed ${seed})`,
  async () => {
    const needs = needed(whole);
    const tally: Record<string, number> = {};
    for (let n = 0; n < FLIPS; n += 1) {
      const [kind, pattern] = Object.entries(kinds)[n % 3] as [string, RegExp];
      const of = filesIn(whole).filter((name) => pattern.test(name));
      const name = of[below(of.length)] as string;
      const [what, damage] = Object.entries(damages)[below(4)] as [string, (file: string) => void];
      const at = fresh();
      cpSync(whole, at, { recursive: true });
      damage(path.join(at, name));
      const where = `seed ${seed}, run ${n}: ${what} in ${name}`;
      tally[`${kind}, ${what}`] = (tally[`${kind}, ${what}`] ?? 0) + 1;
      const gone = kind === "manifest" && what === "the file gone";
      const problems = await problemsOf(at);
      if (!gone) expect({ where, named: problems.map(({ file }) => file) }).toEqual({ where, named: [name] });
      const into = fresh();
      const done = await restoreBackup(BackupFolder.open(at), into, { reserve: 0 }).catch(
        (error: unknown) => error,
      );
      if (needs.has(name) && !gone) {
        expect({ where, done }).toMatchObject({
          where,
          done: { code: "BACKUP_DAMAGED", details: { file: name } },
        });
        expect({ where, left: filesIn(into).filter((file) => file !== "lock.sqlite") }).toEqual({
          where,
          left: [],
        });
      } else {
        expect({ where, done }).toMatchObject({ where, done: { dbs: [{ db: "a" }, { db: "b" }] } });
      }
      // What is missing or cut the next run brings again; a manifest that does not read it goes past.
      if (kind !== "manifest" && (what === "the file gone" || what === "a lost end") && needs.has(name)) {
        await backUp(engine, at);
        const said = await restoreBackup(BackupFolder.open(at), fresh(), { reserve: 0 });
        expect({ where, dbs: said.dbs }).toMatchObject({ where, dbs: [{ seq: 50 }, { seq: 50 }] });
      }
      rmSync(at, { recursive: true });
    }
    if (process.env["SKALD_TEST_FLIPS"]) process.stderr.write(`${JSON.stringify({ seed, ...tally })}\n`);
  },
  Math.max(120_000, FLIPS * 1000),
);

test("a damaged pack names the commit where it shows", async () => {
  const at = fresh();
  cpSync(whole, at, { recursive: true });
  const folder = BackupFolder.open(at);
  const entry = folder.manifest(2).dbs.find(({ db }) => db === "b");
  const pack = entry?.packs[0];
  if (!entry || !pack) throw new Error("nothing was backed up");
  const file = folder.packFile(entry.uid, pack);
  const bytes = readFileSync(file);
  const record = Buffer.from((records.get("b") as string[])[24] as string, "hex");
  const where = bytes.indexOf(record);
  bytes[where + 100] = (bytes[where + 100] as number) ^ 1;
  writeFileSync(file, bytes);
  const [problem] = await problemsOf(at);
  expect(problem).toMatchObject({ seq: 25, manifests: [2, 1] });
  // Whoever knows of it has an older one, here in the same pack: nothing of it is taken by itself.
  expect(
    await restoreBackup(folder, fresh(), { reserve: 0 }).catch(
      ({ details }: { details: unknown }) => details,
    ),
  ).toMatchObject({ seq: 25 });
});

test("nothing is removed while a manifest that stays does not read", async () => {
  const at = fresh();
  cpSync(whole, at, { recursive: true });
  const newest = path.join(at, "manifests", "000002.json");
  writeFileSync(newest, readFileSync(newest, "utf8").replace('"number":2', '"number":3'));
  const before = filesIn(at);
  const folder = BackupFolder.take(at);
  expect(() => folder.prune(1)).toThrow(expect.objectContaining({ code: "BACKUP_DAMAGED" }));
  folder.release();
  expect(filesIn(at)).toEqual(before);
  // A further run goes on from the newest that reads, and says so.
  const notes: string[] = [];
  const { manifest } = await backUp(engine, at, { onNote: (text) => notes.push(text) });
  expect([manifest.number, notes.length]).toEqual([3, 1]);
  expect((await problemsOf(at)).map(({ file }) => file)).toEqual(["manifests/000002.json"]);
});

afterAll(() => closeEngine(engine));
