import type { Token } from "../tables/tokens.ts";
import { SkaldError } from "../errors.ts";
import type { WireArgs } from "./binding.ts";
import type { Bounds } from "./job.ts";
import { WatchState, type Result } from "./watch-state.ts";

/** A statement to be watched. Those that differ in nothing but `principal` and `delta` are one watch. */
export interface WatchAsk {
  readonly sql: string;
  readonly args: WireArgs;
  /** `main` or another one, by name. */
  readonly branch: string;
  readonly bounds: Bounds;
  /** Whose it is: of a watch that several share, who came first. */
  readonly principal: string;
  /** Whether deltas are of use. */
  readonly delta: boolean;
}

export interface WatchListener {
  /** There is another state. */
  changed(): void;
  /** The watch is over. */
  failed(error: unknown): void;
}

export interface Member {
  readonly listener: WatchListener;
  readonly delta: boolean;
}

interface Waiter {
  readonly seq: number;
  readonly resolve: (state: WatchState) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * One statement, its last result, and those who look at it.
 * Invariant: whatever may have changed the result at a commit after `seq` has raised `needed` to that commit.
 */
export class Watch {
  readonly key: string;
  readonly ask: WatchAsk;
  readonly tokens: readonly Token[];
  readonly members = new Set<Member>();
  readonly #waiters = new Set<Waiter>();
  /** The commit that it was last evaluated at. */
  seq = -1;
  /** The commit that it is to be evaluated at, or a later one. */
  needed = 0;
  /** Whether it is to be evaluated at whatever commit: its rows were let go of, or others are there at the same one. */
  wanted = false;
  /** The schema for which it is known what the statement reads. */
  schema: number | undefined;
  /** Queued, evaluated, or resting after that. */
  busy = false;
  tries = 0;
  /** Why it ends once it has shown the last there is. */
  ending: SkaldError | undefined;
  #state: WatchState | undefined;
  #hash: string | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(key: string, ask: WatchAsk, tokens: readonly Token[]) {
    this.key = key;
    this.ask = ask;
    this.tokens = tokens;
  }

  /** Undefined when there is none yet, or its rows were let go of. */
  get state(): WatchState | undefined {
    return this.#state;
  }

  get hash(): string | undefined {
    return this.#hash;
  }

  get stale(): boolean {
    return this.wanted || this.needed > this.seq;
  }

  /** Takes what it was evaluated to; tells whether there is something to show that was not there. */
  take(result: Result): boolean {
    this.seq = result.seq;
    this.tries = 0;
    if (this.#state && this.#hash === result.hash) return false;
    const delta = [...this.members].some((member) => member.delta);
    this.#state = new WatchState(result, delta ? this.#state?.result : undefined);
    this.#hash = result.hash;
    return true;
  }

  /** Lets go of the rows; whoever wants them has it evaluated again. */
  forget(): void {
    this.#state = undefined;
  }

  /** Resolves with a state that holds at `seq` or later. */
  wait(seq: number): Promise<WatchState> {
    return new Promise((resolve, reject) => {
      // It may be over before whoever joined knows how far the db is.
      if (this.#failure) reject(this.#failure.error as Error);
      else this.#waiters.add({ seq, resolve, reject });
    });
  }

  /** `seq`: a commit at which the state holds. */
  settle(seq: number): void {
    if (!this.#state) return;
    for (const waiter of this.#waiters) {
      if (waiter.seq > seq) continue;
      this.#waiters.delete(waiter);
      waiter.resolve(this.#state);
    }
  }

  fail(error: unknown): void {
    this.#failure = { error };
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const { reject } of waiters) reject(error);
    const members = [...this.members];
    this.members.clear();
    for (const { listener } of members) listener.failed(error);
  }

  tell(): void {
    for (const { listener } of this.members) listener.changed();
  }
}
