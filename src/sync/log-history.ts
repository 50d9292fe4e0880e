import { SkaldError } from "../errors.ts";
import { parseDocName } from "../ids/names.ts";
import type { ChangeHeader } from "../log/change.ts";
import { headsOf, type DocState } from "../log/doc-state.ts";
import { erasedError } from "../log/erased.ts";
import { genesisOf } from "../log/genesis.ts";
import type { LogReader } from "../log/reader.ts";
import type { StoredCommit } from "../log/stored-commit.ts";
import {
  Pace,
  type History,
  type HistoryChange,
  type Most,
  type Saved,
  type Since,
  type Stretch,
} from "./history.ts";
import { Graph } from "./graph.ts";
import { Walk, pastIn, pastOf, readPast, type Past } from "./past.ts";

/** What a history is made of. `historiesOf` gives a db's. */
export interface HistorySource {
  readonly log: LogReader;
  /** A saved form that is there already, and the commit it is of. */
  kept(doc: string): { readonly seq: number; readonly bytes: Uint8Array } | undefined;
  save(doc: string): Promise<Saved>;
  split(bytes: Uint8Array): Promise<readonly Uint8Array[]>;
}

/**
 * A history over the log. It keeps the last commits of the document in memory, so that what a peer lacks who
 * was here a moment ago is found without reading anything, and, once somebody needed it, the graph.
 * What a peer lacks is found by a `Walk`, so it costs the commits gone back, whatever the document is.
 */
export class LogHistory implements History {
  readonly #doc: string;
  readonly #source: HistorySource;
  readonly #log: LogReader;
  readonly #genesis: HistoryChange & { readonly actor: string };
  /** Told how many bytes more or less it holds. */
  readonly #weigh: (bytes: number) => void;
  #state: DocState | undefined;
  #refusedAt = 0;
  #heads: readonly string[] = [];
  /** The last commits without a gap, oldest first. */
  #past: Past[] = [];
  #pastBytes = 0;
  /** Commits of the changes in `#past`. */
  readonly #index = new Map<string, number>();
  readonly #graph: Graph;
  readonly #messages = new Map<string, Uint8Array>();
  /** The last saved form that was asked for: those who come at once share it. */
  #saving: Promise<Saved> | undefined;
  #savedBytes = 0;

  constructor(source: HistorySource, doc: string, weigh: (bytes: number) => void) {
    this.#source = source;
    this.#log = source.log;
    this.#doc = doc;
    this.#weigh = weigh;
    const { collection, key } = parseDocName(doc);
    this.#genesis = { ...genesisOf(source.log.identity.uid, collection, key), deps: [] };
    this.#graph = new Graph(source.log, doc, this.#genesis.hash, weigh);
  }

  get heads(): readonly string[] {
    this.#look();
    return this.#heads;
  }

  get seq(): number {
    return this.#look()?.last ?? 0;
  }

  get size(): number {
    return this.#look()?.changes ?? 0;
  }

  pace(): Pace {
    return new Pace(this.#log.world);
  }

  split(bytes: Uint8Array): Promise<readonly Uint8Array[]> {
    return this.#source.split(bytes);
  }

  refused(hash: string): boolean {
    return this.#look()?.refused.has(hash) === true;
  }

  implied(hash: string): boolean {
    return hash === this.#genesis.hash;
  }

  fresh(actor: string, actorSeq: number): boolean {
    if (actor === this.#genesis.actor) return false;
    const known = this.#look()?.actors.get(actor);
    return known === undefined || actorSeq > known.seq;
  }

  next({ actor, seq, deps }: ChangeHeader): boolean {
    const state = this.#look();
    return state !== undefined && this.fresh(actor, seq) && deps.every((dep) => state.heads.has(dep));
  }

  seqOfNow(hash: string): number | "later" | undefined {
    const state = this.#look();
    if (!state || state.refused.has(hash)) return undefined;
    if (hash === this.#genesis.hash) return 0;
    if (state.heads.has(hash)) return state.last;
    return this.#index.get(hash) ?? "later";
  }

  async seqOf(hash: string): Promise<number | undefined> {
    const now = this.seqOfNow(hash);
    if (now !== "later") return now;
    const single = this.#log.singleOfChange(this.#doc, hash);
    const bundled = this.#log.bundledUpTo(this.#doc);
    if (single !== undefined || bundled === 0) return single;
    const outline = await this.#graph.upTo(bundled);
    const index = outline.indexOf(hash);
    return index < 0 ? undefined : outline.seqOf(index);
  }

  sinceNow(known: readonly string[], most: Most): Since | "later" | undefined {
    const { found, over } = this.#walk(known, most);
    return over ? found() : "later";
  }

  async since(known: readonly string[], most: Most): Promise<Since | undefined> {
    const { walk, found, over } = this.#walk(known, most);
    if (over || !walk) return found();
    for await (const past of this.#older(this.#past[0])) {
      if (!walk.step(past)) break;
    }
    return found();
  }

  /** As far as the commits in memory go; `over` when that is far enough. */
  #walk(known: readonly string[], most: Most) {
    const state = this.#look();
    if (!state) return { found: (): Since | undefined => ({ heads: [], seq: 0, changes: [] }), over: true };
    const heads = this.#heads;
    const walk = new Walk(known, state.refused, this.#genesis, most);
    const found = (): Since | undefined =>
      walk.over ? undefined : { heads, seq: state.last, changes: walk.changes() };
    if (walk.covers(heads)) return { walk, found, over: true };
    for (let i = this.#past.length - 1; i >= 0; i -= 1) {
      if (!walk.step(this.#past[i] as Past)) return { walk, found, over: true };
    }
    return { walk, found, over: false };
  }

  async stretch(known: readonly string[]): Promise<Stretch> {
    const near = await this.since(known, NEAR);
    if (near) {
      const { changes } = near;
      const at = (i: number): HistoryChange => changes[i] as HistoryChange;
      return { length: changes.length, hash: (i) => at(i).hash, deps: (i) => at(i).deps, change: at };
    }
    const outline = await this.#graph.whole();
    const indexes = outline.after(known);
    return {
      length: indexes.length,
      hash: (i) => outline.hashOf(indexes[i] as number),
      deps: (i) => outline.depsOf(indexes[i] as number),
      change: (i) => {
        const index = indexes[i] as number;
        const change = this.#changeIn(outline.seqOf(index), outline.hashOf(index));
        if (change) return change;
        throw new SkaldError("DERIVED_DAMAGED", `A change of ${this.#doc} is not in the commit it was in.`);
      },
    };
  }

  async change(hash: string): Promise<HistoryChange | undefined> {
    const seq = await this.seqOf(hash);
    if (seq === undefined) return undefined;
    const known = this.#changeIn(this.#index.get(hash) ?? seq, hash);
    if (known) return known;
    // Of a head it is only known that it is there.
    const exact = this.#log.seqOfChange(this.#doc, hash);
    return exact === undefined ? undefined : this.#changeIn(exact, hash);
  }

  #changeIn(seq: number, hash: string): HistoryChange | undefined {
    if (seq === 0) return this.#genesis;
    const past = this.#past.find((candidate) => candidate.seq === seq) ?? readPast(this.#log, this.#doc, seq);
    return past.changes.find((change) => change.hash === hash);
  }

  async save(): Promise<Saved> {
    const state = this.#look();
    if (!state) return { seq: 0, heads: [], bytes: new Uint8Array(0) };
    const kept = this.#source.kept(this.#doc) ?? (await this.#saving?.catch(() => undefined));
    const whole = kept && (await this.#after(kept));
    if (whole) return whole;
    const saving = this.#source.save(this.#doc);
    this.#saving = saving;
    const saved = await saving.catch((error: unknown) => {
      if (this.#saving === saving) this.#saving = undefined;
      throw error;
    });
    this.#letGo();
    if (this.#saving === saving && saved.bytes.length <= SAVED_BYTES) {
      this.#savedBytes = saved.bytes.length;
      this.#weigh(saved.bytes.length);
    } else if (this.#saving === saving) this.#saving = undefined;
    return saved;
  }

  recall(key: string): Uint8Array | undefined {
    return this.#messages.get(key);
  }

  remember(key: string, message: Uint8Array): void {
    if (message.length > MESSAGE_BYTES || this.#messages.has(key)) return;
    for (const [oldest, { length }] of this.#messages) {
      if (this.#messages.size < MESSAGES) break;
      this.#messages.delete(oldest);
      this.#weigh(-length);
    }
    this.#messages.set(key, message);
    this.#weigh(message.length);
  }

  /**
   * Told of a commit by whoever made it, so that it need not be read: `changes` led to `heads`, as the
   * receipt has them. What does not join up with what is held is left to be read.
   */
  took(seq: number, changes: readonly ChangeHeader[], heads: readonly string[]): void {
    const before = this.#past.at(-1);
    // Without a commit to join up with, only a document's first one has a known base.
    if (before ? before.seq >= seq : this.#log.state(this.#doc)?.first !== seq) return;
    const base = before?.heads ?? [];
    const tips = new Set(base);
    const told = new Set([...base, this.#genesis.hash]);
    for (const change of changes) {
      // What it builds on that nobody told of may be what lies in between.
      if (change.deps.some((dep) => !told.has(dep) && !this.#index.has(dep))) return;
      for (const dep of change.deps) tips.delete(dep);
      tips.add(change.hash);
      told.add(change.hash);
    }
    if (tips.size !== heads.length || !heads.every((head) => tips.has(head))) return;
    this.#append(pastOf(seq, base, heads, changes));
  }

  /** Forgets everything that can be read again; gives how many bytes that was. */
  drop(): void {
    this.#forgetPast();
    for (const { length } of this.#messages.values()) this.#weigh(-length);
    this.#messages.clear();
    this.#graph.drop();
    this.#saving = undefined;
    this.#letGo();
  }

  #letGo(): void {
    this.#weigh(-this.#savedBytes);
    this.#savedBytes = 0;
  }

  /** Comes up to the log as it is now. Reads a few commits at most. */
  #look(): DocState | undefined {
    const state = this.#log.state(this.#doc);
    if (state === this.#state) return state;
    // Nothing of a document that is erased is kept, and nothing read of it any more.
    if (state?.erased !== undefined) {
      this.drop();
      throw erasedError(this.#doc, state.erased);
    }
    if ((state?.refusedAt ?? 0) !== this.#refusedAt) this.drop();
    this.#state = state;
    this.#refusedAt = state?.refusedAt ?? 0;
    this.#heads = state ? headsOf(state) : [];
    const newest = this.#past.at(-1);
    if (state && newest && newest.seq < state.last) this.#catchUp(newest, state.last);
    return state;
  }

  #catchUp(newest: Past, last: number): void {
    const seqs = this.#log.singles(this.#doc, last, CATCH_UP + 1);
    const from = seqs.findIndex((seq) => seq <= newest.seq);
    const missing = from < 0 ? seqs : seqs.slice(0, from);
    if (missing.length > CATCH_UP || missing[0] !== last) return this.#forgetPast();
    const read = missing.reverse().map((seq) => readPast(this.#log, this.#doc, seq));
    // Commits may have gone into a bundle in between.
    if (!same((read[0] as Past).base, newest.heads)) return this.#forgetPast();
    for (const past of read) this.#append(past);
  }

  #append(past: Past): void {
    this.#past.push(past);
    this.#enter(past);
    while (this.#past.length > 1 && (this.#pastBytes > PAST_BYTES || this.#past.length > PAST_COMMITS)) {
      const oldest = this.#past.shift() as Past;
      for (const { hash } of oldest.changes) this.#index.delete(hash);
      this.#pastBytes -= oldest.bytes;
      this.#weigh(-oldest.bytes);
    }
  }

  /** Commits before `next` (all of them without it), newest first. What is read near the end is kept. */
  async *#older(next: Past | undefined): AsyncGenerator<Past> {
    const pace = this.pace();
    let before = next ? next.seq - 1 : (this.#state?.last ?? 0);
    let page = 1;
    for (;;) {
      const seqs = this.#log.singles(this.#doc, before, page);
      for (const seq of seqs) {
        const past = readPast(this.#log, this.#doc, seq);
        this.#prepend(past);
        yield past;
        if (pace.due()) await pace.turn();
      }
      before = (seqs.at(-1) ?? before + 1) - 1;
      if (seqs.length < page) break;
      page = Math.min(PAGE, 4 * page);
    }
    for (const commits of this.#log.bundled(this.#doc)) {
      for (let i = commits.length - 1; i >= 0; i -= 1) {
        const stored = commits[i] as StoredCommit;
        const past = stored.commit.seq > before ? undefined : pastIn(stored, this.#doc);
        if (past) yield past;
        if (pace.due()) await pace.turn();
      }
    }
  }

  /** Keeps a commit that comes right before those that are held. */
  #prepend(past: Past): void {
    const oldest = this.#past[0];
    if (oldest ? oldest.seq <= past.seq || !same(oldest.base, past.heads) : past.seq !== this.#state?.last)
      return;
    if (this.#past.length >= PAST_COMMITS || this.#pastBytes + past.bytes > PAST_BYTES) return;
    this.#past.unshift(past);
    this.#enter(past);
  }

  #enter(past: Past): void {
    for (const { hash } of past.changes) this.#index.set(hash, past.seq);
    this.#pastBytes += past.bytes;
    this.#weigh(past.bytes);
  }

  #forgetPast(): void {
    this.#weigh(-this.#pastBytes);
    this.#past = [];
    this.#pastBytes = 0;
    this.#index.clear();
  }

  /** A saved form and the changes after it, when these are few. */
  async #after(saved: Pick<Saved, "seq" | "bytes">): Promise<Saved | undefined> {
    const state = this.#look();
    if (!state || saved.seq < state.refusedAt) return undefined;
    const point = this.#log.stateAt(this.#doc, saved.seq);
    const since = point && (await this.since(point.heads, TAIL));
    if (!since) return undefined;
    const bytes = new Uint8Array(
      since.changes.reduce((sum, change) => sum + change.bytes.length, saved.bytes.length),
    );
    bytes.set(saved.bytes);
    let at = saved.bytes.length;
    for (const change of since.changes) {
      bytes.set(change.bytes, at);
      at += change.bytes.length;
    }
    return { heads: since.heads, seq: since.seq, bytes };
  }
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((head, i) => head === b[i]);
}

/** Commits that one document keeps in memory. */
const PAST_COMMITS = 256;
const PAST_BYTES = 512 * 1024;
/** Commits that are looked for at once. */
const PAGE = 256;
/** Commits that are read at once to come up to the log. */
const CATCH_UP = 32;
/** Beyond this the graph is drawn instead of carrying the changes along. */
const NEAR: Most = { changes: 2000, bytes: 2 * 1024 * 1024 };
/** What is sent after a saved form rather than saving anew. */
const TAIL: Most = { changes: 1000, bytes: 256 * 1024 };
/** Messages that one document keeps. */
const MESSAGES = 8;
const MESSAGE_BYTES = 1024 * 1024;
/** Larger saved forms are not kept for the next one who comes. */
const SAVED_BYTES = 4 * 1024 * 1024;
