import type { Log } from "../log/log.ts";
import type { LogStorage } from "../store/contract.ts";

/** When old commits of a db are put into bundles by themselves, and documents' saved forms are made for them. */
export interface TendingPolicy {
  /** So many commits that are old enough; 0: never. */
  readonly commits: number;
  /** Or so many bytes of them. */
  readonly bytes: number;
  /** Milliseconds after which a commit is old. */
  readonly ageMs: number;
}

export const DEFAULT_TENDING: TendingPolicy = { commits: 8192, bytes: 16 * 1024 * 1024, ageMs: 3_600_000 };

/** Commits of a bundle that is made by itself: opening one takes some hundredths of a second. */
export const TENDED_COMMITS = 2048;

/** The last commit that may go into a bundle now; undefined when there is not enough for one. */
export function dueUpTo(log: Log, storage: LogStorage, policy: TendingPolicy): number | undefined {
  const { commits, bytes, ageMs } = policy;
  const bundled = storage.ranges().at(-1)?.last ?? 0;
  if (commits === 0 || log.head().seq - bundled < 2) return undefined;
  const upTo = ageMs === 0 ? log.head().seq : log.seqAt(log.world.now() - ageMs);
  const old = upTo - bundled;
  if (old < 2) return undefined;
  return old >= commits || roughBytes(storage, bundled, old) >= bytes ? upTo : undefined;
}

/** Whether commits that stand alone are enough for a bundle once they are old. */
export function isEnough(log: Log, storage: LogStorage, { commits }: TendingPolicy): boolean {
  return log.head().seq - (storage.ranges().at(-1)?.last ?? 0) >= commits;
}

/** Bytes of `count` records after `after`, judged by some of them. */
function roughBytes(storage: LogStorage, after: number, count: number): number {
  let bytes = 0;
  let seen = 0;
  const step = Math.max(1, Math.floor(count / SAMPLE));
  for (let seq = after + 1; seq <= after + count; seq += step) {
    bytes += storage.read(seq)?.length ?? 0;
    seen += 1;
  }
  return (bytes / seen) * count;
}

/**
 * Looks after commits whether there is something to do, at most once in `ms`, and does it. What goes wrong is told
 * and tried again the next time.
 */
export class Tending {
  readonly #log: Log;
  readonly #work: () => Promise<boolean>;
  readonly #onError: (error: unknown) => void;
  #stop: (() => void) | undefined;
  #running: Promise<void> | undefined;
  #closed = false;

  /** `work` says whether it is to be called again though nothing is written meanwhile. */
  constructor(log: Log, work: () => Promise<boolean>, onError: (error: unknown) => void) {
    this.#log = log;
    this.#work = work;
    this.#onError = onError;
  }

  schedule(): void {
    if (this.#closed || this.#stop || this.#running) return;
    this.#stop = this.#log.world.timer(LOOK_MS, () => {
      this.#stop = undefined;
      this.run().catch(this.#onError);
    });
  }

  /** Does what is due now; of calls at the same time one works. */
  run(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#running ??= this.#work()
      .then((again) => {
        this.#running = undefined;
        if (again) this.schedule();
      })
      .catch((error: unknown) => {
        this.#running = undefined;
        this.#onError(error);
      });
    return this.#running;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stop?.();
    await this.#running;
  }
}

const LOOK_MS = 60_000;
const SAMPLE = 32;
