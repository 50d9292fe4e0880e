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
const SCRIPT = `
const { workerData: { shared, seconds } } = require("node:worker_threads");
const state = new Int32Array(shared, 0, 3);
let last = -1, since = Date.now();
setInterval(() => {
  const beat = Atomics.load(state, 0);
  if (beat !== last || beat % 2 === 0) { last = beat; since = Date.now(); return; }
  if (Date.now() - since < seconds * 1000) return;
  const text = Buffer.from(shared, 12, Atomics.load(state, 1)).toString("latin1");
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
      const shown = typeof input === "string" ? JSON.stringify(input.slice(0, 1000)) : undefined;
      const hex = shown ?? Buffer.from(input.slice(0, 1000) as Uint8Array).toString("hex");
      Atomics.store(state, 1, text.write(`${what}: ${hex}`, "latin1"));
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
