import { Worker } from "node:worker_threads";

/**
 * The second line behind the server's own deadline: a thread of the query process that ends it when its server is
 * gone or does not look, while the process itself is inside of a statement and can do nothing.
 */
export interface Watchdog {
  /** A job begins that may take this long. */
  begin(ms: number): void;
  end(): void;
}

/** Beyond a job's deadline: the server's turn comes first. */
const GRACE_MS = 2000;
const LOOK_MS = 250;
/** Looks without work after which the thread sleeps until it is woken: waking it costs more than a small job. */
const IDLE_LOOKS = 20;

/** Of the shared cells: job under way (0: none), its milliseconds, whether the thread is awake. */
const JOB = 0;
const ALLOWED = 1;
const AWAKE = 2;

export function startWatchdog(): Watchdog {
  const cells = new Int32Array(new SharedArrayBuffer(16));
  const worker = new Worker(`(${watch.toString()})(require("node:worker_threads").workerData)`, {
    eval: true,
    env: {},
    // Otherwise this process's own output becomes a stream for the thread's sake, and does not block any more.
    stdout: true,
    stderr: true,
    workerData: { cells, parent: process.ppid, graceMs: GRACE_MS, lookMs: LOOK_MS, idleLooks: IDLE_LOOKS },
    resourceLimits: {
      maxOldGenerationSizeMb: 8,
      maxYoungGenerationSizeMb: 1,
      codeRangeSizeMb: 0,
      stackSizeMb: 1,
    },
  });
  worker.unref();
  let jobs = 0;
  return {
    begin(ms) {
      jobs = (jobs % 0x7fff_fff0) + 1;
      Atomics.store(cells, ALLOWED, ms);
      Atomics.store(cells, JOB, jobs);
      if (Atomics.load(cells, AWAKE) === 0) Atomics.notify(cells, JOB);
    },
    end() {
      Atomics.store(cells, JOB, 0);
    },
  };
}

/** Runs in the thread: its text is all that crosses, so it stands for itself. */
function watch(given: {
  cells: Int32Array;
  parent: number;
  graceMs: number;
  lookMs: number;
  idleLooks: number;
}): void {
  const { cells, parent, graceMs, lookMs, idleLooks } = given;
  for (;;) {
    Atomics.wait(cells, 0, 0);
    Atomics.store(cells, 2, 1);
    let seen = 0;
    let ms = 0;
    for (let idle = 0; idle < idleLooks;) {
      // Nobody writes the last cell: a pause.
      Atomics.wait(cells, 3, 0, lookMs);
      const job = Atomics.load(cells, 0);
      if (process.ppid !== parent) process.kill(process.pid, "SIGKILL");
      ms = job !== 0 && job === seen ? ms + lookMs : 0;
      if (job !== 0 && ms > Atomics.load(cells, 1) + graceMs) process.kill(process.pid, "SIGKILL");
      idle = job === 0 && seen === 0 ? idle + 1 : 0;
      seen = job;
    }
    Atomics.store(cells, 2, 0);
  }
}
