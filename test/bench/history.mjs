import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import * as A from "@automerge/automerge";
import { Engine } from "../../dist/db/engine.js";
import { equality, missing } from "./figures.mjs";
import { hasTrace, readTrace, traceChanges } from "./workload.mjs";

const SKALD = fileURLToPath(new URL("../../bin/skald", import.meta.url));
const DOC = "texts/trace";
/** Commits under way at once while a trace is written. */
const AT_ONCE = 256;
/** Every so many transactions the text is read back. */
const EVERY = 10;
const CHANGED = 1000;

/**
 * The past of real data: a paper read back at every tenth of its transactions, a branch from its middle edited and
 * merged, films changed on two branches and merged, archives there and back. Nothing here is about speed.
 */
export async function run({ dir, quick, scale = 1, data }) {
  const name = "automerge-paper";
  if (!hasTrace(name, data)) return [missing("the past of real data", "no data: give --data <dir>")];
  const folder = path.join(dir, "history");
  mkdirSync(folder, { recursive: true });
  try {
    const limit = quick ? Math.round(5000 * scale) : scale === 1 ? undefined : Math.round(259_778 * scale);
    const rows = await paper(path.join(folder, "paper"), name, data, limit);
    rows.push(...(await films(path.join(folder, "films"), path.join(data, "movies-2000s.json"))));
    return rows;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function withDb(dir, work) {
  // The whole of a paper at once takes a busy machine longer than a job has.
  const engine = new Engine({ dir, documents: { deadlineMs: 120_000 } });
  try {
    await engine.create("db");
    const held = engine.hold("db");
    try {
      return await work(held.db);
    } finally {
      held.release();
    }
  } finally {
    await engine.close();
  }
}

async function paper(dir, name, data, limit) {
  const { changes } = await traceChanges({ name, dataDir: data, ...(limit ? { limit } : {}) });
  const { txns } = await readTrace(name, data);
  return withDb(dir, async (db) => {
    const seqs = await writeAll(db, changes);
    await db.projection.catchUp();
    await db.keepSaved(DOC);
    const rows = [];
    let text = [];
    let [points, same] = [0, 0];
    const from = performance.now();
    let middle = "";
    for (let i = 0; i < changes.length - 1; i += 1) {
      for (const [at, deleted, inserted] of txns[i].patches) text.splice(at, deleted, ...inserted);
      const index = i + 1;
      if (index === changes.length >> 1) middle = text.join("");
      if (index % EVERY !== 0) continue;
      points += 1;
      const { json } = await db.read(DOC, { at: String(seqs[index]) });
      if (JSON.parse(json).text === text.join("")) same += 1;
    }
    const each = (performance.now() - from) / points;
    rows.push(
      equality(
        `${name}: text after every ${EVERY}th transaction, beside a replay`,
        same === points,
        `${same} of ${points}, ${each.toFixed(1)} ms each`,
      ),
    );
    rows.push(await branched(db, name, changes, seqs, middle));
    return rows;
  });
}

async function writeAll(db, changes) {
  const seqs = [];
  for (let i = 0; i < changes.length; i += AT_ONCE) {
    const some = changes.slice(i, i + AT_ONCE);
    const receipts = await Promise.all(
      some.map(({ bytes }) => db.tx({ author: "writer", writes: [{ doc: DOC, changes: [bytes] }] })),
    );
    seqs.push(...receipts.map(({ seq }) => seq));
  }
  return seqs;
}

/** A branch from the middle, edited where nobody else did, and merged: as Automerge alone merges two copies. */
async function branched(db, name, changes, seqs, middle) {
  const at = changes.length >> 1;
  await db.log.createBranch("review", { author: "reader", at: seqs[at] });
  const patch = JSON.stringify({ text: `Reviewed.\n${middle}\nThe end.` });
  await db.tx({
    author: "reader",
    branch: "review",
    writes: [{ doc: DOC, edit: { kind: "merge-patch", patch } }],
  });
  const onBranch = JSON.parse((await db.read(DOC, { branch: "review" })).json).text;
  const { bytes } = await db.save(DOC, { branch: "review" });
  let [alone] = A.applyChanges(
    A.init(),
    changes.map(({ bytes: one }) => one),
  );
  alone = A.merge(alone, A.load(bytes));
  await db.merge({ author: "reader", from: "review", into: "main" });
  const merged = JSON.parse((await db.read(DOC)).json).text;
  const good =
    onBranch === `Reviewed.\n${middle}\nThe end.` &&
    merged === alone.text &&
    merged.startsWith("Reviewed.\n") &&
    merged.endsWith("\nThe end.");
  return equality(
    `${name}: a branch from its middle, edited and merged, beside Automerge alone`,
    good,
    `${merged.length} characters`,
  );
}

async function films(dir, file) {
  const list = JSON.parse(readFileSync(file, "utf8"));
  const docs = list.map((film, i) => ({ doc: `movies/${String(i).padStart(5, "0")}`, film }));
  const rows = await withDb(dir, async (db) => {
    for (let i = 0; i < docs.length; i += 500) {
      const writes = docs.slice(i, i + 500).map(({ doc, film }) => put(doc, film));
      await db.tx({ author: "importer", writes });
    }
    await db.log.createBranch("other", { author: "editor" });
    const both = docs.slice(0, CHANGED);
    const mainOnly = docs.slice(CHANGED, CHANGED + 100);
    const otherOnly = docs.slice(CHANGED + 100, CHANGED + 200);
    const setYear = async (some, branch, author, year) => {
      for (let i = 0; i < some.length; i += 500) {
        const writes = some.slice(i, i + 500).map(({ doc, film }) => {
          const patch = JSON.stringify({ year: film.year + year });
          return { doc, edit: { kind: "merge-patch", patch } };
        });
        await db.tx({ author, branch, writes });
      }
    };
    await setYear([...both, ...mainOnly], "main", "anna", 1);
    await setYear([...both, ...otherOnly], "other", "ben", 2);
    const answer = await db.merge({ author: "editor", from: "other", into: "main" });
    const found = answer.conflicts.map(({ doc, path: at }) => `${doc} ${at}`).toSorted();
    const expected = both.map(({ doc }) => `${doc} /year`);
    const values = answer.conflicts.every(({ doc, into, from }) => {
      const { film } = docs.find((one) => one.doc === doc);
      return (
        Number(into.json) === film.year + 1 &&
        Number(from.json) === film.year + 2 &&
        into.author === "anna" &&
        from.author === "ben"
      );
    });
    let shown = 0;
    for (const { doc, winner } of answer.conflicts) {
      const { year } = JSON.parse((await db.read(doc)).json);
      const { film } = docs.find((one) => one.doc === doc);
      if (year === film.year + (winner === "into" ? 1 : 2)) shown += 1;
    }
    const exact = JSON.stringify(found) === JSON.stringify(expected);
    return [
      equality(
        `films: ${CHANGED} changed on two branches, conflicts of the merge`,
        exact && values && !answer.more && shown === CHANGED,
        `${found.length} conflicts, both values and authors as written: ${values}, winners shown: ${shown}`,
      ),
    ];
  });
  const skald = (...args) =>
    execFileSync(process.execPath, [SKALD, ...args, "--dir", dir], { stdio: "pipe" });
  const [one, two] = ["one.car", "two.car"].map((name) => path.join(dir, "..", name));
  skald("snapshot", "export", "db", "-o", one);
  skald("snapshot", "import", "copy", one);
  skald("snapshot", "export", "copy", "-o", two);
  const bytes = readFileSync(one);
  rows.push(
    equality(
      "films: archive out, in and out again",
      bytes.equals(readFileSync(two)),
      `${bytes.length} bytes`,
    ),
  );
  return rows;
}

function put(doc, value) {
  return { doc, edit: { kind: "put", value: JSON.stringify(value) } };
}
