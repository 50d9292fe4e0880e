import { cpSync, existsSync, mkdirSync, renameSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Engine } from "../../dist/db/engine.js";
import { smallChanges } from "./workload.mjs";

/**
 * Directories with a db `bench` of many small commits, made once and kept in the system's temporary
 * directory: following 100,000 documents takes longer than what is measured with them.
 */
const FORMAT = 1;
const CACHE = path.join(tmpdir(), "skald-bench-cache");
const AT_ONCE = 512;

/** A copy of the directory in `folder`; `docs` documents, each written `perDoc` times, one change a commit. */
export async function preparedDb(folder, { docs, perDoc }) {
  const kept = path.join(CACHE, `db-${FORMAT}-${docs}-${perDoc}`);
  if (!existsSync(kept)) {
    process.stderr.write(`  making a db of ${docs} documents and ${docs * perDoc} commits (once)\n`);
    const half = `${kept}.${process.pid}`;
    mkdirSync(half, { recursive: true });
    await make(half, docs, perDoc);
    renameSync(half, kept);
  }
  cpSync(kept, folder, { recursive: true });
}

async function make(dir, docs, perDoc) {
  // Documents share the bytes of their changes: nothing here depends on their being different.
  const lists = await smallChanges({ docs: Math.min(docs, 64), changes: perDoc });
  const engine = new Engine({ dir });
  try {
    await engine.create("bench");
    await engine.use("bench", async (db) => {
      let due = [];
      const flush = async () => {
        await Promise.all(due.map((request) => db.tx(request)));
        due = [];
      };
      for (let i = 0; i < perDoc; i += 1) {
        for (let d = 0; d < docs; d += 1) {
          const changes = [lists[d % lists.length][i].bytes];
          due.push({ author: "bench", writes: [{ doc: `things/t${String(d).padStart(6, "0")}`, changes }] });
          // Two commits of one document must come in their order, which they do: a group keeps it.
          if (due.length === AT_ONCE) await flush();
        }
      }
      await flush();
      await db.projection.catchUp();
    });
  } finally {
    await engine.close();
  }
}

/** Where the records of the db are. */
export async function logFile(dir) {
  const { readdirSync } = await import("node:fs");
  const [folder] = readdirSync(path.join(dir, "dbs"));
  return path.join(dir, "dbs", folder, "log.sqlite");
}
