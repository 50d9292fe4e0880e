import type { World } from "../world.ts";

/**
 * Holds the writers of a db off while one has its turn that kept losing to them. Those who are at work go on, so the
 * one in turn may lose again to them; no new ones begin. Nobody waits longer than the time that is given.
 */
export class WriteHold {
  readonly #world: World;
  #held: Promise<void> | undefined;

  constructor(world: World) {
    this.#world = world;
  }

  /** Resolves when it may be tried again; undefined when nobody is held off. */
  get held(): Promise<void> | undefined {
    return this.#held;
  }

  /** Holds others off for at most `ms`; those who ask for a turn meanwhile have theirs after it. */
  async during<T>(ms: number, work: () => Promise<T>): Promise<T> {
    while (this.#held) await this.#held;
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = () => {
        if (this.#held === held) this.#held = undefined;
        resolve();
      };
    });
    this.#held = held;
    const stop = this.#world.timer(ms, release);
    try {
      return await work();
    } finally {
      stop();
      release();
    }
  }
}
