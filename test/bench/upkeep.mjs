import path from "node:path";
import { historyParts } from "../../dist/archive/history-export.js";
import { Engine } from "../../dist/db/engine.js";
import { plainChange } from "../support/plain-change.mjs";
import { median, quantile, row } from "./figures.mjs";
import { preparedDb } from "./prepared-db.mjs";

const WRITERS = 4;

/**
 * How long a write takes while old commits go into bundles, and while an archive is taken, beside the same writers when
 * nothing else is done: 99th percentile of the waits of four writers, each of which waits for its last write.
 */
export async function run({ dir, quick }) {
  const [docs, perDoc] = quick ? [2_000, 10] : [10_000, 10];
  const rounds = quick ? 2 : 5;
  const p99 = { alone: [], bundling: [], archive: [] };
  for (let round = 0; round < rounds; round += 1) {
    const folder = path.join(dir, `upkeep-${round}`);
    await preparedDb(folder, { docs, perDoc });
    const engine = new Engine({ dir: folder });
    try {
      const writers = new Writers(engine);
      await writers.during(pause(1000));
      p99.alone.push(await writers.during(pause(quick ? 2000 : 5000)));
      p99.archive.push(await writers.during(archived(engine)));
      p99.bundling.push(await writers.during(engine.use("bench", (db) => db.compact())));
    } finally {
      await engine.close();
    }
  }
  const theirs = median(p99.alone);
  return [
    ["bundling", "99th percentile of a write while old commits are bundled"],
    ["archive", "99th percentile of a write while an archive is taken"],
  ].map(([name, work]) =>
    row({
      work,
      ours: median(p99[name].map((ms, i) => ms / p99.alone[i])) * theirs,
      theirs,
      against: "nothing else is done",
      reach: "≤ 2",
      unit: "ms",
      note: `${WRITERS} writers, ${(docs * perDoc).toLocaleString("en-US")} commits, ${rounds} rounds`,
    }),
  );
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function archived(engine) {
  const use = (work) => engine.use("bench", work);
  const point = await use(({ log }) => ({ seq: log.head().seq, commit: log.head().cid }));
  for await (const part of historyParts(use, point)) if (part.bytes.length === 0) await pause(0);
}

class Writers {
  #engine;
  #docs;

  constructor(engine) {
    this.#engine = engine;
    this.#docs = Array.from({ length: WRITERS }, (_, i) => ({ doc: `upkeep/d${i}`, deps: [], seq: 0 }));
  }

  /** 99th percentile of the writes that were made until `work` was done, in ms. */
  async during(work) {
    let done = false;
    const ended = work.finally(() => (done = true));
    const waits = [];
    const writer = async (one, index) => {
      while (!done) {
        one.seq += 1;
        const actor = index.toString(16).padStart(32, "b");
        const bytes = plainChange({
          deps: one.deps,
          actor,
          seq: one.seq,
          startOp: one.seq,
          key: "k",
          pad: 100,
        });
        const began = performance.now();
        const { heads } = await this.#engine.use("bench", (db) =>
          db.tx({ author: "bench", writes: [{ doc: one.doc, changes: [bytes] }] }),
        );
        waits.push(performance.now() - began);
        one.deps = heads[one.doc];
      }
    };
    await Promise.all([ended, ...this.#docs.map(writer)]);
    return quantile(waits, 0.99);
  }
}
