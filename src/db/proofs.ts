import { isSkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { headsOf, type DocState } from "../log/doc-state.ts";
import { ownActors } from "./own-actor.ts";
import { setAsideBroken, type QuarantineContext } from "./quarantine.ts";
import { sourceOf } from "./source.ts";

/**
 * Which documents are known to read, save and load. What others wrote passed the guard and no more, so it is
 * tried in Automerge once, soon after the commit: by the projection, by a reader that meets an error, or by an
 * author before he builds on it. What this server authored is good on what was good, and is not tried.
 *
 * Memory only: after a restart a document is tried again when it is next touched.
 */
export class Proofs {
  readonly #context: QuarantineContext;
  readonly #proven = new Map<string, Proven>();
  /** Documents that could not be read and had nothing to set aside, with the commit that was so for. */
  readonly #hopeless = new Map<string, number>();
  readonly #running = new Map<string, Promise<boolean>>();

  constructor(context: QuarantineContext) {
    this.#context = context;
  }

  /** Whether others changed the document since it was last tried, and it is worth trying again. */
  due(doc: string): boolean {
    const state = this.#context.log.state(doc);
    if (!state || state.deleted) return false;
    const foreign = this.#foreign(state);
    if (foreign === 0) return false;
    const proven = this.#proven.get(doc);
    if (!proven) return true;
    if (foreign <= proven.foreign) return false;
    return state.changes <= LARGE || state.changes >= proven.changes * LARGE_GROWTH;
  }

  /**
   * Tries the document when it is due and sets aside what is bad. Gives true when something was set aside.
   * Never throws for what the document is to blame for: whoever reads it will hear.
   */
  async prove(doc: string): Promise<boolean> {
    const state = this.#context.log.state(doc);
    if (!state || !this.due(doc)) return false;
    return this.#once(doc, async () => {
      try {
        if (await this.#sound(state)) {
          this.#remember(state, state.last);
          return false;
        }
        if (await this.#setAside(state)) return true;
      } catch (error) {
        if (!isSkaldError(error) || !BLAMELESS.has(error.code)) throw error;
      }
      // It would go the same way the next time: not again before others have changed it.
      this.#remember(state, this.#proven.get(doc)?.seq ?? 0);
      return false;
    });
  }

  /**
   * Runs `work`, which reads the document; when that fails for the document's sake, sets aside what is bad and
   * runs it once more. When there is nothing to set aside, the first error stands.
   */
  async mended<T>(doc: string, work: () => Promise<T>): Promise<T> {
    const before = this.#context.log.state(doc)?.refusedAt;
    try {
      return await work();
    } catch (error) {
      if (!isSkaldError(error) || !(error.code === "DOC_UNREADABLE" || error.code === "WORK_FAILED"))
        throw error;
      await this.#mend(doc).catch((failure: unknown) => {
        // Then the document is not to blame: whoever holds the db makes what is derived anew.
        if (isSkaldError(failure) && failure.code === "DERIVED_DAMAGED") throw failure;
      });
      // Someone else may have done it while this waited.
      if (this.#context.log.state(doc)?.refusedAt === before) throw error;
      return work();
    }
  }

  async #mend(doc: string): Promise<void> {
    await this.#once(doc, async () => {
      const state = this.#context.log.state(doc);
      return state !== undefined && this.#hopeless.get(doc) !== state.last && this.#setAside(state);
    });
  }

  /** Whether it saves and loads back as it is. */
  async #sound(state: DocState): Promise<boolean> {
    const { log, views, documents, docRef } = this.#context;
    try {
      const { refused } = await documents.check({
        docRef: docRef(state.name),
        heads: headsOf(state),
        source: sourceOf(log, views, state.name, state.last),
        changes: [],
        deadlineMs: LIMITS.document.longJobMs.value,
      });
      return refused === undefined;
    } catch (error) {
      if (isSkaldError(error) && (error.code === "DOC_UNREADABLE" || error.code === "WORK_FAILED"))
        return false;
      throw error;
    }
  }

  /** `state` is from before: what was written meanwhile counts as not tried. */
  async #setAside(state: DocState): Promise<boolean> {
    const { name } = state;
    const from = this.#proven.get(name)?.seq ?? 0;
    let found = await setAsideBroken(this.#context, name, from);
    // What was good once may be at fault after all, such as a saved form: then only the whole history tells.
    if (found.refused.length === 0 && from > 0) found = await setAsideBroken(this.#context, name, 0);
    if (found.refused.length === 0) bounded(this.#hopeless).set(name, state.last);
    else if (found.provenTo !== undefined) this.#remember(state, found.provenTo);
    return found.refused.length > 0;
  }

  #remember(state: DocState, seq: number): void {
    const { name, changes } = state;
    bounded(this.#proven).set(name, { seq, changes, foreign: this.#foreign(state) });
  }

  /** Changes by others, counted without reading any: an actor's count 1, 2, 3. */
  #foreign(state: DocState): number {
    const own = ownActors(this.#context.log.identity.actor, state);
    let foreign = 0;
    for (const [actor, { seq }] of state.actors) if (!own.includes(actor)) foreign += seq;
    return foreign;
  }

  /** One at a time per document; whoever comes meanwhile gets its outcome. */
  #once(doc: string, work: () => Promise<boolean>): Promise<boolean> {
    const running = this.#running.get(doc);
    if (running) return running;
    const started = work().finally(() => this.#running.delete(doc));
    this.#running.set(doc, started);
    return started;
  }
}

interface Proven {
  /** Commit up to which every change was tried, 0 for none. */
  readonly seq: number;
  readonly changes: number;
  readonly foreign: number;
}

/** Documents with more changes than this are tried only once they grew by a twentieth. */
const LARGE = 5000;
const LARGE_GROWTH = 1.05;
const REMEMBERED = 20_000;
const BLAMELESS: ReadonlySet<string> = new Set(["DOC_UNREADABLE", "WORK_FAILED", "WORK_TIMEOUT"]);

/** Forgetting costs one more try each, so all of them may go at once. */
function bounded<T>(map: Map<string, T>): Map<string, T> {
  if (map.size >= REMEMBERED) map.clear();
  return map;
}
