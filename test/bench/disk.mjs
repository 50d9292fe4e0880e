import { readdirSync, statSync } from "node:fs";
import path from "node:path";
import { Engine } from "../../dist/db/engine.js";
import { blake3 } from "../../dist/ids/hash.js";
import { cidDigest } from "../../dist/ids/cid.js";
import * as A from "@automerge/automerge";
import { equality, missing, row } from "./figures.mjs";
import { DB, DOC, ensureTypingDb, typing, typingFolder } from "./typing-db.mjs";

/** Bytes that a long history takes on disk, beside what `Automerge.save` makes of it. */
export async function run(context) {
  const { changes, source } = await typing(context);
  await ensureTypingDb(context, changes);
  const dir = path.join(typingFolder(context), "skald");
  const rows = [];
  const engine = new Engine({ dir });
  let addresses;
  let saved;
  let compacted = false;
  try {
    addresses = await engine.use(DB, async (db) => {
      saved = A.save(A.load((await db.save(DOC)).bytes)).length;
      return sampleAddresses(db);
    });
    await engine.use(DB, async (db) => {
      db.log.tidy();
      rows.push(...sizes(engine, saved, "before compaction", source, undefined));
      if (typeof db.compact !== "function") return;
      await db.projection.catchUp();
      await db.keepSaved(DOC);
      await db.compact();
      compacted = true;
    });
  } finally {
    await engine.close();
  }
  if (!compacted) {
    return [
      ...rows,
      missing("bytes on disk after compaction ÷ Automerge.save", "not built: db.compact() is not there"),
    ];
  }
  const again = new Engine({ dir });
  try {
    await again.use(DB, async (db) => {
      rows.push(...sizes(again, saved, "after compaction", source, "≤ 3"));
      const found = [];
      const started = performance.now();
      for (const cid of addresses) {
        await db.log.locate(cid);
        const block = db.log.block(cid);
        if (block && Buffer.compare(Buffer.from(blake3(block)), Buffer.from(cidDigest(cid))) === 0)
          found.push(cid);
      }
      const each = Math.round((performance.now() - started) / addresses.length);
      const note = `${found.length} of ${addresses.length} resolve to bytes with that hash, ${each} ms each`;
      rows.push(
        equality("addresses still resolve after compaction", found.length === addresses.length, note),
      );
    });
  } finally {
    await again.close();
  }
  return rows;
}

function sampleAddresses(db) {
  const last = db.log.head().seq;
  const addresses = [];
  for (let i = 0; i < 10; i += 1) {
    const { cid, commit } = db.log.commit(1 + Math.floor(((i + 0.5) / 10) * last));
    addresses.push(cid, commit.entries[0].changes[0]);
  }
  return addresses;
}

function sizes(engine, saved, when, source, reach) {
  const files = listFiles(engine.folderOf(DB));
  const of = (test) => files.filter(({ name }) => test(name)).reduce((sum, { bytes }) => sum + bytes, 0);
  const note = files.map(({ name, bytes }) => `${name} ${(bytes / 1e6).toFixed(1)} MB`).join(", ");
  const line = (work, ours, limit) =>
    row({
      work,
      ours,
      theirs: saved,
      against: "Automerge.save",
      reach: limit,
      unit: "bytes",
      note: `${note}; ${source}`,
    });
  return [
    line(
      `bytes on disk ${when}, everything`,
      of(() => true),
      reach,
    ),
    line(
      `bytes on disk ${when}, the log alone`,
      of((name) => name.startsWith("log.")),
      undefined,
    ),
  ];
}

function listFiles(folder) {
  return readdirSync(folder, { recursive: true })
    .map((name) => ({ name: String(name), stat: statSync(path.join(folder, String(name))) }))
    .filter(({ stat, name }) => stat.isFile() && !name.endsWith("-shm"))
    .map(({ name, stat }) => ({ name, bytes: stat.size }));
}
