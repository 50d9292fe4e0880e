import type { World } from "../world.ts";

/** A request, a stream or a socket that is open because of what somebody has shown. */
export interface Staying {
  /** Whether what was shown still holds. Cheap: it is asked twice a second. */
  readonly alive: () => boolean;
  /** Ends it; called once, and only after it was found dead. */
  readonly end: () => void;
}

/**
 * Sees to it that nothing outlives what vouched for it. All that is open is in one list: it is asked at once
 * when somebody says that a right has ended, and twice a second for what ends without a word, such as an hour that
 * was given. One timer, however much is open; none while nothing is.
 */
export class Vigil {
  readonly #world: World;
  readonly #open = new Set<Staying>();
  #stopTicking: (() => void) | undefined;
  #noticed = false;

  constructor(world: World) {
    this.#world = world;
  }

  /** How much is open. */
  get size(): number {
    return this.#open.size;
  }

  /** Watches over it until what this gives is called, or until it was ended. */
  add(one: Staying): () => void {
    this.#open.add(one);
    if (!this.#stopTicking) this.#tick();
    return () => {
      this.#open.delete(one);
    };
  }

  /** Something was revoked, taken away or closed: whatever stood on it ends in the next turn. */
  notice(): void {
    if (this.#noticed || this.#open.size === 0) return;
    this.#noticed = true;
    this.#world.soon(() => {
      this.#noticed = false;
      this.#look();
    });
  }

  /** Looks no more, when the server has ended. */
  close(): void {
    this.#stopTicking?.();
    this.#open.clear();
  }

  #tick(): void {
    this.#stopTicking = this.#world.timer(LOOK_MS, () => {
      this.#stopTicking = undefined;
      this.#look();
      if (this.#open.size > 0) this.#tick();
    });
  }

  #look(): void {
    for (const one of this.#open) {
      if (holds(one)) continue;
      this.#open.delete(one);
      one.end();
    }
  }
}

/** What cannot be asked any more does not hold: the file that says so is damaged or closed. */
function holds({ alive }: Staying): boolean {
  try {
    return alive();
  } catch {
    return false;
  }
}

/** Half of the second within which what has ended is to be noticed. */
const LOOK_MS = 500;
