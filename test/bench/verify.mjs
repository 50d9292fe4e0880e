import path from "node:path";
import { verifyLines } from "../../dist/db/verify.js";
import { Engine } from "../../dist/db/engine.js";
import { blake3 } from "../../dist/ids/hash.js";
import { ratioRow } from "./library.mjs";
import { preparedDb } from "./prepared-db.mjs";

/**
 * `verify` beside hashing every block of the log once with the same blake3, the rows read from the file as verify reads
 * them. Processor time of the process, in commits a second: the log alone, and with all that is derived of it.
 */
export async function run({ dir, quick }) {
  const [docs, perDoc] = quick ? [2_000, 10] : [10_000, 10];
  const rounds = quick ? 2 : 5;
  const folder = path.join(dir, "verify");
  await preparedDb(folder, { docs, perDoc });
  const engine = new Engine({ dir: folder });
  const rates = { log: [], whole: [], hashing: [] };
  const commits = docs * perDoc;
  try {
    for (let round = 0; round <= rounds; round += 1) {
      const take = (name, rate) => round > 0 && rates[name].push(rate);
      take("hashing", await rate(commits, () => hashed(engine)));
      take("log", await rate(commits, () => verified(engine, { only: "log" })));
      take("whole", await rate(commits, () => verified(engine, {})));
    }
  } finally {
    await engine.close();
  }
  return [
    ["log", "verify of the log"],
    ["whole", "verify of the whole db"],
  ].map(([name, work]) =>
    ratioRow({
      work,
      ours: rates[name],
      theirs: rates.hashing,
      against: "reading the rows and hashing every block once",
      reach: "≥ 0.6",
      note: `${commits.toLocaleString("en-US")} commits of one small change, ${rounds} rounds, processor time of all threads`,
    }),
  );
}

async function rate(commits, work) {
  const began = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(began);
  return (commits / (user + system)) * 1e6;
}

function hashed(engine) {
  return engine.use("bench", ({ log }) => {
    let wrong = 0;
    const { seq } = log.head();
    for (let from = 1; from <= seq; from += 1000) {
      for (const { cid, bytes, blocks } of log.commits(from, 1000)) {
        if (Buffer.compare(blake3(bytes), cid.subarray(-32)) !== 0) wrong += 1;
        for (const block of blocks) if (blake3(block).length !== 32) wrong += 1;
      }
    }
    if (wrong > 0) throw new Error(`${wrong} blocks do not hash to their address`);
  });
}

async function verified(engine, options) {
  let last = "";
  for await (const line of verifyLines(engine, "bench", new AbortController().signal, options)) last = line;
  if (!last.includes('"verdict":"sound"')) throw new Error(`not sound: ${last}`);
}
