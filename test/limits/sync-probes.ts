import { BloomFilter } from "../../src/sync/bloom.ts";
import { DocumentSync } from "../../src/sync/document-sync.ts";
import { Histories } from "../../src/sync/histories.ts";
import { decodeSyncMessage, encodeSyncMessage, type SyncMessage } from "../../src/sync/sync-message.ts";
import { createLog } from "../log/fixture.ts";
import { concat, frame, uleb } from "../support/change-chunks.ts";
import { tempDir } from "../support/temp-dir.ts";
import { outcomeOf, type ProbeSpec } from "./probe.ts";

const EMPTY: SyncMessage = { version: 2, heads: [], need: [], have: [], parts: [], capabilities: undefined };
const decodes = (message: Partial<SyncMessage>): Promise<string> =>
  outcomeOf(() => decodeSyncMessage(encodeSyncMessage({ ...EMPTY, ...message })));
const hashes = (count: number): string[] => Array<string>(count).fill("ab".repeat(32));
const none = new Uint8Array(0);

let histories: Histories | undefined;
/** A peer's message with changes whose first ones are not here. */
function waits(count: number, bytes: number): Promise<string> {
  histories ??= new Histories({
    log: createLog(tempDir()).log,
    kept: () => undefined,
    save: () => Promise.reject(new Error("nothing is saved")),
    split: () => Promise.reject(new Error("nothing is split")),
  });
  const history = histories.of("automerge/x");
  return outcomeOf(async () => {
    const parts = Array.from({ length: count }, (_, i) => orphan(i, Math.floor(bytes / count)));
    const excess = bytes - parts.reduce((sum, part) => sum + part.length, 0);
    if (bytes > 0) parts[0] = orphan(0, (parts[0] as Uint8Array).length + excess);
    const sync = new DocumentSync();
    // In two messages, since one has as few bytes as may wait.
    const half = Math.ceil(parts.length / 2);
    for (const some of [parts.slice(0, half), parts.slice(half)]) {
      await sync.receive(encodeSyncMessage({ ...EMPTY, parts: some }), history);
    }
  });
}

/** A change on one that nobody has, whose value makes it this many bytes (0 for a small one). */
function orphan(i: number, size: number): Uint8Array {
  const actor = Buffer.from(i.toString(16).padStart(32, "f").slice(-32), "hex");
  actor.writeUInt32BE(i);
  const make = (length: number): Uint8Array => {
    const columns: [number, Uint8Array][] = [
      [0x15, concat([0x7f, 1, 0x61])],
      [0x34, concat([1])],
      [0x42, concat([0x7f, 1])],
      [0x56, concat([0x7f], uleb(length * 16 + 7))],
      [0x57, new Uint8Array(length)],
      [0x70, concat([0x7f, 0])],
    ];
    return frame(
      concat(
        [1],
        new Uint8Array(32).fill(0xcd),
        [16],
        actor,
        // seq, startOp, time, message, other actors
        [1, 1, 0, 0, 0, columns.length],
        ...columns.map(([spec, data]) => concat(uleb(spec), uleb(data.length))),
        ...columns.map(([, data]) => data),
      ),
    );
  };
  let length = Math.max(1, size - 130);
  for (let made = make(length); size > 0 && made.length !== size; made = make(length))
    length += size - made.length;
  return make(length);
}

export const syncMessageProbes: Readonly<Record<string, ProbeSpec>> = {
  messageBytes: {
    cheap: true,
    run: (n) => {
      const message = encodeSyncMessage(EMPTY);
      // What follows the capabilities is ignored, and counts.
      return outcomeOf(() => decodeSyncMessage(concat(message, [0], new Uint8Array(n - message.length - 1))));
    },
  },
  heads: {
    cheap: true,
    run: async (n) => {
      const inHave = await decodes({ have: [{ lastSync: hashes(n), bloom: none }] });
      const inHeads = await decodes({ heads: hashes(n) });
      const kept = await outcomeOf(() =>
        DocumentSync.decode(new DocumentSync({ sharedHeads: hashes(n) }).encode()),
      );
      return [...new Set([inHave, inHeads, kept])].join();
    },
  },
  need: { cheap: true, run: (n) => decodes({ need: hashes(n) }) },
  have: {
    cheap: true,
    run: (n) => decodes({ have: Array.from({ length: n }, () => ({ lastSync: [], bloom: none })) }),
  },
  bloomBytes: {
    cheap: true,
    run: async (n) => {
      const bloom = new Uint8Array(n);
      bloom.set([1, 10, 7]);
      const inMessage = await decodes({ have: [{ lastSync: [], bloom }] });
      const alone = await outcomeOf(() => BloomFilter.decode(bloom));
      return inMessage === alone ? alone : `${inMessage}, ${alone}`;
    },
  },
  bloomProbes: {
    cheap: true,
    run: (n) => outcomeOf(() => BloomFilter.decode(concat([1, 10], uleb(n), [0, 0]))),
  },
  parts: {
    cheap: true,
    run: (n) => outcomeOf(() => decodeSyncMessage(concat([0x43, 0, 0, 0], uleb(n), new Uint8Array(n)))),
  },
  capabilities: { cheap: true, run: (n) => decodes({ capabilities: new Uint8Array(n) }) },
  waiting: { run: (n) => waits(n, 0) },
  waitingBytes: { run: (n) => waits(24, n) },
};
