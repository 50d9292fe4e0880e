import type { World } from "../world.ts";

/** Somebody who is looked at now and then. */
export interface Looked {
  look(now: number): void;
}

/**
 * One timer for all open watches of a process: ten thousand of their own would cost more than what they are for.
 */
export class WatchClock {
  readonly #world: World;
  readonly #all = new Set<Looked>();
  #stop: (() => void) | undefined;

  constructor(world: World) {
    this.#world = world;
  }

  add(one: Looked): () => void {
    this.#all.add(one);
    this.#run();
    return () => {
      this.#all.delete(one);
      if (this.#all.size > 0) return;
      this.#stop?.();
      this.#stop = undefined;
    };
  }

  #run(): void {
    this.#stop ??= this.#world.timer(LOOK_MS, () => {
      this.#stop = undefined;
      const now = this.#world.monotonic();
      for (const one of this.#all) one.look(now);
      if (this.#all.size > 0) this.#run();
    });
  }
}

/** How late a heartbeat may be. */
const LOOK_MS = 500;
