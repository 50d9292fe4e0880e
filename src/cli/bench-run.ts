import { setTimeout as pause } from "node:timers/promises";
import { CliError } from "./failure.ts";

/** What one step measured; times are milliseconds from a request's start to the end of its answer. */
export interface Measured {
  readonly requests: number;
  /** Answers that said to come back later; they are no requests of the count. */
  readonly refused: number;
  readonly seconds: number;
  readonly per_second: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
}

export interface Load {
  readonly connections: number;
  readonly seconds: number;
  /** One request to its end; `worker` counts from 0 and has one request under way. */
  readonly request: (worker: number) => Promise<void>;
  readonly stopped: () => boolean;
  readonly onRequest: (count: number, share: number) => void;
}

const BUSY: ReadonlySet<string> = new Set(["WORK_BUSY", "RATE_LIMITED"]);
const BUSY_PAUSE_MS = 20;

/**
 * Closed loop: each connection sends its next request when it has the answer to the one before, so the
 * rate is what these connections get, not what the server could take from more. Throws what a request
 * throws, once none is under way.
 */
export async function measure(load: Load): Promise<Measured> {
  const times: number[] = [];
  let refused = 0;
  let failure: unknown;
  const started = performance.now();
  const ends = started + load.seconds * 1000;
  const work = async (worker: number): Promise<void> => {
    for (let now = performance.now(); now < ends && failure === undefined && !load.stopped();) {
      const from = now;
      try {
        await load.request(worker);
        now = performance.now();
        times.push(now - from);
        load.onRequest(times.length, (now - started) / (ends - started));
      } catch (error) {
        if (!(error instanceof CliError) || !BUSY.has(error.code)) {
          failure = error;
          return;
        }
        refused += 1;
        await pause(BUSY_PAUSE_MS);
        now = performance.now();
      }
    }
  };
  await Promise.all(Array.from({ length: load.connections }, (_, worker) => work(worker)));
  if (failure !== undefined) throw failure;
  const seconds = (performance.now() - started) / 1000;
  const sorted = Float64Array.from(times).sort();
  return {
    requests: times.length,
    refused,
    seconds: rounded(seconds),
    per_second: Math.round(times.length / seconds),
    p50_ms: rounded(quantile(sorted, 0.5)),
    p99_ms: rounded(quantile(sorted, 0.99)),
  };
}

/** The smallest of the sorted values that so large a share of them does not exceed; 0 of none. */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
