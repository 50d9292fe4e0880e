import { Engine } from "../../dist/db/engine.js";

/** Reads at random points, or the step before them. Times are of the processor, of all threads. */
const { dir, docs, task, seed = 1 } = JSON.parse(process.argv[2]);
const WARM = 300;
const READ = 100;
let state = seed * 7919;
const next = (below) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
};
const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const from = cpu();
const engine = new Engine({ dir });
let ms = 0;
await engine.use("bench", async (db) => {
  if (task === "compact") {
    await db.compact();
    await db.tended?.();
    return;
  }
  const head = db.log.head().seq;
  // Each document has its first commit among the first `docs`.
  const read = () => {
    // Of as many documents in both, so that as many of them are still in a worker's memory.
    const doc = Math.floor((next(READ) * docs) / READ);
    const at = docs + next(head - docs);
    return db.read(`things/t${String(doc).padStart(6, "0")}`, { at: String(at) });
  };
  if (task === "cold") {
    await read();
    ms = cpu() - from;
    return;
  }
  for (let i = 0; i < WARM; i += 1) await read();
  const start = cpu();
  for (let i = 0; i < WARM; i += 1) await read();
  ms = (cpu() - start) / WARM;
});
if (task === "compact") await engine.close();
process.send({ ms }, () => process.exit(0));
