import { existsSync, mkdirSync } from "node:fs";
import { get } from "node:http";
import path from "node:path";
import { StringDecoder } from "node:string_decoder";
import { fileURLToPath } from "node:url";
import { startClients } from "./drive.mjs";
import { median, missing, row } from "./figures.mjs";
import { ratioRow } from "./library.mjs";
import { NOT_INSTALLED } from "./live-servers.mjs";
import { logFile, preparedDb } from "./prepared-db.mjs";
import { quiet, startProgram, startSkald } from "./processes.mjs";
import { Wire, httpRequest } from "./wire.mjs";

const PEERS = fileURLToPath(new URL("peers/", import.meta.url));
const DOCS = 64;
/** What a consumer of ours and of PouchDB's asks for at a time. */
const PAGE = 1000;
const FORMS = ["none", "changes"].flatMap((include) => [
  { include, how: `pages of ${PAGE}`, type: "application/json" },
  { include, how: "JSON lines", type: "application/x-ndjson" },
  { include, how: "CBOR sequence", type: "application/cbor-seq" },
]);

/**
 * One consumer reads all commits of a db, beside reading the same rows from the file and beside PouchDB's
 * `_changes`. Each side's consumer takes the answers apart.
 */
export async function run({ dir, quick, profile, scale = 1 }) {
  const perDoc = Math.max(1, Math.round(((quick ? 4_000 : 100_000) * scale) / DOCS));
  const rounds = quick ? 2 : 5;
  const folder = path.join(dir, "feed");
  mkdirSync(folder, { recursive: true });
  await preparedDb(path.join(folder, "skald"), { docs: DOCS, perDoc });
  const file = await logFile(path.join(folder, "skald"));
  const commits = DOCS * perDoc;
  const closing = [];
  try {
    const skald = await startSkald({ dir: path.join(folder, "skald"), profile });
    closing.push(() => skald.stop());
    const raw = await startClients("raw-rows.mjs");
    closing.push(() => raw.stop());
    const wire = await Wire.open(skald.port);
    closing.push(() => wire.close());
    const pouch = existsSync(path.join(PEERS, "node_modules"))
      ? await pouchChanges(path.join(folder, "pouchdb"), quick ? 2_000 : 20_000, closing)
      : undefined;
    await quiet(skald);
    const rates = new Map();
    for (let round = 0; round <= rounds; round += 1) {
      const take = (name, rate) => round > 0 && rates.set(name, [...(rates.get(name) ?? []), rate]);
      const read = await raw.call("read", { file });
      take("raw", (read.rows / read.ms) * 1000);
      for (const form of FORMS) {
        const read = form.type === "application/json" ? readPages : readStream;
        take(form, await read({ wire, skald, commits, ...form }));
      }
      if (pouch) take("pouch", await pouch());
    }
    return FORMS.flatMap((form) => {
      const work = `feed of ${commits} commits, one consumer, include=${form.include}, ${form.how}`;
      const note = `${rounds} rounds`;
      const unit = "commits/s";
      const ours = rates.get(form);
      return [
        ratioRow({
          work,
          ours,
          theirs: rates.get("raw"),
          against: "the same rows from SQLite",
          reach: form.include === "none" ? "≥ 0.5" : undefined,
          note,
          unit,
        }),
        pouch
          ? ratioRow({
              work,
              ours,
              theirs: rates.get("pouch"),
              against: "PouchDB's _changes",
              reach: "≥ 20",
              note,
              unit,
            })
          : row({ work, ours: median(ours), unit, note }),
      ];
    }).concat(pouch ? [] : [missing("PouchDB's _changes", NOT_INSTALLED)]);
  } finally {
    for (const close of closing.toReversed()) await close();
  }
}

async function readPages({ wire, skald, include, commits }) {
  const from = performance.now();
  let seen = 0;
  for (let since = "0"; ;) {
    const { status, body } = await wire.request(
      httpRequest({
        path: `/api/v1/db/bench/changes?since=${since}&limit=${PAGE}&include=${include}`,
        token: skald.token,
      }),
    );
    const page = JSON.parse(body.toString("utf8"));
    if (status !== 200) throw new Error(`changes: ${status} ${page.detail}`);
    if (page.events.length === 0) break;
    seen += page.events.length;
    since = page.cursor;
  }
  return rateOf(seen, commits, from);
}

function readStream({ skald, include, type, commits }) {
  return new Promise((resolve, reject) => {
    const from = performance.now();
    const path = `/api/v1/db/bench/changes?since=0&include=${include}`;
    const headers = { authorization: `Bearer ${skald.token}`, accept: type };
    get({ port: skald.port, host: "127.0.0.1", path, headers, agent: false }, (answer) => {
      const take = type === "application/cbor-seq" ? cborItems() : jsonLines();
      let seen = 0;
      answer.on("data", (piece) => (seen += take(piece)));
      answer.on("error", reject);
      answer.on("end", () => {
        try {
          if (answer.statusCode !== 200) throw new Error(`changes: ${answer.statusCode}`);
          // The last item says how far it got.
          resolve(rateOf(seen - 1, commits, from));
        } catch (error) {
          reject(error);
        }
      });
    }).on("error", reject);
  });
}

function rateOf(seen, commits, from) {
  if (seen !== commits) throw new Error(`the feed gave ${seen} of ${commits} commits`);
  return (seen / (performance.now() - from)) * 1000;
}

function jsonLines() {
  const decoder = new StringDecoder("utf8");
  let left = "";
  return (piece) => {
    const lines = (left + decoder.write(piece)).split("\n");
    left = lines.pop();
    let seen = 0;
    for (const line of lines) if (line !== "" && JSON.parse(line)) seen += 1;
    return seen;
  };
}

/** Whole items only; the rest waits for the next piece. */
function cborItems() {
  let left = Buffer.alloc(0);
  return (piece) => {
    const bytes = left.length === 0 ? piece : Buffer.concat([left, piece]);
    let seen = 0;
    let at = 0;
    for (; at < bytes.length; seen += 1) {
      const next = skip(bytes, at);
      if (!(next <= bytes.length)) break;
      at = next;
    }
    left = bytes.subarray(at);
    return seen;
  };
}

/** Where the item that begins at `start` ends; beyond the bytes when they end before it. */
function skip(bytes, start) {
  if (start >= bytes.length) return Infinity;
  let at = start + 1;
  const kind = bytes[start] >> 5;
  const info = bytes[start] & 31;
  let count = info;
  if (info >= 24) {
    const size = 1 << (info - 24);
    if (at + size > bytes.length) return Infinity;
    count = size === 8 ? Number(bytes.readBigUInt64BE(at)) : bytes.readUIntBE(at, size);
    at += size;
  }
  if (kind === 2 || kind === 3) return at + count;
  if (kind < 2 || kind === 7) return at;
  for (let left = kind === 4 ? count : kind === 5 ? 2 * count : 1; left > 0; left -= 1) at = skip(bytes, at);
  return at;
}

/** Fills a db of PouchDB's server; gives a function that reads all its changes and says how many a second. */
async function pouchChanges(dir, docs, closing) {
  mkdirSync(dir, { recursive: true });
  const program = await startProgram([path.join(PEERS, "pouchdb-server.mjs"), path.join(dir, "data")], {
    ready: /listening (\d+)/,
    cwd: dir,
  });
  closing.push(() => program.stop());
  const wire = await Wire.open(Number(program.match[1]));
  closing.push(() => wire.close());
  const ask = async (request) => {
    const { status, body } = await wire.request(httpRequest(request));
    if (status > 299) throw new Error(`${request.method ?? "GET"} ${request.path}: ${status} ${body}`);
    return JSON.parse(body.toString("utf8"));
  };
  await ask({ method: "PUT", path: "/bench" });
  for (let from = 0; from < docs; from += PAGE) {
    const batch = Array.from({ length: Math.min(PAGE, docs - from) }, (_, i) => ({
      _id: `t${from + i}`,
      title: `Document ${from + i}`,
      state: "open",
    }));
    await ask({ method: "POST", path: "/bench/_bulk_docs", body: JSON.stringify({ docs: batch }) });
  }
  return async () => {
    const started = performance.now();
    let seen = 0;
    for (let since = 0; ;) {
      const page = await ask({ path: `/bench/_changes?since=${since}&limit=${PAGE}` });
      if (page.results.length === 0) break;
      seen += page.results.length;
      since = page.last_seq;
    }
    if (seen !== docs) throw new Error(`PouchDB gave ${seen} of ${docs} changes`);
    return (seen / (performance.now() - started)) * 1000;
  };
}
