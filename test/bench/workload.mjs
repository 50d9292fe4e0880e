import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import * as A from "@automerge/automerge";

/**
 * Automerge changes made outside the clock. Making them costs more than anything that is measured
 * with them, so they are kept in the system's temporary directory under a name that says all their
 * parameters. They do not build on a document's genesis, which differs from db to db.
 */
const FORMAT = 2;
const CACHE = path.join(tmpdir(), "skald-bench-cache");

/** Changes with their hashes: `{bytes, hash}` each. */
function pack(lists, extra) {
  const head = Buffer.from(JSON.stringify({ counts: lists.map((list) => list.length), extra }));
  const parts = [u32(head.length), head];
  for (const { bytes, hash } of lists.flat()) parts.push(u32(bytes.length), Buffer.from(hash, "hex"), bytes);
  return Buffer.concat(parts);
}

function unpack(buffer) {
  const size = buffer.readUInt32LE(0);
  const { counts, extra } = JSON.parse(buffer.toString("utf8", 4, 4 + size));
  let at = 4 + size;
  const lists = counts.map((count) =>
    Array.from({ length: count }, () => {
      const length = buffer.readUInt32LE(at);
      const hash = buffer.toString("hex", at + 4, at + 36);
      const bytes = new Uint8Array(buffer.buffer, buffer.byteOffset + at + 36, length);
      at += 36 + length;
      return { bytes, hash };
    }),
  );
  return { lists, extra };
}

function u32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

async function cached(name, parameters, make) {
  const key = createHash("sha256")
    .update(JSON.stringify([FORMAT, name, parameters]))
    .digest("hex");
  const file = path.join(CACHE, `${name}-${key.slice(0, 16)}.bin`);
  if (existsSync(file)) return unpack(readFileSync(file));
  process.stderr.write(`  making the changes of ${name} (once)\n`);
  const made = await make();
  mkdirSync(CACHE, { recursive: true });
  writeFileSync(`${file}.${process.pid}`, pack(made.lists, made.extra));
  renameSync(`${file}.${process.pid}`, file);
  return made;
}

function actorOf(number) {
  return createHash("sha256").update(`actor ${number}`).digest("hex").slice(0, 32);
}

function lastChange(doc) {
  const bytes = A.getLastLocalChange(doc);
  return { bytes, hash: A.decodeChange(bytes).hash };
}

/** `docs` documents of `changes` one-key changes each, as a form being edited makes them. */
export async function smallChanges({ docs, changes }) {
  const { lists } = await cached("small", { docs, changes }, () => ({
    lists: Array.from({ length: docs }, (_, d) => {
      let doc = A.init({ actor: actorOf(d) });
      return Array.from({ length: changes }, (_, c) => {
        doc = A.change(doc, { time: 1700000000 + c }, (draft) => {
          draft[`field${c % 20}`] = `value ${c} of document ${d}`;
        });
        return lastChange(doc);
      });
    }),
  }));
  return lists;
}

/**
 * A trace of typing with the text it ends with: `{txns: [{patches, parents?, agent?}], endContent}`.
 * A name that starts with "synthetic" needs no data; its shape is that of a paper being written:
 * runs of typing, some of them deleted again, the place moving now and then.
 */
export async function readTrace(name, dataDir) {
  if (name.startsWith("synthetic")) return synthesise(Number(name.split("-")[1]));
  const { gunzipSync } = await import("node:zlib");
  const file = path.join(dataDir, "traces", `${name}.json.gz`);
  return JSON.parse(gunzipSync(readFileSync(file)).toString("utf8"));
}

export function hasTrace(name, dataDir) {
  return dataDir !== undefined && existsSync(path.join(dataDir, "traces", `${name}.json.gz`));
}

function synthesise(length) {
  let state = 42;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const letters = "etaoin shrdlu cmfwyp vbgkqj xz.,\n";
  const txns = [];
  const text = [];
  let at = 0;
  while (txns.length < length) {
    if (random() < 0.02) at = Math.floor(random() * (text.length + 1));
    const run = 1 + Math.floor(random() * 40);
    const erase = random() < 0.28;
    for (let i = 0; i < run && txns.length < length; i += 1) {
      if (erase && at > 0) {
        at -= 1;
        text.splice(at, 1);
        txns.push({ patches: [[at, 1, ""]] });
      } else {
        const letter = letters[Math.floor(random() ** 2 * letters.length)];
        text.splice(at, 0, letter);
        txns.push({ patches: [[at, 0, letter]] });
        at += 1;
      }
    }
  }
  return { txns, endContent: text.join("") };
}

/**
 * The changes of a trace, one for each of its transactions behind a first one that makes `{text: ""}`,
 * in an order in which every change comes after those it builds on. `points`: ten of them with the
 * text that a reader of everything up to there must see.
 */
export async function traceChanges({ name, dataDir, limit }) {
  const parameters = { name, limit: limit ?? 0 };
  const { lists, extra } = await cached(`trace-${name}`, parameters, async () => {
    const trace = await readTrace(name, dataDir);
    const txns = limit ? trace.txns.slice(0, limit) : trace.txns;
    return txns[0].parents ? authorGraph(txns, trace) : authorLine(txns, trace);
  });
  return { changes: lists[0], ...extra };
}

function authorLine(txns, trace) {
  let doc = A.change(A.init({ actor: actorOf("typing") }), { time: 0 }, (draft) => {
    draft.text = "";
  });
  const changes = [lastChange(doc)];
  const wanted = pointsOf(txns.length);
  const wide = isWide(txns);
  const points = [];
  txns.forEach(({ patches }, i) => {
    doc = A.change(doc, { time: 0 }, (draft) => applyPatches(draft, patches, wide));
    changes.push(lastChange(doc));
    if (wanted.has(i)) points.push({ index: changes.length - 1, text: doc.text });
  });
  return {
    lists: [changes],
    extra: {
      linear: true,
      points,
      text: doc.text,
      reachesEnd: txns.length < trace.txns.length || doc.text === trace.endContent,
      saved: A.save(doc).length,
    },
  };
}

/** Two writers: each has its own copy and takes over from the other what a transaction's parents say. */
function authorGraph(txns, trace) {
  const first = A.change(A.init({ actor: actorOf("typing") }), { time: 0 }, (draft) => {
    draft.text = "";
  });
  const root = lastChange(first);
  const changes = [root];
  const agents = new Map();
  let all = A.clone(first, { actor: actorOf("reader") });
  const wanted = pointsOf(txns.length);
  const wide = isWide(txns);
  const points = [];
  let pending = [];
  const flush = () => {
    if (pending.length > 0) [all] = A.applyChanges(all, pending);
    pending = [];
  };
  txns.forEach(({ patches, parents, agent }, i) => {
    if (!agents.has(agent)) {
      agents.set(agent, { doc: A.clone(first, { actor: actorOf(`agent ${agent}`) }), known: new Set() });
    }
    const copy = agents.get(agent);
    const missed = [];
    const stack = [...parents];
    while (stack.length > 0) {
      const index = stack.pop();
      if (copy.known.has(index)) continue;
      copy.known.add(index);
      missed.push(index);
      stack.push(...txns[index].parents);
    }
    if (missed.length > 0) {
      missed.sort((a, b) => a - b);
      [copy.doc] = A.applyChanges(
        copy.doc,
        missed.map((index) => changes[index + 1].bytes),
      );
    }
    const heads = A.getHeads(copy.doc).toSorted();
    const named = (
      parents.length === 0 ? [root.hash] : parents.map((index) => changes[index + 1].hash)
    ).toSorted();
    if (heads.join() !== named.join()) throw new Error(`transaction ${i} does not stand on its parents`);
    copy.doc = A.change(copy.doc, { time: 0 }, (draft) => applyPatches(draft, patches, wide));
    copy.known.add(i);
    changes.push(lastChange(copy.doc));
    pending.push(changes.at(-1).bytes);
    if (wanted.has(i)) {
      flush();
      points.push({ index: changes.length - 1, text: all.text });
    }
  });
  flush();
  return {
    lists: [changes],
    extra: {
      linear: false,
      points,
      text: all.text,
      reachesEnd: txns.length < trace.txns.length || all.text === trace.endContent,
      saved: A.save(all).length,
    },
  };
}

/** Ten places, spread evenly but for a little: a place in the middle of things, not always a round one. */
function pointsOf(count) {
  return new Set(Array.from({ length: 10 }, (_, i) => Math.floor(((i + 0.37) / 10) * count)));
}

/**
 * Positions in a trace count code points, Automerge's JavaScript text counts UTF-16 units: the same
 * until the first character beyond the basic plane. Looking at the text costs more than the change,
 * so it is done only for traces that have one.
 */
function applyPatches(draft, patches, wide) {
  for (const [at, deleted, inserted] of patches) {
    const text = wide ? draft.text : undefined;
    const start = wide ? utf16(text, at) : at;
    const length = wide ? utf16(text, at + deleted) - start : deleted;
    A.splice(draft, ["text"], start, length, inserted);
  }
}

function utf16(text, codePoints) {
  let units = 0;
  for (let i = 0; i < codePoints; i += 1) units += text.codePointAt(units) > 0xffff ? 2 : 1;
  return units;
}

function isWide(txns) {
  return txns.some(({ patches }) =>
    patches.some(([, , inserted]) => /[\u{10000}-\u{10FFFF}]/u.test(inserted)),
  );
}
