// Runs in child processes of the fault tests, from the compiled engine: writes to a db and says on stdout
// what was acknowledged, one JSON line each. Commands come as JSON in the first argument.
import { once } from "node:events";
import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { Engine } from "../../dist/db/engine.js";
import { plainChange, sha256 } from "./plain-change.mjs";

const options = JSON.parse(process.argv[2]);
const say = (message) => writeSync(1, `${JSON.stringify(message)}\n`);

/** A small seeded generator (mulberry32): a failing run can be had again. */
let seed = options.seed ?? 1;
function random() {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}

// Starting takes longer than a cycle of the tests, so the next process starts while one is being killed.
if (options.warm) await once(process.stdin, "data");

const failures = [];
const engine = new Engine({
  dir: options.dir,
  reserve: options.reserve ?? 0,
  documents: { workers: 1 },
  onError: (error) => failures.push(String(error?.code ?? error)),
});
if (options.create !== false) await engine.create("faults");
let held;
try {
  held = engine.hold("faults");
} catch (error) {
  say({ refused: error.code, message: error.message });
  process.exit(3);
}
const { log } = held.db;
say({ ready: true, seq: log.head().seq });

let next = 0;
const seqs = new Map();

/** Writes one change to a document of its own writer; says what came of it. */
async function write(doc, pad = 0) {
  const actor = sha256(`${options.seed} ${doc} ${process.pid}`).subarray(0, 16).toString("hex");
  const state = log.state(doc);
  const heads = state ? [...state.heads.keys()] : [held.db.genesis(doc).hash];
  const seq = (seqs.get(actor) ?? 0) + 1;
  const bytes = plainChange({
    deps: heads,
    actor,
    seq,
    startOp: (state?.maxOp ?? 0) + 1,
    key: `k${Math.floor(random() * 40)}`,
    value: Math.floor(random() * 64),
    pad,
  });
  const clientTxId = `${process.pid}-${options.seed ?? 0}-${next++}`;
  try {
    const receipt = await held.db.tx({ author: "writer", clientTxId, writes: [{ doc, changes: [bytes] }] });
    seqs.set(actor, seq);
    say({ seq: receipt.seq, commit: receipt.commit });
    return receipt;
  } catch (error) {
    say({ failed: error.code ?? String(error), id: clientTxId });
    return undefined;
  }
}

const commands = {
  /** Eight writers at once, a tidying now and then, until killed or through. */
  async storm({ writes }) {
    const writer = async (doc) => {
      for (let i = 0; i < writes; i += 1) {
        await write(doc, random() < 0.1 ? Math.floor(random() * 5000) : 0);
        if (random() < 0.04) log.tidy();
      }
    };
    await Promise.all(Array.from({ length: 8 }, (_, i) => writer(`notes/${i}`)));
    say({ through: true });
    await new Promise(() => {
      setInterval(() => {}, 1000);
    });
  },
  async write({ count = 1, pad = 0, doc = "notes/0" }) {
    for (let i = 0; i < count; i += 1) await write(doc, pad);
  },
  read() {
    const counts = log.counts();
    const listed = log.list("", "", 1000).length;
    const commits = log.commits(1, 100_000).length;
    say({ counts, listed, commits, seq: log.head().seq });
  },
  tidy() {
    try {
      log.tidy();
      say({ tidied: true });
    } catch (error) {
      say({ failed: error.code ?? String(error) });
    }
  },
  async close() {
    held.release();
    try {
      await engine.close();
      say({ closed: true, failures });
    } catch (error) {
      say({ closed: false, code: error.code, failures });
    }
  },
  exit({ code = 0 }) {
    process.exit(code);
  },
};

async function run(command) {
  await commands[command.do](command);
  say({ done: command.do });
}

for (const command of options.commands ?? []) await run(command);
if (options.listen) {
  for await (const line of createInterface({ input: process.stdin })) await run(JSON.parse(line));
}
