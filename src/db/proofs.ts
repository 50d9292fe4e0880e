import type { CheckResult } from "../documents/documents.ts";
import { isSkaldError, SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { headsOf, type DocState } from "../log/doc-state.ts";
import { ownActors } from "./own-actor.ts";
import { setAsideBroken, type QuarantineContext } from "./quarantine.ts";
import { SavedForms, shareOf } from "./saved-forms.ts";
import { sourceOf } from "./source.ts";

export interface ProofsContext extends QuarantineContext {
  /** Told of what went wrong with a document that nobody waits for. */
  readonly onError: (error: unknown) => void;
}

/** What a document was found to be when it was tried. */
export interface Tried {
  readonly setAside: boolean;
  /** The document as it was after commit `seq`, when it was sound. */
  readonly seq?: number;
  readonly json?: string;
}

/**
 * Which documents are known to read, save and load. What others wrote passed the guard and no more, so it is
 * tried in Automerge: by the projection, by a reader that meets an error, or by an author before he builds on
 * it. What this server authored is good on what was good, and is not tried.
 *
 * A trial costs a pass over the document. So the projection tries a small document whenever others changed it,
 * and a larger one that is being written when it has grown a lot or has come to rest. What it reads meanwhile
 * tells it of most bad changes all the same.
 *
 * Memory only: after a restart a document is tried again when it is next touched.
 */
export class Proofs {
  readonly #context: ProofsContext;
  readonly #saved: SavedForms;
  /** Documents to look at once they rest, each with the time it was last written at. */
  readonly #resting = new Map<string, number>();
  #stopTimer: (() => void) | undefined;
  #settling: Promise<void> | undefined;
  #closed = false;
  readonly #proven = new Map<string, Proven>();
  /** Documents that could not be read and had nothing to set aside, with the commit that was so for. */
  readonly #hopeless = new Map<string, number>();
  readonly #running = new Map<string, Promise<Tried>>();

  constructor(context: ProofsContext) {
    this.#context = context;
    this.#saved = new SavedForms(context.log, context.views);
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
    return (await this.#try(state, false)).setAside;
  }

  /** Whether `follow` would do nothing. */
  isCalm(state: DocState): boolean {
    return !this.due(state.name) && !this.#saved.wanted(state, true) && !this.#resting.has(state.name);
  }

  /** For the projection: tries a document that was written and makes its saved form, if either is worth it by now. */
  async follow(doc: string): Promise<Tried> {
    const state = this.#context.log.state(doc);
    if (!state || state.deleted) return NOTHING;
    const due = this.due(doc);
    const proven = this.#proven.get(doc)?.changes ?? 0;
    const grown = state.changes <= SMALL || state.changes - proven >= state.changes * shareOf(state.changes);
    const save = this.#saved.wanted(state, false);
    if (save || (due && (grown || this.#resting.size >= REMEMBERED))) {
      this.#resting.delete(doc);
      return due
        ? this.#try(state, save)
        : this.#keep(state)
            .catch(this.#context.onError)
            .then(() => NOTHING);
    }
    if (due || this.#saved.wanted(state, true)) this.#putOff(doc);
    else this.#resting.delete(doc);
    return NOTHING;
  }

  /** Makes the saved form of a document that has outgrown it. Throws what keeps it from being saved. */
  async keepSaved(doc: string): Promise<boolean> {
    const before = this.#context.log.state(doc);
    if (!before || !(this.#saved.wanted(before, true) || this.#saved.spread(before))) return false;
    await this.prove(doc);
    const state = this.#context.log.state(doc) as DocState;
    await this.#keep(state);
    return true;
  }

  /** Resolves when what had come to rest is tried and saved. */
  async resting(): Promise<void> {
    await this.#settling;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stopTimer?.();
    await this.#settling;
  }

  #putOff(doc: string): void {
    // In order of time.
    this.#resting.delete(doc);
    this.#resting.set(doc, this.#context.log.world.monotonic());
    this.#wake(REST_MS);
  }

  #wake(ms: number): void {
    if (this.#closed || this.#stopTimer) return;
    this.#stopTimer = this.#context.log.world.timer(ms, () => {
      this.#stopTimer = undefined;
      this.#settling ??= this.#settle()
        .catch(this.#context.onError)
        .finally(() => {
          this.#settling = undefined;
          if (this.#resting.size > 0) this.#wake(REST_MS);
        });
    });
  }

  /** Tries and saves what has come to rest, one after the other. */
  async #settle(): Promise<void> {
    const { log } = this.#context;
    for (const [doc, since] of this.#resting) {
      const left = since + REST_MS - log.world.monotonic();
      if (left > 0) return this.#wake(left);
      if (this.#closed) return;
      this.#resting.delete(doc);
      const state = log.state(doc);
      if (!state || state.deleted) continue;
      const save = this.#saved.wanted(state, true);
      if (this.due(doc)) await this.#try(state, save).catch(this.#context.onError);
      else if (save) await this.#keep(state).catch(this.#context.onError);
    }
  }

  async #keep(state: DocState): Promise<void> {
    const { refused, saved } = await this.#check(state, true);
    if (saved) return this.#put(state, saved);
    throw new SkaldError(
      "DOC_UNREADABLE",
      `The saved form of ${state.name} reads back differently: ${refused?.reason}`,
    );
  }

  #put(state: DocState, saved: Uint8Array): void {
    // Changes that were set aside meanwhile may be in it.
    const now = this.#context.log.state(state.name);
    if (!this.#closed && now?.refusedAt === state.refusedAt && now.erased === undefined)
      this.#saved.put(state, saved);
  }

  #try(state: DocState, keep: boolean): Promise<Tried> {
    const { name: doc, last: seq } = state;
    return this.#once(doc, async () => {
      try {
        const sound = await this.#sound(state, keep);
        if (sound) {
          this.#remember(state, seq);
          return { setAside: false, seq, ...(sound.json === undefined ? {} : { json: sound.json }) };
        }
        if (await this.#setAside(state)) return { setAside: true };
      } catch (error) {
        if (!isSkaldError(error) || !BLAMELESS.has(error.code)) throw error;
      }
      // It would go the same way the next time: not again before others have changed it.
      this.#remember(state, this.#proven.get(doc)?.seq ?? 0);
      return NOTHING;
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
      const hopeless = state === undefined || this.#hopeless.get(doc) === state.last;
      return { setAside: !hopeless && (await this.#setAside(state)) };
    });
  }

  /** The document when it saves and loads back as it is; its saved form is kept if wanted. */
  async #sound(state: DocState, keep: boolean): Promise<CheckResult | undefined> {
    try {
      const found = await this.#check(state, keep);
      if (found.refused) return undefined;
      if (found.saved) this.#put(state, found.saved);
      return found;
    } catch (error) {
      if (isSkaldError(error) && (error.code === "DOC_UNREADABLE" || error.code === "WORK_FAILED"))
        return undefined;
      throw error;
    }
  }

  #check(state: DocState, keep: boolean): Promise<CheckResult> {
    const { log, views, documents, docRef } = this.#context;
    return documents.check({
      docRef: docRef(state.name),
      heads: headsOf(state),
      source: sourceOf(log, views, state.name, state.last),
      changes: [],
      keep,
      deadlineMs: LIMITS.document.longJobMs.value,
    });
  }

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
  #once(doc: string, work: () => Promise<Tried>): Promise<Tried> {
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

const NOTHING: Tried = { setAside: false };

/** Changes up to which a document is tried whenever others changed it: that costs less than reading it anew. */
const SMALL = 64;
/** How long nobody has written a document that rests. */
const REST_MS = 30_000;
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
