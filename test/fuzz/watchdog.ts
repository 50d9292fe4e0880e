import { Worker } from "node:worker_threads";

/**
 * An input that never ends cannot be stopped from its own thread, and the runner waits for ever. A
 * thread of its own watches: when one input takes longer than `seconds`, it says which and ends the process.
 */
export interface Watchdog {
  /** Before each input: what is going to run. */
  begin(what: string, input: Uint8Array | string): void;
  /** Nothing runs now. */
  rest(): void;
  stop(): Promise<unknown>;
}

const MOST_SHOWN = 8192;
/** Bytes or characters of an input. */
const SHOWN = 1000;
const SCRIPT = `
const { workerData: { shared, seconds } } = require("node:worker_threads");
const state = new Int32Array(shared, 0, 3);
let last = -1, since = Date.now();
setInterval(() => {
  const beat = Atomics.load(state, 0);
  if (beat !== last || beat % 2 === 0) { last = beat; since = Date.now(); return; }
  if (Date.now() - since < seconds * 1000) return;
  const name = Atomics.load(state, 1), length = Atomics.load(state, 2);
  const input = Buffer.from(shared, 12 + name, Math.abs(length));
  const text = Buffer.from(shared, 12, name) + ": " + (length < 0 ? JSON.stringify(String(input)) : input.toString("hex"));
  require("node:fs").writeSync(2, "\\nAn input does not come to an end: " + text + "\\n");
  process.kill(process.pid, "SIGKILL");
}, 500);
`;

export function startWatchdog(seconds: number): Watchdog {
  const shared = new SharedArrayBuffer(12 + MOST_SHOWN);
  const state = new Int32Array(shared, 0, 3);
  const text = Buffer.from(shared, 12);
  const worker = new Worker(SCRIPT, { eval: true, workerData: { shared, seconds } });
  worker.unref();
  // Odd while something runs.
  let beat = 0;
  return {
    begin(what, input) {
      // Put into words only when it is told: this comes before every input.
      const at = text.write(what);
      state[1] = at;
      if (typeof input === "string") state[2] = -text.write(input.slice(0, SHOWN), at);
      else {
        const start = input.subarray(0, SHOWN);
        text.set(start, at);
        state[2] = start.length;
      }
      beat = (beat + 2) | 1;
      Atomics.store(state, 0, beat);
    },
    rest() {
      beat = (beat + 1) & ~1;
      Atomics.store(state, 0, beat);
    },
    stop: () => worker.terminate(),
  };
}
