import type { World } from "../world.ts";

/**
 * Where a thread is in its work, for the pool to see while the thread is too busy to say it: how many jobs it has
 * begun since it started, and when the present one began on the monotonic clock, which all threads share (in
 * nanoseconds), or 0 between jobs. Whoever reads takes the count first: what it may then miss makes a job look younger, never older.
 */
export type Progress = BigInt64Array<SharedArrayBuffer>;

const BEGUN = 0;
const SINCE = 1;

export function newProgress(): Progress {
  return new BigInt64Array(new SharedArrayBuffer(16));
}

export function beginJob(progress: Progress, world: World): void {
  Atomics.add(progress, BEGUN, 1n);
  Atomics.store(progress, SINCE, BigInt(Math.round(world.monotonic() * 1e6)));
}

/** Gives the milliseconds that the job took. */
export function endJob(progress: Progress, world: World): number {
  const since = Atomics.exchange(progress, SINCE, 0n);
  return world.monotonic() - milliseconds(since);
}

/** `running`: milliseconds that the last job begun has run; undefined when it has ended. */
export function readProgress(
  progress: Progress,
  world: World,
): { begun: number; running: number | undefined } {
  const begun = Number(Atomics.load(progress, BEGUN));
  const since = Atomics.load(progress, SINCE);
  return { begun, running: since === 0n ? undefined : world.monotonic() - milliseconds(since) };
}

function milliseconds(nanoseconds: bigint): number {
  return Number(nanoseconds) / 1e6;
}
