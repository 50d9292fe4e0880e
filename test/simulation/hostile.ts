import { genesisOf } from "../../src/log/genesis.ts";
import { spoil } from "../support/change-chunks.ts";
import { setChange } from "../support/plain-change.mjs";
import type { Scheduler } from "./scheduler.ts";

/**
 * Changes by somebody who means harm. Some the guard takes and Automerge does not, without a panic: that would
 * spoil the module, which all simulated threads share.
 */
export function hostileChanges(scheduler: Scheduler, uid: Uint8Array): (doc: string) => Uint8Array {
  let count = 0;
  return (doc) => {
    count += 1;
    const genesis = genesisOf(uid, "h", doc.slice(2)).hash;
    const actor = (count % 256).toString(16).padStart(2, "0").repeat(16);
    const good = setChange({ deps: [genesis], actor, seq: 1, startOp: 1, key: "x", value: 1 }).bytes;
    return scheduler.pick(SPOILT)(good, scheduler);
  };
}

const SPOILT: readonly ((good: Uint8Array, scheduler: Scheduler) => Uint8Array)[] = [
  // Nothing wrong with it.
  (good) => good,
  (good, scheduler) => {
    const bytes = good.slice();
    const at = scheduler.below(bytes.length);
    bytes[at] = (bytes[at] as number) ^ (1 << scheduler.below(8));
    return bytes;
  },
  (good) => good.subarray(0, good.length - 3),
  (good) => spoil(good, (parts) => (parts.startOp += 1000)),
  (good) => spoil(good, (parts) => (parts.seq += 1)),
  (good) => spoil(good, (parts) => (parts.deps = [new Uint8Array(32).fill(7)])),
  // Replaces an operation that is not there: only Automerge can tell.
  (good) =>
    spoil(good, ({ columns }) => {
      columns.splice(
        columns.findIndex(({ spec }) => spec === 0x70),
        1,
        { spec: 0x70, data: [0x7f, 0x01] },
        { spec: 0x71, data: [0x7f, 0x00] },
        { spec: 0x73, data: [0x7f, 0x00] },
      );
    }),
];
