import { packBundle } from "../../src/log/bundle.ts";
import type { Packer } from "../../src/db/compaction.ts";
import type { Batch, Reply, StartThread, Thread, ThreadOptions } from "../../src/documents/messages.ts";
import { DocumentThread } from "../../src/documents/thread.ts";
import type { World } from "../../src/world.ts";
import type { Life, Scheduler } from "./scheduler.ts";

/** How often a job ends its thread, and how often it runs for longer than any deadline. */
export interface ThreadFaults {
  dies: number;
  hangs: number;
  /** Jobs to come that nothing happens to: what strikes by chance does not strike the same job twice. */
  spared?: number;
}

const SPARED = 20;

type Hears = {
  message?: (reply: Reply) => void;
  error?: (error: Error) => void;
  exit?: (code: number) => void;
};

/** The code of a document thread, run in this one by the scheduler: messages take time, and so do jobs. */
class SimulatedThread implements Thread {
  readonly #scheduler: Scheduler;
  readonly #life: Life;
  readonly #faults: ThreadFaults;
  readonly #code: DocumentThread;
  readonly #hears: Hears = {};
  readonly #ended: () => void;
  #alive = true;
  #nextReply = 0;

  constructor(
    scheduler: Scheduler,
    life: Life,
    world: World,
    faults: ThreadFaults,
    options: ThreadOptions,
    ended: () => void,
  ) {
    this.#scheduler = scheduler;
    this.#life = life;
    this.#faults = faults;
    this.#ended = ended;
    this.#code = new DocumentThread(options, {
      world,
      memory: () => 0,
      send: (reply, buffers) => {
        const copy = structuredClone(reply, { transfer: buffers });
        // Messages of a port stay in order.
        this.#nextReply = Math.max(this.#nextReply, scheduler.time + scheduler.between(0.01, 0.5));
        this.#at(this.#nextReply - scheduler.time, "thread says", () => this.#hears.message?.(copy));
      },
    });
    this.#at(scheduler.between(20, 120), "thread is ready", () => this.#hears.message?.({ type: "ready" }));
  }

  postMessage(batch: Batch, buffers: ArrayBuffer[]): void {
    const copy = structuredClone(batch, { transfer: buffers });
    this.#at(this.#scheduler.between(0.01, 0.5), "thread hears", () => this.#step(this.#code.work(copy)));
  }

  on(event: keyof Hears, hear: (value: never) => void): this {
    Object.assign(this.#hears, { [event]: hear });
    return this;
  }

  ref(): void {}
  unref(): void {}

  terminate(): Promise<void> {
    if (this.#alive) this.#ended();
    this.#alive = false;
    return new Promise((resolve) => {
      this.#scheduler.at(this.#scheduler.between(0.1, 5), "thread is gone", resolve, this.#life);
    });
  }

  #step(steps: Generator<undefined, void>): void {
    if (steps.next().done === true) return;
    const spared = this.#faults.spared ?? 0;
    const fate = spared > 0 ? 1 : this.#scheduler.random();
    this.#faults.spared = fate < this.#faults.dies + this.#faults.hangs ? SPARED : spared - 1;
    if (fate < this.#faults.dies) {
      this.#at(this.#scheduler.between(0.1, 20), "thread dies", () => {
        this.#alive = false;
        this.#ended();
        if (this.#scheduler.chance(0.5)) this.#hears.error?.(new Error("the thread was ended"));
        this.#hears.exit?.(134);
      });
    } else if (fate < this.#faults.dies + this.#faults.hangs) {
      // It never comes back: who ends it has to notice.
      this.#scheduler.note("thread hangs");
    } else {
      const ms = this.#scheduler.chance(0.05)
        ? this.#scheduler.between(5, 400)
        : this.#scheduler.between(0.1, 3);
      this.#at(ms, "job ends", () => this.#step(steps));
    }
  }

  #at(delay: number, what: string, work: () => void): void {
    this.#scheduler.at(delay, what, () => this.#alive && work(), this.#life);
  }
}

/** Makes threads; `alive` counts those that were not ended. */
export class Threads {
  alive = 0;
  readonly start: StartThread;

  constructor(scheduler: Scheduler, life: Life, world: World, faults: ThreadFaults) {
    this.start = (options) => {
      this.alive += 1;
      return new SimulatedThread(scheduler, life, world, faults, options, () => (this.alive -= 1));
    };
  }
}

/** Packs bundles like the thread that does, after some time. */
export function packerOf(scheduler: Scheduler, life: Life): Packer {
  return {
    pack: (uid, commits) =>
      new Promise((resolve, reject) => {
        scheduler.at(
          scheduler.between(1, 300),
          "bundle is packed",
          () => {
            try {
              resolve(packBundle(uid, commits));
            } catch (error) {
              reject(error as Error);
            }
          },
          life,
        );
      }),
    end: () => Promise.resolve(),
  };
}
