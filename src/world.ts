import { randomBytes } from "node:crypto";

/**
 * What a server has of the world beside its files and its sockets: clocks, timers, randomness. It is handed
 * down as a value, so that a whole server can run on one that a test makes up. Nothing else in `src` asks the
 * machine for any of it; see specs/14-simulation.md.
 */
export interface World {
  /** Milliseconds since 1970, whole. The wall clock: it may jump by years, either way. */
  now(): number;
  /** Milliseconds from some moment on, with fractions. Never goes back; threads of a process have the same. */
  monotonic(): number;
  /** Unpredictable bytes. */
  random(bytes: number): Uint8Array;
  /** Runs `work` after `ms` milliseconds; gives what stops it. Keeps no process alive: who waits holds something else. */
  timer(ms: number, work: () => void): () => void;
  /** Runs `work` in a later turn of the event loop, after what has come in until then. */
  soon(work: () => void): void;
}

export const realWorld: World = {
  now: () => Date.now(),
  monotonic: () => {
    // Unlike performance.now(), which each thread counts from its own start.
    const [seconds, nanoseconds] = process.hrtime();
    return seconds * 1e3 + nanoseconds / 1e6;
  },
  random: (bytes) => randomBytes(bytes),
  timer: (ms, work) => {
    const timer = setTimeout(work, ms).unref();
    return () => clearTimeout(timer);
  },
  soon: (work) => {
    setImmediate(work);
  },
};

/** Resolves in a later turn: lets others have theirs. */
export function nextTurn(world: World): Promise<void> {
  return new Promise((resolve) => {
    world.soon(resolve);
  });
}

/** Resolves after `ms` milliseconds. For waiting on something that takes time: turns alone would spin. */
export function pause(world: World, ms: number): Promise<void> {
  return new Promise((resolve) => {
    world.timer(ms, resolve);
  });
}
