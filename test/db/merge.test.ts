import type { Db } from "../../src/db/db.ts";
import { openDb } from "../../src/index.ts";
import { findingsIn } from "../support/ledger.ts";
import { memoryDir } from "../support/temp-dir.ts";

/** Documents, and those of them that are changed on both sides: the movies have 2,430 and 1,000. */
const RUNS = Number(process.env["SKALD_TEST_RUNS"] ?? 0);
const DOCS = RUNS > 0 ? 2430 : 150;
const CHANGED = RUNS > 0 ? 1000 : 90;
const BATCH = 500;

interface Movie {
  readonly title: string;
  readonly year: number;
  readonly cast: readonly string[];
  readonly genres: readonly string[];
  readonly extract: string;
}

function movie(i: number): Movie {
  return {
    title: `Movie ${i}`,
    year: 2000 + (i % 10),
    cast: Array.from({ length: 4 }, (_, j) => `Actor ${(i * 7 + j) % 500}`),
    genres: ["Drama", "Comedy", "Action"].slice(0, 1 + (i % 3)),
    extract: `What happens in movie ${i} takes some words to tell. `.repeat(4),
  };
}

const nameOf = (i: number): string => `movies/${String(i).padStart(5, "0")}`;

async function putAll(
  db: Db,
  author: string,
  count: number,
  value: (i: number) => object,
  branch?: string,
): Promise<void> {
  for (let from = 0; from < count; from += BATCH) {
    const writes = Array.from({ length: Math.min(BATCH, count - from) }, (_, j) => ({
      doc: nameOf(from + j),
      edit: { kind: "put" as const, value: JSON.stringify(value(from + j)) },
    }));
    await db.tx({ author, writes, ...(branch === undefined ? {} : { branch }) });
  }
}

/** What both sides do to movie `i`: both set the year, or each does one other thing, or both do the same. */
const here = (i: number): object => ({
  ...movie(i),
  ...(i % 3 === 1 ? { genres: ["Main"] } : { year: i % 3 === 0 ? 1900 + (i % 100) : 1950 }),
});
const there = (i: number): object => ({
  ...movie(i),
  ...(i % 3 === 1 ? { cast: [...movie(i).cast, "Draft"] } : { year: i % 3 === 0 ? 1800 + (i % 100) : 1950 }),
});

test("documents that were changed on both sides are merged with exactly the conflicts there are", async () => {
  const held = await openDb(memoryDir(), "movies");
  const { db } = held;
  const cpu = process.cpuUsage();
  const lap = (): number => process.cpuUsage(cpu).user / 1000;
  await putAll(db, "imp", DOCS, movie);
  await db.log.createBranch("draft", { author: "imp" });
  await putAll(db, "ann", CHANGED, here);
  await putAll(db, "bob", CHANGED, there, "draft");
  const before = lap();
  const tried = await db.merge({ author: "mia", from: "draft", into: "main", dryRun: true });
  const triedAt = lap();
  const merged = await db.merge({ author: "mia", from: "draft", into: "main" });
  const after = lap();
  expect(merged).toMatchObject({ duplicate: false, documents: CHANGED, more: false, unchecked: [] });
  expect(merged.commits).toHaveLength(1);
  expect(tried.conflicts).toEqual(merged.conflicts);
  const expected = Array.from({ length: CHANGED }, (_, i) => i).filter((i) => i % 3 === 0);
  expect(merged.conflicts.map(({ doc, path, into, from }) => [doc, path, into, from])).toEqual(
    expected.map((i) => [
      nameOf(i),
      "/year",
      { json: String(1900 + (i % 100)), author: "ann" },
      { json: String(1800 + (i % 100)), author: "bob" },
    ]),
  );
  for (const i of [0, 1, 2, CHANGED - 1, CHANGED]) {
    const read = JSON.parse((await db.read(nameOf(i))).json) as Movie;
    const winner = merged.conflicts.find(({ doc }) => doc === nameOf(i))?.winner;
    const year = winner === "into" ? 1900 : 1800;
    if (i >= CHANGED) expect(read).toEqual(movie(i));
    else if (i % 3 === 1) expect(read).toMatchObject({ genres: ["Main"], cast: [...movie(i).cast, "Draft"] });
    else expect(read.year).toBe(i % 3 === 0 ? year + (i % 100) : 1950);
  }
  expect(await db.merge({ author: "mia", from: "draft", into: "main" })).toMatchObject({ duplicate: true });
  expect(findingsIn(db.storage)).toEqual([]);
  if (RUNS > 0) {
    const ms = { written: before, tried: triedAt - before, merged: after - triedAt };
    process.stderr.write(
      `${DOCS} documents, ${CHANGED} changed on both sides, CPU ms ${JSON.stringify(ms)}\n`,
    );
  }
  await held.close();
}, 120_000);

test("a diff costs what was changed and not what there is", async () => {
  const costs: number[] = [];
  for (const docs of RUNS > 0 ? [1000, 20_000] : [200, 2000]) {
    const held = await openDb(memoryDir(), "compared");
    const { db } = held;
    for (let from = 0; from < docs; from += 1000) {
      const writes = Array.from({ length: Math.min(1000, docs - from) }, (_, j) => ({
        doc: nameOf(from + j),
        edit: { kind: "put" as const, value: `{"n":${from + j}}` },
      }));
      await db.tx({ author: "ann", writes });
    }
    await db.log.createBranch("draft", { author: "ann" });
    const start = db.log.head().seq;
    await putAll(db, "ann", 100, (i) => ({ n: i, more: 1 }), "draft");
    const points = [
      { branch: "main", seq: db.log.seqOn(db.log.head().seq, "main") },
      { branch: "draft", seq: db.log.head().seq },
    ] as const;
    expect(db.log.touchedOn(start, start, Infinity)).toHaveLength(100);
    const cpu = process.cpuUsage();
    const found = await db.comparisons.of(...points);
    const patches = await Promise.all(found.docs.map(({ doc }) => db.diffBetween(doc, ...points)));
    costs.push(process.cpuUsage(cpu).user / 1000);
    expect(found.docs).toHaveLength(100);
    expect(patches.every((patch) => patch === '[{"op":"add","path":"/more","value":1}]')).toBe(true);
    await held.close();
  }
  if (RUNS > 0) process.stderr.write(`diff of 100 of 1,000 and of 20,000: ${costs.join(", ")} ms of CPU\n`);
}, 300_000);
