import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import path from "node:path";
import { importArchive } from "../../dist/archive/archive-import.js";
import { CarReader } from "../../dist/archive/car.js";
import { historyParts } from "../../dist/archive/history-export.js";
import { Engine } from "../../dist/db/engine.js";
import { blake3 } from "../../dist/ids/hash.js";
import { readChange } from "../../dist/log/change.js";
import { plainChange } from "../support/plain-change.mjs";
import { row } from "./figures.mjs";
import { ratioRow } from "./library.mjs";

const DOCS = 64;
const PIECE = 64 * 1024;

/**
 * A history out of a db and into one, beside hashing the same blocks with the same blake3, copying them into pieces and
 * writing those. Processor time of the process, in MB a second: the disk is the same for both.
 */
export async function run({ dir, quick, scale = 1 }) {
  const rounds = quick ? 2 : 5;
  const rows = [];
  const sizes = [
    { what: "changes of 130 bytes", pad: 130, commits: 30_000 },
    { what: "changes of 16 KB", pad: 16_000, commits: 6_000 },
  ];
  for (const { what, pad, commits } of sizes) {
    const folder = path.join(dir, `archive-${pad}`);
    mkdirSync(folder, { recursive: true });
    const engine = new Engine({ dir: path.join(folder, "skald"), onError: () => {} });
    try {
      await fill(engine, Math.round(commits * scale * (quick ? 0.2 : 1)), pad);
      const rates = { export: [], import: [], plain: [] };
      let peak = 0;
      const file = path.join(folder, "x.car");
      for (let round = 0; round <= rounds; round += 1) {
        const take = (name, rate) => round > 0 && rates[name].push(rate);
        take("export", await exported(engine, file));
        const bytes = readFileSync(file);
        take("plain", plain(bytes, path.join(folder, "plain")));
        const before = process.memoryUsage().rss;
        take("import", await imported(engine, bytes, `copy-${round}`));
        peak = Math.max(peak, process.memoryUsage().rss - before);
        await engine.delete(`copy-${round}`);
      }
      const { length } = readFileSync(file);
      const note = `${(length / 1e6).toFixed(0)} MB, ${rounds} rounds, processor time`;
      for (const way of ["export", "import"])
        rows.push(
          ratioRow({
            work: `archive ${way}, ${what}`,
            ours: rates[way],
            theirs: rates.plain,
            against: "hashing, copying and writing the same bytes",
            reach: "≥ 0.5",
            unit: "MB/s",
            note,
          }),
        );
      rows.push(
        row({
          work: `archive import, ${what}: growth of resident memory`,
          ours: peak / 1e6,
          unit: "MB",
          note,
        }),
      );
    } finally {
      await engine.close();
    }
  }
  return rows;
}

async function fill(engine, commits, pad) {
  await engine.create("bench");
  await engine.use("bench", async (db) => {
    const docs = Array.from({ length: DOCS }, (_, i) => ({ doc: `bench/d${i}`, deps: [], seq: 0 }));
    let due = [];
    for (let n = 0; n < commits; n += 1) {
      const one = docs[n % DOCS];
      one.seq += 1;
      const actor = (n % DOCS).toString(16).padStart(32, "a");
      const bytes = plainChange({ deps: one.deps, actor, seq: one.seq, startOp: one.seq, key: "k", pad });
      const change = readChange(bytes);
      one.deps = [change.hash];
      due.push(db.log.write({ author: "a", clientTxId: "", writes: [{ doc: one.doc, changes: [change] }] }));
      if (due.length === 500) {
        await Promise.all(due);
        due = [];
      }
    }
    await Promise.all(due);
    // What follows the log on other threads would be counted with what is measured.
    await db.projection.catchUp();
    await db.resting();
  });
}

/** Megabytes a second of processor time. */
function rate(bytes, began) {
  const { user, system } = process.cpuUsage(began);
  return bytes / (user + system);
}

async function exported(engine, file) {
  const use = (work) => engine.use("bench", work);
  const point = await use(({ log }) => ({ seq: log.head().seq, commit: log.head().cid }));
  const fd = openSync(file, "w");
  const began = process.cpuUsage();
  let bytes = 0;
  for await (const part of historyParts(use, point)) {
    writeSync(fd, part.bytes);
    bytes += part.bytes.length;
  }
  fsyncSync(fd);
  const found = rate(bytes, began);
  closeSync(fd);
  return found;
}

function plain(bytes, file) {
  const blocks = [...new CarReader().push(bytes)].map(({ cid, data }) => [cid, data]);
  const fd = openSync(file, "w");
  const piece = Buffer.allocUnsafe(1024 * 1024);
  const began = process.cpuUsage();
  let at = 0;
  for (const [cid, data] of blocks) {
    blake3(data);
    if (at + cid.length + data.length > piece.length) {
      writeSync(fd, piece, 0, at);
      at = 0;
    }
    piece.set(cid, at);
    piece.set(data, at + cid.length);
    at += cid.length + data.length;
  }
  writeSync(fd, piece, 0, at);
  fsyncSync(fd);
  const found = rate(bytes.length, began);
  closeSync(fd);
  return found;
}

async function imported(engine, bytes, db) {
  const pieces = (async function* () {
    for (let at = 0; at < bytes.length; at += PIECE) yield bytes.subarray(at, at + PIECE);
  })();
  const began = process.cpuUsage();
  await importArchive(engine, pieces, { author: "a", db });
  return rate(bytes.length, began);
}
