import { mkdirSync } from "node:fs";
import path from "node:path";
import { Engine } from "../../dist/db/engine.js";
import { median, row } from "./figures.mjs";
import { profiled } from "./profile.mjs";
import { ConventionalLog, RecordLog, appendAll, itemOf } from "./raw-sqlite.mjs";
import { smallChanges } from "./workload.mjs";

const WRITERS = 64;

/**
 * Durable commits of one small change through the library, beside raw SQLite. The sides take turns
 * in short rounds, so that whatever else the machine does falls on both; the ratio is the median of
 * the rounds'. Ours is left to finish its background work before the other side's turn.
 */
export async function run({ dir, quick, profile, scale = 1 }) {
  const rounds = quick ? 4 : 6;
  const perRound = Math.round((quick ? 24 : 160) * scale);
  const alone = Math.round((quick ? 150 : 1500) * scale);
  const lists = await smallChanges({ docs: WRITERS, changes: (rounds + 1) * perRound });
  const [list] = await smallChanges({ docs: 1, changes: (rounds + 1) * alone });
  const folder = path.join(dir, "library");
  mkdirSync(folder, { recursive: true });
  const engine = new Engine({ dir: path.join(folder, "skald") });
  const raws = [];
  try {
    await engine.create("many");
    await engine.create("alone");
    return [
      ...(await engine.use("many", (db) =>
        manyWriters({ db, lists, rounds, perRound, folder, raws, profile }),
      )),
      ...(await engine.use("alone", (db) =>
        oneWriter({ db, list, rounds, perRound: alone, folder, raws, profile }),
      )),
    ];
  } finally {
    for (const raw of raws) raw.close();
    await engine.close();
  }
}

const nameOf = (index) => `bench/d${index}`;

/** Every writer has a document and commits the next change when the last one is durable. */
async function commitAll(db, lists, from, to) {
  const started = performance.now();
  await Promise.all(
    lists.map(async (list, d) => {
      const doc = nameOf(d);
      for (let i = from; i < to; i += 1) {
        await db.tx({ author: "bench", writes: [{ doc, changes: [list[i].bytes] }] });
      }
    }),
  );
  return ((lists.length * (to - from)) / (performance.now() - started)) * 1000;
}

async function manyWriters({ db, lists, rounds, perRound, folder, raws, profile }) {
  const conventional = new ConventionalLog(folder);
  const records = new RecordLog(folder);
  raws.push(conventional, records);
  const rates = { ours: [], followed: [], conventional: [], records: [] };
  for (let round = 0; round <= rounds; round += 1) {
    const from = round * perRound;
    const to = from + perRound;
    const started = performance.now();
    const ours = await profiled(profile, `many-${round}`, () => commitAll(db, lists, from, to));
    await db.projection.catchUp();
    const followed = ((WRITERS * perRound) / (performance.now() - started)) * 1000;
    const commitBytes = db.log.commit(db.log.head().seq).bytes.length;
    const items = [];
    for (let i = from; i < to; i += 1) {
      for (let d = 0; d < lists.length; d += 1) items.push(itemOf(nameOf(d), lists[d][i], commitBytes));
    }
    const theirs = appendAll(conventional, items, WRITERS);
    const bare = appendAll(records, items, WRITERS);
    // The first round is everyone's warm-up.
    if (round === 0) continue;
    rates.ours.push(ours);
    rates.followed.push(followed);
    rates.conventional.push(theirs);
    rates.records.push(bare);
  }
  const work = `${WRITERS} writers, one change a commit, library`;
  const note = `${rounds} rounds of ${WRITERS * perRound}`;
  return [
    ratioRow({
      work,
      ours: rates.ours,
      theirs: rates.conventional,
      against: "raw SQLite",
      reach: "≥ 0.5",
      note,
    }),
    ratioRow({
      work: `${work}, beside one bare row a commit`,
      ours: rates.ours,
      theirs: rates.records,
      against: "raw SQLite, our layout",
      note,
    }),
    ratioRow({
      work: `${work}, until the projections have followed`,
      ours: rates.followed,
      theirs: rates.conventional,
      against: "raw SQLite",
      note,
    }),
  ];
}

async function oneWriter({ db, list, rounds, perRound, folder, raws, profile }) {
  const conventional = new ConventionalLog(folder);
  const records = new RecordLog(folder);
  raws.push(conventional, records);
  const rates = { ours: [], conventional: [], records: [] };
  for (let round = 0; round <= rounds; round += 1) {
    const changes = list.slice(round * perRound, (round + 1) * perRound);
    const ours = await profiled(profile, `one-${round}`, () =>
      commitAll(db, [list], round * perRound, (round + 1) * perRound),
    );
    await db.projection.catchUp();
    const commitBytes = db.log.commit(db.log.head().seq).bytes.length;
    const items = changes.map((change) => itemOf(nameOf(0), change, commitBytes));
    const bare = appendAll(records, items, 1);
    const theirs = appendAll(conventional, items, 1);
    if (round === 0) continue;
    rates.ours.push(ours);
    rates.records.push(bare);
    rates.conventional.push(theirs);
  }
  const work = "one writer at a time, library";
  const note = `${rounds} rounds of ${perRound}`;
  return [
    ratioRow({
      work,
      ours: rates.ours,
      theirs: rates.records,
      against: "raw SQLite, one row a transaction",
      reach: "≥ 0.7",
      note,
    }),
    ratioRow({
      work: `${work}, beside the conventional schema`,
      ours: rates.ours,
      theirs: rates.conventional,
      against: "raw SQLite",
      note,
    }),
  ];
}

/** A row whose ratio is the median of the rounds' ratios, not the ratio of medians. */
export function ratioRow({ work, ours, theirs, against, reach, note, unit = "commits/s" }) {
  const ratio = median(ours.map((value, i) => value / theirs[i]));
  const shown = median(theirs);
  return {
    ...row({ work, ours: ratio * shown, theirs: shown, against, reach, unit, note }),
    ours: median(ours),
  };
}
