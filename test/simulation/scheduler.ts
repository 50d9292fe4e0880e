import { createHash } from "node:crypto";
import { seeded } from "../support/fault-process.ts";
import type { World } from "../../src/world.ts";

/** One process: what it has scheduled happens only while it lives, and waits while it is paused. */
export class Life {
  readonly name: string;
  alive = true;
  /** Virtual time until which nothing of it runs. */
  pausedUntil = 0;
  /** Timers of its that have not run and were not stopped. */
  timers = 0;

  constructor(name: string) {
    this.name = name;
  }
}

interface Step {
  at: number;
  readonly order: number;
  readonly what: string;
  readonly work: () => void;
  readonly life: Life | undefined;
  cancelled: boolean;
}

/**
 * Virtual time and everything that happens in it, one step after another, drawn from one seed. Steps are
 * ordered by time and then by when they were asked for, so the same seed takes the same steps; the log of them
 * is hashed to prove it.
 */
export class Scheduler {
  readonly seed: number;
  /** Milliseconds. Starts above 0, which is no time in some places. */
  time = 1000;
  steps = 0;
  readonly lines: string[] = [];
  readonly random: () => number;
  readonly #hash = createHash("sha256");
  readonly #heap: Step[] = [];
  #order = 0;

  constructor(seed: number) {
    this.seed = seed;
    this.random = seeded(seed);
  }

  /** A whole number from 0 to `n` - 1. */
  below(n: number): number {
    return Math.floor(this.random() * n);
  }

  between(low: number, high: number): number {
    return low + this.random() * (high - low);
  }

  chance(of: number): boolean {
    return this.random() < of;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T;
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.below(256));
  }

  /** Writes a line into the log of events. */
  note(line: string): void {
    const text = `${this.time.toFixed(3)} ${line}`;
    this.lines.push(text);
    this.#hash.update(text).update("\n");
  }

  /** Hash of all that was noted. May be asked once, at the end. */
  hash(): string {
    return this.#hash.digest("hex");
  }

  /** Has `work` run after `delay`; gives what stops it. */
  at(delay: number, what: string, work: () => void, life?: Life): () => void {
    const step: Step = {
      at: this.time + Math.max(0, delay),
      order: (this.#order += 1),
      what,
      work,
      life,
      cancelled: false,
    };
    this.#push(step);
    return () => {
      step.cancelled = true;
    };
  }

  sleep(ms: number, what: string): Promise<void> {
    return new Promise((resolve) => {
      this.at(ms, what, resolve);
    });
  }

  /** Takes steps until `done` or nothing is left to do. Gives false when `limit` (virtual time) was reached before. */
  async run(done: () => boolean, limit: number): Promise<boolean> {
    for (;;) {
      if (done()) return true;
      const step = this.#pop();
      if (!step) return false;
      if (step.cancelled || step.life?.alive === false) continue;
      if (step.life && step.life.pausedUntil > step.at) {
        step.at = step.life.pausedUntil;
        this.#push(step);
        continue;
      }
      if (step.at > limit) {
        this.#push(step);
        return false;
      }
      this.time = Math.max(this.time, step.at);
      this.steps += 1;
      this.note(step.what);
      step.work();
      // Everything that follows at once: promises, next ticks, what streams do.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #push(step: Step): void {
    const heap = this.#heap;
    let i = heap.push(step) - 1;
    while (i > 0) {
      const up = (i - 1) >> 1;
      if (!before(step, heap[up] as Step)) break;
      heap[i] = heap[up] as Step;
      i = up;
    }
    heap[i] = step;
  }

  #pop(): Step | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (!top || !last || heap.length === 0) return top;
    let i = 0;
    for (;;) {
      let down = 2 * i + 1;
      if (down >= heap.length) break;
      if (down + 1 < heap.length && before(heap[down + 1] as Step, heap[down] as Step)) down += 1;
      if (!before(heap[down] as Step, last)) break;
      heap[i] = heap[down] as Step;
      i = down;
    }
    heap[i] = last;
    return top;
  }
}

function before(a: Step, b: Step): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/** The wall clock of a machine: `offset` moves when somebody sets it. */
export interface WallClock {
  offset: number;
}

/** What a process sees of the simulation. */
export function worldOf(scheduler: Scheduler, life: Life, wall: WallClock): World {
  return {
    now: () => Math.floor(scheduler.time + wall.offset),
    monotonic: () => scheduler.time,
    random: (bytes) => scheduler.bytes(bytes),
    timer: (ms, work) => {
      let open = true;
      life.timers += 1;
      const close = (): void => {
        if (open) life.timers -= 1;
        open = false;
      };
      const stop = scheduler.at(
        ms,
        `${life.name} timer`,
        () => {
          close();
          work();
        },
        life,
      );
      return () => {
        close();
        stop();
      };
    },
    soon: (work) => {
      scheduler.at(0, `${life.name} turn`, work, life);
    },
  };
}

/** Timers of libraries, which take theirs from the global: they run in virtual time too. Gives what puts them back. */
export function virtualTimers(scheduler: Scheduler): () => void {
  const { setTimeout: real, clearTimeout: realClear } = globalThis;
  const set = (work: (...args: unknown[]) => void, ms = 0, ...args: unknown[]) => {
    const stop = scheduler.at(ms, "a library's timer", () => work(...args));
    const timer = { stop, ref: () => timer, unref: () => timer, hasRef: () => false };
    return timer;
  };
  globalThis.setTimeout = set as unknown as typeof setTimeout;
  globalThis.clearTimeout = ((timer?: { stop?: () => void }) => timer?.stop?.()) as typeof clearTimeout;
  return () => {
    globalThis.setTimeout = real;
    globalThis.clearTimeout = realClear;
  };
}
