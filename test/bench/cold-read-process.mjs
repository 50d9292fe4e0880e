import { readFileSync } from "node:fs";

/** One cold read, timed from opening to the value. The modules of both sides are loaded before. */
const { dir, db: dbId, doc, seq, saved } = JSON.parse(process.argv[2]);
let from;
let length;
if (saved) {
  const A = await import("@automerge/automerge");
  const bytes = readFileSync(saved);
  from = performance.now();
  length = A.load(bytes).text.length;
} else {
  const { Engine } = await import("../../dist/db/engine.js");
  from = performance.now();
  const engine = new Engine({ dir });
  const view = await engine.use(dbId, (db) => db.read(doc, { at: String(seq) }));
  length = view.json.length;
}
const ms = performance.now() - from;
process.send({ ms, length }, () => process.exit(0));
