import { fork } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Engine } from "../../dist/db/engine.js";
import { median, row } from "./figures.mjs";
import { DB, DOC, ensureTypingDb, typing, typingFolder } from "./typing-db.mjs";

/**
 * Reading a document with a long history at points in its past, each in a new process that opens the
 * directory for it, beside loading the latest saved form of the same document in a new process. The
 * files are in the system's cache on both sides.
 */
export async function run(context) {
  const { changes, source } = await typing(context);
  await ensureTypingDb(context, changes);
  const folder = typingFolder(context);
  const dir = path.join(folder, "skald");
  const saved = path.join(folder, "saved.automerge");
  const engine = new Engine({ dir });
  let kept;
  let last;
  try {
    kept = await engine.use(DB, async (db) => {
      await db.projection.catchUp();
      last = db.log.head().seq;
      writeFileSync(saved, (await db.save(DOC)).bytes);
      return typeof db.keepSaved === "function" ? await db.keepSaved(DOC) : false;
    });
  } finally {
    await engine.close();
  }
  const count = context.quick ? 2 : 7;
  const ours = [];
  const loads = [];
  let state = 7;
  for (let i = 0; i < count; i += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const seq = 1 + Math.floor((state / 2 ** 32) * (last - 1));
    ours.push((await inNewProcess({ dir, seq })).ms);
    loads.push((await inNewProcess({ saved })).ms);
  }
  const ratio = median(ours.map((ms, i) => ms / loads[i]));
  const theirs = median(loads);
  const line = row({
    work: `reading a document of ${changes.length.toLocaleString("en-US")} changes at a point in its past, cold`,
    ours: ratio * theirs,
    theirs,
    against: "Automerge.load of the latest",
    reach: "≤ 2",
    unit: "ms",
    note: `${count} points; ${source}${kept ? "; a saved form was kept before" : ""}`,
  });
  return [{ ...line, ours: median(ours) }];
}

function inNewProcess(task) {
  const script = fileURLToPath(new URL("cold-read-process.mjs", import.meta.url));
  return new Promise((resolve, reject) => {
    const child = fork(script, [JSON.stringify({ ...task, db: DB, doc: DOC })]);
    let answer;
    child.on("message", (message) => (answer = message));
    child.on("exit", (code) => {
      if (answer) resolve(answer);
      else reject(new Error(`the reading process ended with ${code}`));
    });
  });
}
