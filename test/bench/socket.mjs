import { mkdirSync } from "node:fs";
import path from "node:path";
import { WebSocket } from "ws";
import { Engine } from "../../dist/db/engine.js";
import { encodeCbor } from "../../dist/ids/cbor.js";
import { missing } from "./figures.mjs";
import { ratioRow } from "./library.mjs";
import { quiet, startSkald } from "./processes.mjs";
import { smallChanges } from "./workload.mjs";

const DOCS = 64;
const WORK = "one binary WebSocket, 64 commits under way";

/**
 * Commits over one WebSocket (subprotocol skald.tx.1) beside the same through the library. Each
 * frame is a CBOR sequence of `{id, writes: [{doc, changes}]}`, each answer one of `{id, seq, …}`
 * or `{id, error}`.
 */
export async function run({ dir, quick, scale = 1 }) {
  const rounds = quick ? 3 : 6;
  const perRound = Math.round((quick ? 24 : 160) * scale);
  const lists = await smallChanges({ docs: DOCS, changes: (rounds + 1) * perRound });
  const folder = path.join(dir, "socket");
  mkdirSync(folder, { recursive: true });
  const skald = await startSkald({ dir: path.join(folder, "server") });
  let engine;
  let socket;
  try {
    await skald.fetch("/db/bench", { method: "PUT" });
    socket = await openSocket(skald);
    if (socket === undefined) return [missing(WORK, "not built: the upgrade is refused")];
    engine = new Engine({ dir: path.join(folder, "library") });
    await engine.create("bench");
    const rates = { ours: [], theirs: [] };
    await engine.use("bench", async (db) => {
      for (let round = 0; round <= rounds; round += 1) {
        const from = round * perRound;
        const theirs = await throughLibrary(db, lists, from, from + perRound);
        await db.projection.catchUp();
        const ours = await throughSocket(socket, lists, from, from + perRound);
        await quiet(skald);
        if (round === 0) continue;
        rates.ours.push(ours);
        rates.theirs.push(theirs);
      }
    });
    const note = `${rounds} rounds of ${DOCS * perRound}`;
    return [ratioRow({ work: WORK, ...rates, against: "library", reach: "≥ 0.8", note })];
  } finally {
    socket?.terminate();
    await engine?.close();
    await skald.stop();
  }
}

function openSocket({ port, token }) {
  return new Promise((resolve) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/api/v1/db/bench/branches/main/tx`, "skald.tx.1", {
      headers: { authorization: `Bearer ${token}` },
      perMessageDeflate: false,
    });
    socket.once("open", () => resolve(socket));
    socket.once("error", () => resolve(undefined));
  });
}

async function throughLibrary(db, lists, from, to) {
  const started = performance.now();
  await Promise.all(
    lists.map(async (list, d) => {
      for (let i = from; i < to; i += 1) {
        await db.tx({ author: "bench", writes: [{ doc: `bench/d${d}`, changes: [list[i].bytes] }] });
      }
    }),
  );
  return ((lists.length * (to - from)) / (performance.now() - started)) * 1000;
}

/** Keeps one commit of each document under way; what is due at one time goes out in one frame. */
function throughSocket(socket, lists, from, to) {
  const frames = lists.map((list, d) =>
    list.slice(from, to).map((change, i) =>
      encodeCbor({
        id: d * 1_000_000 + from + i,
        writes: [{ doc: `bench/d${d}`, changes: [change.bytes] }],
      }),
    ),
  );
  const total = lists.length * (to - from);
  const started = performance.now();
  return new Promise((resolve, reject) => {
    let answered = 0;
    const sent = lists.map(() => 0);
    let due = frames.map((frame, d) => frame[sent[d]++]);
    const flush = () => {
      if (due.length > 0) socket.send(Buffer.concat(due));
      due = [];
    };
    const hear = (data) => {
      for (const { id, error } of readSequence(data)) {
        if (error) return finish(new Error(`${error.code}: ${error.detail}`));
        answered += 1;
        const d = Math.floor(id / 1_000_000);
        const next = frames[d][sent[d]++];
        if (next) due.push(next);
      }
      if (answered === total) return finish();
      flush();
    };
    const finish = (error) => {
      socket.off("message", hear);
      if (error) reject(error);
      else resolve((total / (performance.now() - started)) * 1000);
    };
    socket.on("message", hear);
    flush();
  });
}

/** The maps of a CBOR sequence. Of each only what is looked at is made: numbers, text, maps. */
function* readSequence(buffer) {
  const reader = { buffer, at: 0 };
  while (reader.at < buffer.length) yield readItem(reader);
}

function readItem(reader) {
  const { buffer } = reader;
  const first = buffer[reader.at++];
  const kind = first >> 5;
  const count = readCount(reader, first & 31);
  if (kind === 0) return count;
  if (kind === 1) return -1 - count;
  if (kind === 2 || kind === 3) {
    reader.at += count;
    return kind === 2 ? undefined : buffer.utf8Slice(reader.at - count, reader.at);
  }
  if (kind === 4) return Array.from({ length: count }, () => readItem(reader));
  if (kind === 5) {
    const map = {};
    for (let i = 0; i < count; i += 1) map[readItem(reader)] = readItem(reader);
    return map;
  }
  if (kind === 6) return readItem(reader);
  return undefined;
}

function readCount(reader, info) {
  if (info < 24) return info;
  const size = 1 << (info - 24);
  const at = reader.at;
  reader.at += size;
  if (size === 8) return Number(reader.buffer.readBigUInt64BE(at));
  return reader.buffer.readUIntBE(at, size);
}
