import { readFileSync } from "node:fs";
import { fromHex } from "../../src/ids/hash.ts";
import { BloomFilter } from "../../src/sync/bloom.ts";
import { readChunks } from "../../src/sync/parts.ts";
import {
  decodeSharedHeads,
  decodeSyncMessage,
  encodeSharedHeads,
  encodeSyncMessage,
  type SyncMessage,
} from "../../src/sync/sync-message.ts";
import { concat, uleb } from "../support/change-chunks.ts";
import type { Random, Target } from "./harness.ts";
import { spoilt } from "./mutate.ts";

/** What peers send who speak Automerge's sync protocol, or look like it. */

const messages = (
  JSON.parse(readFileSync(new URL("../../fixtures/sync/messages.json", import.meta.url), "utf8")) as {
    bytes: string;
  }[]
).map(({ bytes }) => fromHex(bytes));
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
const HASH = new Uint8Array(32).fill(0x41);

/** A message whose fields are each right or nearly so. */
function composed(random: Random): Uint8Array {
  const hashes = (): Uint8Array => {
    const count = random.below(3);
    return concat(
      uleb(random.chance(0.9) ? count : random.below(5000)),
      ...Array<Uint8Array>(count).fill(HASH),
    );
  };
  const filter = (): Uint8Array => {
    const entries = random.below(20);
    const bits = random.chance(0.8) ? 10 : random.below(2 ** 31);
    const bytes = concat(
      uleb(entries),
      uleb(bits),
      uleb(random.chance(0.8) ? 7 : random.below(200)),
      random.bytes(25),
    );
    return concat(uleb(bytes.length), bytes);
  };
  const have = Array.from({ length: random.below(3) }, () => concat(hashes(), filter()));
  const parts = Array.from({ length: random.below(3) }, () => {
    const bytes = random.bytes(random.below(40));
    return concat(uleb(bytes.length), bytes);
  });
  return concat(
    [0x42 + random.below(2)],
    hashes(),
    hashes(),
    uleb(have.length),
    ...have,
    uleb(parts.length),
    ...parts,
    random.chance(0.5) ? [2, 2, 0x80 | random.below(128)] : [],
  );
}

const syncMessage: Target = {
  name: "sync message",
  covers: [
    "sync/sync-message.ts decodeSyncMessage",
    "sync/sync-message.ts decodeSharedHeads",
    "sync/parts.ts readChunks",
    "sync/parts.ts readParts",
  ],
  runs: 25_000,
  codes: ["SYNC_MALFORMED", "TOO_LARGE"],
  make: (random) => {
    const share = random.below(100);
    if (share < 60) return spoilt(random.pick(messages), random, messages);
    return share < 90 ? composed(random) : concat([0x42 + random.below(2)], random.bytes(random.below(80)));
  },
  run(bytes) {
    const message = decodeSyncMessage(bytes as Uint8Array);
    for (const { bloom } of message.have) {
      const filter = BloomFilter.decode(bloom);
      for (let i = 0; i < 16; i += 1) filter.has(i.toString(16).repeat(64));
      filter.encode();
    }
    readChunks(message.parts);
    decodeSharedHeads(encodeSharedHeads(message.heads));
    return message;
  },
  holds(bytes: Uint8Array, message: SyncMessage) {
    const again = encodeSyncMessage(message);
    // What follows the capabilities is for later versions and is dropped.
    return same(again, bytes.subarray(0, again.length)) ? undefined : "is written again as something else";
  },
  kept: [
    // As many probes and entries as there are numbers.
    concat([0x42, 0, 0, 1, 0, 10], uleb(2 ** 32 - 1), [0], uleb(2 ** 28 - 1), [0, 0]),
    concat([0x42, 0, 0], uleb(2 ** 42), [0, 0]),
    concat([0x43, 0, 0, 0], uleb(2 ** 31), [0]),
  ],
};

export const syncTargets: readonly Target[] = [syncMessage];
