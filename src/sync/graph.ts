import type { LogReader } from "../log/reader.ts";
import { Pace } from "./history.ts";
import { Outline } from "./outline.ts";
import { pastIn, readPast, type Past } from "./past.ts";

/** The outline of a document, drawn when it is first asked for and added to when the document moved on. */
export class Graph {
  readonly #log: LogReader;
  readonly #doc: string;
  readonly #genesis: string;
  readonly #weigh: (bytes: number) => void;
  /** What is drawn, and the commit that it is of. */
  #drawn: { readonly outline: Outline; readonly seq: number } | undefined;
  #drawing: Promise<void> | undefined;

  constructor(log: LogReader, doc: string, genesis: string, weigh: (bytes: number) => void) {
    this.#log = log;
    this.#doc = doc;
    this.#genesis = genesis;
    this.#weigh = weigh;
  }

  /** An outline with everything up to commit `seq`, perhaps more. */
  async upTo(seq: number): Promise<Outline> {
    const drawn = this.#drawn;
    return drawn && drawn.seq >= seq ? drawn.outline : this.whole();
  }

  /** An outline of the document as it is. */
  async whole(): Promise<Outline> {
    for (;;) {
      const last = this.#log.state(this.#doc)?.last ?? 0;
      if (this.#drawn?.seq === last) return this.#drawn.outline;
      this.#drawing ??= this.#draw().finally(() => {
        this.#drawing = undefined;
      });
      await this.#drawing;
    }
  }

  drop(): void {
    if (this.#drawn) this.#weigh(-this.#drawn.outline.bytes);
    this.#drawn = undefined;
  }

  async #draw(): Promise<void> {
    const { last = 0, refusedAt = 0, refused } = this.#log.state(this.#doc) ?? {};
    const bundled = this.#log.bundledUpTo(this.#doc);
    const old = this.#drawn && this.#drawn.seq >= bundled ? this.#drawn : undefined;
    const after = Math.max(bundled, old?.seq ?? 0);
    const outline = old?.outline ?? new Outline();
    const before = this.#drawn?.outline.bytes ?? 0;
    const pace = new Pace(this.#log.world);
    const note = (past: Past | undefined): void => {
      for (const { hash, deps } of past?.changes ?? []) {
        if (refused?.has(hash) === true || outline.indexOf(hash) >= 0) continue;
        if (deps.includes(this.#genesis) && outline.indexOf(this.#genesis) < 0)
          outline.add(this.#genesis, [], 0);
        outline.add(hash, deps, past?.seq ?? 0);
      }
    };
    for (const commits of old ? [] : this.#log.bundled(this.#doc, "oldest first")) {
      for (const stored of commits) {
        note(pastIn(stored, this.#doc));
        if (pace.due()) await pace.turn();
      }
    }
    const seqs: number[] = [];
    for (let from = last; from > after;) {
      const page = this.#log.singles(this.#doc, from, PAGE);
      seqs.push(...page.filter((seq) => seq > after));
      from = page.length < PAGE ? 0 : (page.at(-1) as number) - 1;
      if (pace.due()) await pace.turn();
    }
    for (const seq of seqs.reverse()) {
      note(readPast(this.#log, this.#doc, seq));
      if (pace.due()) await pace.turn();
    }
    // What was bundled or set aside meanwhile: once more from the start.
    if (bundled !== this.#log.bundledUpTo(this.#doc)) return;
    if (refusedAt !== (this.#log.state(this.#doc)?.refusedAt ?? 0)) return;
    this.#weigh(outline.bytes - (this.#drawn ? before : 0));
    this.#drawn = { outline, seq: last };
  }
}

const PAGE = 256;
