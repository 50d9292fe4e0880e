import path from "node:path";
import { Engine } from "../../dist/db/engine.js";
import { median, row } from "./figures.mjs";
import { DB, DOC, append, typing, typingFolder } from "./typing-db.mjs";

/** As many commits as the catalog writes at once, so that each window holds one such batch. */
const WINDOW = 1024;

/**
 * What it costs to append to a document with a long history, beside one with a short one. Windows
 * around the 100th change, each of a fresh db, take turns with windows around the late one.
 */
export async function run(context) {
  const windows = context.quick ? 3 : 5;
  const { changes, length, source } = await typing(context);
  const late = Math.round(length * 0.8);
  const from = late - Math.floor((windows * WINDOW) / 2);
  const engine = new Engine({ dir: path.join(typingFolder(context), "skald") });
  try {
    // Not the clock's business: the code is warm before the first window.
    await window(engine, "warm", 0, Math.min(8 * WINDOW, length), changes);
    await engine.create(DB);
    const costs = await engine.use(DB, async (db) => {
      await append(db, DOC, changes, 0, from);
      await db.projection.catchUp();
      const costs = { early: [], late: [] };
      for (let w = 0; w < windows; w += 1) {
        costs.early.push(await window(engine, `early-${w}`, 0, WINDOW, changes));
        const at = from + w * WINDOW;
        costs.late.push(await timedAppend(db, at, at + WINDOW, changes));
        await db.projection.catchUp();
      }
      return costs;
    });
    const ratio = median(costs.late.map((cost, i) => cost / costs.early[i]));
    const early = median(costs.early);
    const work = `appending change ${late.toLocaleString("en-US")} of a document, beside change 100`;
    const note = `${windows} windows of ${WINDOW}, 64 at a time; ${source}`;
    return [
      {
        ...row({
          work,
          ours: ratio * early,
          theirs: early,
          against: "change 100",
          reach: "≤ 1.3",
          unit: "µs",
          note,
        }),
        ours: median(costs.late),
      },
    ];
  } finally {
    await engine.close();
  }
}

async function window(engine, name, from, to, changes) {
  await engine.create(name);
  const cost = await engine.use(name, async (db) => {
    const cost = await timedAppend(db, from, to, changes);
    await db.projection.catchUp();
    return cost;
  });
  await engine.delete(name);
  return cost;
}

/** µs a change. */
async function timedAppend(db, from, to, changes) {
  const started = performance.now();
  await append(db, DOC, changes, from, to);
  return ((performance.now() - started) * 1000) / (to - from);
}
