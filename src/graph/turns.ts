import type { World } from "../world.ts";

/**
 * Who works through long things in this process and lets others have their turn: one of them goes on in each turn of the
 * event loop, so a hundred hold everybody else up no longer than one does.
 */
export class Turns {
  readonly #waiting: (() => void)[] = [];

  /** Resolves when it is the caller's turn, after all who waited before. */
  wait(world: World): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      if (this.#waiting.length === 1) this.#next(world);
    });
  }

  #next(world: World): void {
    world.soon(() => {
      this.#waiting.shift()?.();
      if (this.#waiting.length > 0) this.#next(world);
    });
  }
}
