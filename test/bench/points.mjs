import { fork } from "node:child_process";
import { rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { median, row } from "./figures.mjs";
import { preparedDb } from "./prepared-db.mjs";

/**
 * Reads of documents at random points, in a db with a history of 1,000 commits and in one of 100 times as many:
 * each document has ten changes in both. Warm: many reads in a process that has been reading. Cold: the first read
 * of a process of its own, its start included. As processor time of all threads; commits stand alone, or in bundles.
 */
export async function run(context) {
  const per = 10;
  const small = 100;
  const large = context.quick ? 2_000 : 10_000;
  const dirs = {};
  for (const docs of [small, large]) {
    for (const kind of ["singles", "bundles"]) {
      const dir = path.join(context.dir, `points-${docs}-${kind}`);
      rmSync(dir, { recursive: true, force: true });
      await preparedDb(dir, { docs, perDoc: per });
      dirs[`${docs} ${kind}`] = dir;
      if (kind === "bundles") await inNewProcess({ dir, docs, task: "compact" });
    }
  }
  const rows = [];
  for (const kind of ["singles", "bundles"]) {
    for (const task of ["warm", "cold"]) {
      const rounds = task === "warm" ? (context.quick ? 2 : 5) : context.quick ? 3 : 9;
      const ours = [];
      const theirs = [];
      for (let round = 0; round < rounds; round += 1) {
        const seed = round + 1;
        ours.push((await inNewProcess({ dir: dirs[`${large} ${kind}`], docs: large, task, seed })).ms);
        theirs.push((await inNewProcess({ dir: dirs[`${small} ${kind}`], docs: small, task, seed })).ms);
      }
      const against = median(theirs);
      rows.push(
        row({
          work: `reading a document at a point, ${(large * per).toLocaleString("en-US")} commits in the db, ${kind}, ${task}`,
          ours: median(ours.map((ms, i) => ms / theirs[i])) * against,
          theirs: against,
          against: `${(small * per).toLocaleString("en-US")} commits`,
          reach: "≤ 1.5",
          unit: "ms",
          note: `processor time a read; ${rounds} rounds`,
        }),
      );
    }
  }
  return rows;
}

function inNewProcess(task) {
  const script = fileURLToPath(new URL("points-process.mjs", import.meta.url));
  return new Promise((resolve, reject) => {
    const child = fork(script, [JSON.stringify(task)]);
    let answer;
    child.on("message", (message) => (answer = message));
    child.on("exit", (code) => {
      if (answer) resolve(answer);
      else reject(new Error(`the reading process ended with ${code}`));
    });
  });
}
