import type { CheckResult, Documents } from "../documents/documents.ts";
import { isSkaldError, SkaldError } from "../errors.ts";
import { toHex } from "../ids/hash.ts";
import { LIMITS } from "../limits.ts";
import { parseDocName } from "../ids/names.ts";
import { readTrustedHeader, type ChangeHeader } from "../log/change.ts";
import { headsOf, type DocState } from "../log/doc-state.ts";
import { genesisOf } from "../log/genesis.ts";
import type { Log } from "../log/log.ts";
import { RefusedSet, tipsOf } from "../log/refusals.ts";
import type { Views } from "../store/sqlite-views.ts";
import { chunksUpTo, savedForm } from "./source.ts";

/**
 * Finds the changes of a document that Automerge does not take, and sets them aside. The guard lets them
 * in because telling needs the document: see specs/decisions/0003-guard-now-automerge-after.md.
 */
export interface QuarantineContext {
  readonly log: Log;
  readonly views: Views;
  readonly documents: Documents;
  readonly docRef: (doc: string) => string;
}

export interface SetAside {
  /** Hashes of what was set aside, with everything that builds on it. */
  readonly refused: readonly string[];
  /** Everything up to this commit was tried; undefined when the time was used up before. */
  readonly provenTo: number | undefined;
}

/** Time after which what was found so far is set aside; the rest is left to the next round. */
const BUDGET_MS = 5_000;
/** Changes tried at once after one was refused: where one is bad the next often is, and alone it is sure at once. */
const AFTER_REFUSAL = 1;
const MOST_AT_ONCE = 20_000;
const MAX_TRIES = 16;

type Refused = NonNullable<CheckResult["refused"]>;

/**
 * Goes through the changes of `doc` in log order after commit `proven`, up to which they are known to be
 * good (0 for none), and sets aside each that Automerge does not take on top of those before it.
 * The document must be there. Throws what `Documents.check` and `Log.setAside` throw, and DERIVED_DAMAGED.
 */
export async function setAsideBroken(
  context: QuarantineContext,
  doc: string,
  proven: number,
): Promise<SetAside> {
  const { log } = context;
  let trial = new Trial(context, doc, proven, true);
  let tried = proven;
  for (let tries = 1; ; tries += 1) {
    const state = log.state(doc) as DocState;
    checkComplete(log, state);
    const base = headsOf(state);
    const { last } = state;
    const found = await trial.finds(log.changes(doc, tried, last).map(readTrustedHeader));
    if (found && trial.trusting) {
      // The saved form may be to blame, which is derived: only what the log alone says is set aside.
      trial = new Trial(context, doc, proven, false);
      await trial.finds(log.changes(doc, proven, last).map(readTrustedHeader));
    }
    tried = last;
    const refused = [...trial.refused.hashes].sort();
    if (refused.length === 0) return { refused, provenTo: trial.overrun ? undefined : last };
    try {
      const { seq } = await log.setAside(doc, base, refused, trial.heads(), trial.reason);
      return { refused, provenTo: trial.overrun ? undefined : seq };
    } catch (error) {
      // Another write came first: its changes are tried too.
      if (!isSkaldError(error) || error.code !== "HEADS_CONFLICT" || tries === MAX_TRIES) throw error;
    }
  }
}

/**
 * Setting aside is for ever, and which changes a document has is looked up in derived data: what lacks one
 * makes those that build on it look bad. Throws DERIVED_DAMAGED then, and nothing is set aside.
 */
function checkComplete(log: Log, state: DocState): void {
  const { name, last, changes, refused } = state;
  const { collection, key } = parseDocName(name);
  const found = log.changes(name, 0, last).map(readTrustedHeader);
  const there = new Set([
    genesisOf(log.identity.uid, collection, key).hash,
    ...found.map((change) => change.hash),
  ]);
  const whole =
    found.length === changes - refused.size &&
    found.every(({ deps }) => deps.every((dep) => there.has(dep))) &&
    tipsOf(found).join() === headsOf(state).join();
  if (!whole) throw new SkaldError("DERIVED_DAMAGED", `The catalog does not find every change of ${name}.`);
}

/** Whether the changes of a document up to commit `upTo` build on a genesis, so that it is no tip of its own. */
function descends(log: Log, doc: string, upTo: number, genesis: string): boolean {
  return (
    upTo > 0 && log.changes(doc, 0, upTo).some((bytes) => readTrustedHeader(bytes).deps.includes(genesis))
  );
}

/** A throwaway document that good changes are added to, one run after another. */
class Trial {
  readonly refused = new RefusedSet();
  /** Why the first one was refused. */
  reason = "";
  overrun = false;
  /** Whether it starts from a saved form. */
  readonly trusting: boolean;
  readonly #context: QuarantineContext;
  readonly #doc: string;
  readonly #ref: string;
  readonly #genesis: { readonly hash: string; readonly bytes: Uint8Array };
  /** What the first good change is added to. */
  readonly #base: () => Uint8Array[];
  readonly #good: Uint8Array[] = [];
  readonly #tips: Set<string>;
  /** The number of good changes behind heads that a worker was asked about: it may still hold that copy. */
  readonly #known = new Map<string, number>();
  readonly #end: number;
  #size = MOST_AT_ONCE;

  /** It starts after commit `proven`; from a saved form if it `mayTrust` one, else from the log alone. */
  constructor(context: QuarantineContext, doc: string, proven: number, mayTrust: boolean) {
    this.#context = context;
    this.#doc = doc;
    // A name of its own, so that no cached copy that a bad change is in is taken for a good one.
    this.#end = context.log.world.monotonic() + BUDGET_MS;
    this.#ref = `check-${toHex(context.log.world.random(8))}:${context.docRef(doc)}`;
    const { log, views } = context;
    const { collection, key } = parseDocName(doc);
    this.#genesis = genesisOf(log.identity.uid, collection, key);
    const heads = proven > 0 ? (log.stateAt(doc, proven)?.heads ?? []) : [];
    const upTo = heads.length > 0 ? proven : 0;
    this.#tips = new Set(heads);
    // Others may build on it where the history so far is one that somebody brought along, too.
    if (!descends(log, doc, upTo, this.#genesis.hash)) this.#tips.add(this.#genesis.hash);
    this.trusting = mayTrust && upTo > 0 && savedForm(log, views, doc) !== undefined;
    this.#base = () =>
      mayTrust ? chunksUpTo(log, views, doc, upTo) : [this.#genesis.bytes, ...log.changes(doc, 0, upTo)];
  }

  /** Tries changes, which come after all that were tried before; gives whether anything is wrong. */
  async finds(changes: readonly ChangeHeader[]): Promise<boolean> {
    try {
      await this.#run(changes);
    } catch (error) {
      if (this.trusting && isSkaldError(error) && error.code === "DOC_UNREADABLE") return true;
      throw error;
    }
    return this.refused.hashes.size > 0;
  }

  async #run(changes: readonly ChangeHeader[]): Promise<void> {
    for (let at = 0; at < changes.length;) {
      const run = this.#runFrom(changes, at);
      if (run.length === 0) {
        at += 1;
        continue;
      }
      this.overrun ||= this.#context.log.world.monotonic() > this.#end;
      const found = this.overrun ? undefined : await this.#check(run);
      const good = found ? Math.max(0, found.index) : run.length;
      this.#accept(run.slice(0, good));
      at += good;
      if (found) this.#size = AFTER_REFUSAL;
      else this.#size = Math.min(MOST_AT_ONCE, this.#size * 4);
      if (found) await this.#judge(changes[at++] as ChangeHeader, run.length === 1 ? found : undefined);
    }
  }

  /** The tips of what is left, as the document's heads are written: a genesis that is not stored is none. */
  heads(): string[] {
    const { hash } = this.#genesis;
    const stored = (): boolean => this.#context.log.seqOfChange(this.#doc, hash) !== undefined;
    return [...this.#tips].filter((tip) => tip !== hash || stored()).sort();
  }

  /** The next changes to try, none when the first of them builds on a refused one. */
  #runFrom(changes: readonly ChangeHeader[], at: number): ChangeHeader[] {
    const run: ChangeHeader[] = [];
    for (let i = at; i < changes.length && run.length < this.#size; i += 1) {
      const change = changes[i] as ChangeHeader;
      if (this.refused.takesIn(change)) break;
      run.push(change);
    }
    return run;
  }

  /**
   * Refuses a change, unless it is taken when tried alone. After a panic a check goes on in a module that is not
   * to be trusted, so only what it says of a single change counts, and only when the document itself is sound.
   */
  async #judge(change: ChangeHeader, known: Refused | undefined): Promise<void> {
    const found = known ?? (await this.#check([change]));
    if (!found) return this.#accept([change]);
    if (found.index < 0) {
      const own = await this.#check([]);
      if (own) throw new SkaldError("DOC_UNREADABLE", `${this.#doc} does not load: ${own.reason}`);
    }
    this.refused.add(change);
    this.reason ||= found.reason.slice(0, 200).replace(/[\ud800-\udbff]$/, "");
  }

  #accept(changes: readonly ChangeHeader[]): void {
    for (const { hash, deps, bytes } of changes) {
      for (const dep of deps) this.#tips.delete(dep);
      this.#tips.add(hash);
      this.#good.push(bytes);
    }
  }

  async #check(changes: readonly ChangeHeader[]): Promise<Refused | undefined> {
    const heads = [...this.#tips].sort();
    this.#known.set(heads.join(), this.#good.length);
    const { refused } = await this.#context.documents.check({
      docRef: this.#ref,
      heads,
      changes: changes.map(({ bytes }) => bytes),
      source: (have) => {
        const held = have.length > 0 ? this.#known.get(have.toSorted().join()) : undefined;
        return { chunks: held === undefined ? [...this.#base(), ...this.#good] : this.#good.slice(held) };
      },
      deadlineMs: LIMITS.document.longJobMs.value,
    });
    return refused;
  }
}
