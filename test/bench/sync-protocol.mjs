// Processor time of the sync protocol's parts, without sockets: `node test/bench/sync-protocol.mjs`.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Engine } from "../../dist/db/engine.js";
import { Log } from "../../dist/log/log.js";
import { readChange } from "../../dist/log/change.js";
import { openSqliteCatalog } from "../../dist/store/sqlite-catalog.js";
import { createSqliteLog } from "../../dist/store/sqlite-log.js";
import { BloomFilter } from "../../dist/sync/bloom.js";
import { DocumentSync } from "../../dist/sync/document-sync.js";
import { Histories, historiesOf } from "../../dist/sync/histories.js";
import { decodeSyncMessage, encodeSyncMessage } from "../../dist/sync/sync-message.js";
import { setChange } from "../support/plain-change.mjs";

const dir = mkdtempSync(path.join(tmpdir(), "sync-bench-"));
// On a busy machine a large document may take longer than a server allows.
const engine = new Engine({ dir, documents: { deadlineMs: 300_000 } });
await engine.create("bench");
const held = engine.hold("bench");
const { db } = held;
const histories = historiesOf(db);
const CAPABILITIES = new Uint8Array([2, 0x84]);
const message = (parts) =>
  encodeSyncMessage({
    version: 2,
    heads: [],
    need: [],
    have: [],
    parts: [],
    capabilities: CAPABILITIES,
    ...parts,
  });

let actors = 0;
/** Changes one after the other by one actor. */
function line(count, after = [], startOp = 1) {
  const actor = (actors += 1).toString(16).padStart(32, "0");
  const changes = [];
  let deps = after;
  for (let i = 0; i < count; i += 1) {
    const change = readChange(
      setChange({ deps, actor, seq: i + 1, startOp: startOp + i, key: `k${i % 2000}`, value: i % 64 }).bytes,
    );
    changes.push(change);
    deps = [change.hash];
  }
  return changes;
}

async function commit(doc, changes, batch = 500) {
  for (let i = 0; i < changes.length; i += batch) {
    const some = changes.slice(i, i + batch);
    const receipt = await db.log.write({ author: "bench", clientTxId: "", writes: [{ doc, changes: some }] });
    histories.took(doc, receipt.seq, some, receipt.heads[doc]);
  }
}

/** Processor time in ms, elapsed ms, and the longest that the thread was busy in one go. */
async function measured(work) {
  let longest = 0;
  let last = performance.now();
  let on = true;
  const tick = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (on) setImmediate(tick);
  };
  setImmediate(tick);
  const began = process.cpuUsage();
  const at = performance.now();
  const result = await work();
  const { user, system } = process.cpuUsage(began);
  on = false;
  return { cpu: (user + system) / 1000, ms: performance.now() - at, longest, result };
}
const show = (what, { cpu, ms, longest }, more = "") =>
  console.log(
    `${what.padEnd(58)} ${cpu.toFixed(1)} ms cpu, ${ms.toFixed(0)} ms, longest ${longest.toFixed(1)} ms ${more}`,
  );

/** Processor time of this process in µs; nothing else runs beside these two: a log without workers. */
const cpu = () => {
  const { user, system } = process.cpuUsage();
  return user + system;
};
const plain = path.join(dir, "plain");
const storage = createSqliteLog(plain, "plain");
const log = new Log(storage, openSqliteCatalog(plain));
const alone = new Histories({ log, kept: () => undefined, save: () => {}, split: () => {} });
const write = async (doc, changes) => {
  const receipt = await log.write({ author: "bench", clientTxId: "", writes: [{ doc, changes }] });
  alone.took(doc, receipt.seq, changes, receipt.heads[doc]);
};

// One change a message: 64 documents at once, so that commits share their appends as they do under load.
{
  const DOCS = 64;
  const times = { log: [], both: [] };
  for (let round = 0; round < 6; round += 1) {
    const size = 80;
    const make = (tag) => {
      const docs = Array.from({ length: DOCS }, (_, d) => `automerge/m${tag}${round}.${d}`);
      return { docs, lines: docs.map(() => line(size)) };
    };
    const a = make("a");
    let began = cpu();
    for (let i = 0; i < size; i += 1) {
      await Promise.all(
        a.docs.map((doc, d) =>
          log.write({ author: "bench", clientTxId: "", writes: [{ doc, changes: [a.lines[d][i]] }] }),
        ),
      );
    }
    times.log.push((cpu() - began) / DOCS / size);
    const b = make("b");
    const syncs = b.docs.map(() => new DocumentSync());
    const messages = b.lines.map((changes) =>
      changes.map((change, i) => {
        const lastSync = i === 0 ? [] : [changes[i - 1].hash];
        const bloom = i === 0 ? new Uint8Array(0) : BloomFilter.of([change.hash]).encode();
        return message({ heads: [change.hash], have: [{ lastSync, bloom }], parts: [change.bytes] });
      }),
    );
    began = cpu();
    for (let i = 0; i < size; i += 1) {
      await Promise.all(
        b.docs.map(async (doc, d) => {
          const { changes } = await syncs[d].receive(messages[d][i], alone.of(doc));
          await write(doc, changes);
          if (!(await syncs[d].generate(alone.of(doc)))) throw new Error("no answer");
        }),
      );
    }
    times.both.push((cpu() - began) / DOCS / size);
  }
  const middle = (list) => list.toSorted((x, y) => x - y)[Math.floor(list.length / 2)];
  const [without, all] = [middle(times.log), middle(times.both)];
  console.log(
    `one change durable: ${all.toFixed(1)} µs of cpu, the log alone ${without.toFixed(1)}, so the protocol ${(all - without).toFixed(1)}`,
  );
}

// One change to many peers.
{
  const doc = "automerge/many";
  const changes = line(300);
  await write(doc, changes.slice(0, 1));
  const peers = Array.from({ length: 100 }, () => new DocumentSync());
  for (const peer of peers) {
    await peer.receive(message({ heads: [changes[0].hash] }), alone.of(doc));
    await peer.generate(alone.of(doc));
  }
  let spent = 0;
  for (let i = 1; i < changes.length; i += 1) {
    await write(doc, [changes[i]]);
    const began = cpu();
    for (const peer of peers) if (!(await peer.generate(alone.of(doc)))) throw new Error("nothing to say");
    spent += cpu() - began;
  }
  console.log(`one change to each of 100 peers: ${(spent / 299 / 100).toFixed(2)} µs of cpu a peer`);
}

for (const size of [1000, 100_000]) {
  const doc = `automerge/size${size}`;
  const changes = line(size);
  await commit(doc, changes);
  const heads = [changes.at(-1).hash];
  const label = size.toLocaleString("en");
  const cold = async (what, parts, keep = false) => {
    if (!keep) histories.forget(doc);
    const sync = new DocumentSync();
    const answered = await measured(async () => {
      await sync.receive(message(parts), histories.of(doc));
      return sync.generate(histories.of(doc));
    });
    const { parts: sent } = decodeSyncMessage(answered.result);
    const bytes = sent.reduce((sum, part) => sum + part.length, 0);
    show(`${label} changes: ${what}`, answered, `(${bytes} bytes of changes)`);
    return sync;
  };
  await cold("a peer that has nothing", { have: [{ lastSync: [], bloom: new Uint8Array(0) }] });
  await cold("a second peer that has nothing", { have: [{ lastSync: [], bloom: new Uint8Array(0) }] }, true);
  await cold("a peer that lacks the last 300", { heads: [changes.at(-301).hash] });
  if (size > 10_000) await cold("a peer that lacks the last 10,000", { heads: [changes.at(-10_001).hash] });
  const all = BloomFilter.of(changes.map(({ hash }) => hash)).encode();
  await cold("all and one more, from a state that is new", {
    heads: ["ab".repeat(32)],
    have: [{ lastSync: [], bloom: all }],
  });
  const more = line(size, heads, size + 1);
  const ahead = `automerge/ahead${size}`;
  const sync = new DocumentSync();
  const chunks = [];
  for (let i = 0; i < size; i += 50_000) chunks.push(changes.slice(i, i + 50_000));
  const took = await measured(async () => {
    let count = 0;
    for (const some of chunks) {
      const one = message({ heads, parts: [Buffer.concat(some.map(({ bytes }) => bytes))] });
      count += (await sync.receive(one, histories.of(ahead))).changes.length;
      await commit(ahead, some);
    }
    return count;
  });
  show(`${label} changes: a peer brings them one by one, committed`, took, `(${took.result})`);
  const saved = (await db.save(doc)).bytes;
  if (saved.length < 16_000_000) {
    const other = `automerge/whole${size}`;
    const whole = await measured(() =>
      new DocumentSync().receive(message({ heads, parts: [saved] }), histories.of(other)),
    );
    show(
      `${label} changes: a peer brings them as a saved document`,
      whole,
      `(${whole.result.changes.length})`,
    );
  }
  if (more.length === 0) throw new Error("none");
}
held.release();
await engine.close();
await log.close();
rmSync(dir, { recursive: true, force: true });
