import type { Db } from "../db/db.ts";
import { isSkaldError } from "../errors.ts";
import { MAIN } from "../log/branches.ts";
import { automergeIdText } from "../log/automerge-ids.ts";
import { Answers } from "./answer.ts";
import { DbSource, type Visible } from "./db-source.ts";
import { busy, type Kept } from "./kept.ts";
import type { GraphQuery, GraphResult } from "./query.ts";
import { Walk } from "./walk.ts";

/** Somebody who watches. */
export interface GraphMember {
  /** What there is to see: once as of when it came, then whenever that is another. */
  take(result: GraphResult): void;
  /** The watch cannot go on. */
  fail(error: unknown): void;
}

/**
 * One watch, for all who ask it. It keeps its walk: what it found is brought up to date by the documents that commits
 * touched meanwhile, so a burst of commits costs one evaluation after the one that was under way.
 *
 * Invariant: whatever it says is the answer as of one commit, up to which it was told of everything that was touched.
 */
export class GraphWatch {
  readonly query: GraphQuery;
  /** The branch as it was named at first: another may get its name. */
  readonly branchId: number;
  ended = false;
  readonly #db: Db;
  readonly #visible: Visible;
  readonly #kept: Kept;
  readonly #toldUpTo: () => number;
  readonly #onEmpty: () => void;
  /** Members, and up to which commit they have to have heard before they get their first result. */
  readonly #coming = new Map<GraphMember, number>();
  readonly #members = new Set<GraphMember>();
  readonly #gone = new AbortController();
  #walk: Walk | undefined;
  #answers: Answers | undefined;
  #places = 0;
  #result: GraphResult | undefined;
  /** Documents to look at again; all that were touched, while it is not known which it will come to. */
  #again = new Set<string>();
  #touched = new Set<string>();
  #running = false;
  #seq = -1;

  constructor(
    db: Db,
    query: GraphQuery,
    visible: Visible,
    kept: Kept,
    toldUpTo: () => number,
    onEmpty: () => void,
  ) {
    this.#db = db;
    this.query = query;
    this.branchId = db.log.branchId(query.branch);
    this.#visible = visible;
    this.#kept = kept;
    this.#toldUpTo = toldUpTo;
    this.#onEmpty = onEmpty;
  }

  get branch(): string {
    return this.query.branch ?? MAIN;
  }

  get hasBranch(): boolean {
    return this.branchId === 0 || this.#db.log.branch(this.branch)?.id === this.branchId;
  }

  /** The commit as of which its result holds; -1 before there is any. */
  get seq(): number {
    return this.#seq < 0 ? -1 : this.#db.log.seqOn(this.#seq, this.query.branch);
  }

  join(member: GraphMember, upTo: number): void {
    this.#coming.set(member, upTo);
  }

  leave(member: GraphMember): void {
    this.#coming.delete(member);
    this.#members.delete(member);
    if (this.#coming.size + this.#members.size === 0) this.#end();
  }

  touched(doc: string, idOf: () => string): void {
    if (this.#running) this.#touched.add(doc);
    else if (this.#walk?.minds(doc, idOf) === true) this.#again.add(doc);
  }

  fail(error: unknown): void {
    const members = [...this.#coming.keys(), ...this.#members];
    this.#coming.clear();
    this.#members.clear();
    this.#end();
    for (const member of members) member.fail(error);
  }

  /** Does what is to be done; nothing when nothing is. */
  look(): void {
    if (this.#running || this.ended) return;
    if (this.#walk && this.#again.size === 0) this.#seq = this.#toldUpTo();
    else void this.#run();
    this.#welcome();
  }

  async #run(): Promise<void> {
    this.#running = true;
    try {
      while (!this.ended && (!this.#walk || this.#again.size > 0)) {
        await this.#evaluate();
        const { uid } = this.#db.log.identity;
        for (const doc of this.#touched)
          if (this.#walk?.minds(doc, () => automergeIdText(uid, doc)) === true) this.#again.add(doc);
        this.#touched.clear();
        this.#welcome();
      }
    } catch (error) {
      if (!this.ended) this.fail(error);
    } finally {
      this.#running = false;
    }
    this.look();
  }

  async #evaluate(): Promise<void> {
    const { branch } = this.query;
    const told = this.#toldUpTo();
    const seq = this.#db.log.seqOn(told, branch);
    const source = new DbSource(this.#db, branch, seq, this.#visible);
    const again = this.#again;
    this.#again = new Set();
    this.#kept.evaluations += 1;
    let walk = this.#walk;
    let answer;
    try {
      if (walk && this.#answers) {
        await walk.update(source, again);
        answer = await this.#answers.answer();
      }
    } catch (error) {
      // What is let go of counts until it is gone, so one that changes a lot may have to begin anew.
      if (!isSkaldError(error) || error.code !== "QUERY_LIMIT") throw error;
      walk = undefined;
    }
    if (!walk || !answer) {
      walk = this.#walk = new Walk(this.query, this.#db.log.world, this.#gone.signal);
      this.#answers = new Answers(walk);
      await walk.begin(source);
      answer = await this.#answers.answer();
    }
    if (this.ended) return;
    this.#keep(walk.size);
    this.#seq = told;
    const changed = answer.hash !== this.#result?.answer.hash;
    this.#result = { seq, answer };
    if (changed) for (const member of this.#members) member.take(this.#result);
  }

  /** Gives those who came what there is, if it is as new as what they may have seen. */
  #welcome(): void {
    for (const [member, upTo] of this.#coming) {
      if (!this.#result || this.#seq < upTo) continue;
      this.#coming.delete(member);
      this.#members.add(member);
      member.take({ seq: this.seq, answer: this.#result.answer });
    }
  }

  /** Throws QUERY_BUSY. */
  #keep(places: number): void {
    this.#kept.places += places - this.#places;
    this.#places = places;
    if (places > 0 && this.#kept.places > this.#kept.most) throw busy(this.#kept.most);
  }

  #end(): void {
    if (this.ended) return;
    this.ended = true;
    this.#gone.abort();
    this.#keep(0);
    this.#walk = this.#answers = undefined;
    this.#onEmpty();
  }
}
