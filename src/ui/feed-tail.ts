/** A commit as the feed gives it. */
export interface FeedEvent {
  readonly seq: number;
  readonly commit: string;
  readonly time: string;
  readonly author: string;
  readonly branch: string;
  readonly message?: string;
  readonly cursor: string;
  readonly docs: readonly FeedDoc[];
}

export interface FeedDoc {
  readonly doc: string;
  readonly heads: readonly string[];
  readonly deleted?: boolean;
  readonly erased?: boolean;
  readonly patch?: readonly { readonly op: string; readonly path: string; readonly value?: unknown }[];
  readonly error?: string;
}

/** The last commits, newest first. While it is paused what comes is kept apart, and shown when it goes on. */
export class FeedTail {
  readonly #most: number;
  #shown: FeedEvent[] = [];
  #waiting: FeedEvent[] = [];
  #last = 0;
  #paused = false;
  #lost = 0;

  /** @param most events that are kept; the oldest are let go of. */
  constructor(most = 5000) {
    this.#most = most;
  }

  get count(): number {
    return this.#shown.length;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** Events that came while it was paused. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Events that are not kept any more. */
  get lost(): number {
    return this.#lost;
  }

  /** `at` 0 is the newest. */
  row(at: number): FeedEvent | undefined {
    return this.#shown.at(-1 - at);
  }

  /** The feed gives what it gave again after a cut: each is taken once. */
  take(event: FeedEvent): void {
    if (event.seq <= this.#last) return;
    this.#last = event.seq;
    const into = this.#paused ? this.#waiting : this.#shown;
    into.push(event);
    // By halves, so that not every event moves all others.
    if (into.length >= this.#most * 2) this.#lost += into.splice(0, into.length - this.#most).length;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    const taken = this.#waiting;
    this.#waiting = [];
    this.#shown = [...this.#shown, ...taken];
    if (this.#shown.length > this.#most * 2)
      this.#lost += this.#shown.splice(0, this.#shown.length - this.#most).length;
  }
}

/** What a commit did, in a line: the first documents by name, and how many more. */
export function docsText(docs: readonly FeedDoc[], most = 3): string {
  const names = docs
    .slice(0, most)
    .map(({ doc, deleted, erased }) => `${deleted || erased ? "− " : ""}${doc}`);
  return docs.length > most ? `${names.join(", ")} +${docs.length - most}` : names.join(", ");
}
