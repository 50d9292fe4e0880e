import type { DocState } from "../log/doc-state.ts";
import type { Log } from "../log/log.ts";
import type { Views } from "../store/sqlite-views.ts";
import { savedForm } from "./source.ts";

/**
 * When a document's saved form is worth making anew. One costs a pass over the document, 20 µs for each
 * of its changes, and spares a cold read to go through single changes, which costs half as much again as
 * loading them saved. So one that is being written waits until it has grown a lot, and one that rests
 * is kept up to a twentieth.
 */
export class SavedForms {
  readonly #log: Log;
  readonly #views: Views;
  /** Changes that a document had when it was last saved. */
  readonly #changes = new Map<string, number>();

  constructor(log: Log, views: Views) {
    this.#log = log;
    this.#views = views;
  }

  /** Whether a document of others' and the server's writing, at rest or not, has outgrown its saved form. */
  wanted(state: DocState, rests: boolean): boolean {
    const { changes, deleted } = state;
    if (deleted || changes < LEAST) return false;
    return this.#since(state) >= Math.max(LEAST, changes * (rests ? RESTS_SHARE : shareOf(changes)));
  }

  /** Whether its changes since then lie in so many bundles that reading it anew would open too many. */
  spread({ name, deleted }: DocState): boolean {
    const saved = savedForm(this.#log, this.#views, name);
    return !deleted && this.#log.bundlesAfter(name, saved?.seq ?? 0) > SPREAD;
  }

  /** Changes since it was saved; before that happened in this process, as many as the db had commits since. */
  #since({ name, changes, last }: DocState): number {
    const known = this.#changes.get(name);
    if (known !== undefined) return changes - known;
    const saved = savedForm(this.#log, this.#views, name);
    return saved ? last - saved.seq : changes;
  }

  /** Keeps bytes that were loaded back and read the same, of the document as it was in `state`. */
  put(state: DocState, bytes: Uint8Array): void {
    this.#views.putSaved(state.name, state.last, bytes);
    if (this.#changes.size >= REMEMBERED) this.#changes.clear();
    this.#changes.set(state.name, state.changes);
  }
}

/** How much of a document that is being written may be newer than what was tried or saved of it. */
export function shareOf(changes: number): number {
  return changes <= LARGE ? 3 / 4 : 1 / 4;
}

const LEAST = 256;
/** Bundles that a cold read may open for one document, each for some hundredths of a second. */
const SPREAD = 2;
const RESTS_SHARE = 1 / 20;
/** Single changes that a cold read may have to go through: what a reader hardly notices. */
const LARGE = 4096;
const REMEMBERED = 20_000;
