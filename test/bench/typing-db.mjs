import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { hasTrace, traceChanges } from "./workload.mjs";

/** One document with a long history of typing, in a directory that later subjects find again. */
export const DOC = "texts/paper";
export const DB = "typing";

/** The recorded trace when there is the data for it, one made up of the same shape otherwise. */
export async function typing({ quick, data, scale = 1 }) {
  const length = Math.round((quick ? 10_000 : 250_000) * scale);
  const recorded = hasTrace("automerge-paper", data);
  const { changes, text } = recorded
    ? await traceChanges({ name: "automerge-paper", dataDir: data, limit: length })
    : await traceChanges({ name: `synthetic-${length}` });
  return { changes, text, length, source: recorded ? "a recorded paper" : "made-up typing" };
}

export function typingFolder(context) {
  const folder = path.join(context.dir, "typing");
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** Appends changes [from, to) one a commit, 64 under way. */
export async function append(db, doc, changes, from, to) {
  for (let at = from; at < to; at += 64) {
    const batch = changes.slice(at, Math.min(to, at + 64));
    await Promise.all(
      batch.map(({ bytes }) => db.tx({ author: "bench", writes: [{ doc, changes: [bytes] }] })),
    );
  }
}

/**
 * The document in its directory, made when an earlier subject has not done so. Changes from `done`
 * on are appended in commits of many, since here only reading is measured.
 */
export async function ensureTypingDb(context, changes) {
  const { Engine } = await import("../../dist/db/engine.js");
  const folder = typingFolder(context);
  const marker = path.join(folder, "complete.json");
  if (existsSync(marker)) return JSON.parse(readFileSync(marker, "utf8"));
  const engine = new Engine({ dir: path.join(folder, "skald") });
  try {
    await engine.create(DB);
    await engine.use(DB, async (db) => {
      const state = db.log.state(DOC);
      await append(db, DOC, changes, state?.changes ?? 0, changes.length);
    });
  } finally {
    await engine.close();
  }
  const made = { changes: changes.length };
  writeFileSync(marker, JSON.stringify(made));
  return made;
}
