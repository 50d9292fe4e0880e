import path from "node:path";
import { resolveBranchPoint } from "../../dist/db/compare.js";
import { Engine } from "../../dist/db/engine.js";
import { median, row } from "./figures.mjs";
import { preparedDb } from "./prepared-db.mjs";

const CHANGED = 100;

/** What differs between a branch and main after 100 documents changed, in a large db and in a small one. */
export async function run({ dir, quick }) {
  const rounds = quick ? 3 : 9;
  const sizes = quick ? [1_000, 5_000] : [1_000, 100_000];
  const times = { names: [[], []], patches: [[], []] };
  for (const [which, docs] of sizes.entries()) {
    const folder = path.join(dir, `diff-${docs}`);
    await preparedDb(folder, { docs, perDoc: 1 });
    const engine = new Engine({ dir: folder });
    try {
      await engine.use("bench", async (db) => {
        await db.projection.catchUp();
        for (let round = 0; round <= rounds; round += 1) {
          await changed(db, `b${round}`, docs);
          const [names, patches] = await compared(db, `b${round}`);
          if (round === 0) continue;
          times.names[which].push(names);
          times.patches[which].push(patches);
        }
      });
    } finally {
      await engine.close();
    }
  }
  return [
    ["names", `names of ${CHANGED} changed documents`],
    ["patches", `patches of ${CHANGED} changed documents`],
  ].map(([name, work]) =>
    row({
      work: `diff of a branch: ${work} among ${sizes[1].toLocaleString("en-US")}`,
      ours: median(times[name][1]),
      theirs: median(times[name][0]),
      against: `among ${sizes[0].toLocaleString("en-US")}`,
      reach: "≤ 2",
      unit: "ms",
      note: `processor time of all threads, ${rounds} rounds`,
    }),
  );
}

async function changed(db, branch, docs) {
  await db.log.createBranch(branch, { author: "bench" });
  const step = docs / CHANGED;
  const writes = Array.from({ length: CHANGED }, (_, i) => ({
    doc: `things/t${String(i * step).padStart(6, "0")}`,
    edit: { kind: "merge-patch", patch: JSON.stringify({ [branch]: i }) },
  }));
  await db.tx({ author: "bench", branch, writes });
}

async function compared(db, branch) {
  const began = process.cpuUsage();
  const [from, to] = ["main", branch].map((text) => resolveBranchPoint(db.log, text));
  const { docs } = await db.comparisons.of(from, to);
  if (docs.length !== CHANGED) throw new Error(`${docs.length} documents differ`);
  const names = spent(began);
  for (const { doc } of docs) await db.diffBetween(doc, from, to);
  return [names, spent(began)];
}

function spent(began) {
  const { user, system } = process.cpuUsage(began);
  return (user + system) / 1000;
}
