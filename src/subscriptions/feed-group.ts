import type { Db } from "../db/db.ts";
import { readChunk, type FeedChunk, type FeedWish } from "./feed-chunks.ts";
import { feedEncoder, type FeedEncoder, type FeedFormat } from "./feed-encoder.ts";
import { filterKey } from "./feed-filter.ts";

/**
 * Those who follow one db with the same wish in the same format: what is committed is read and encoded once
 * for all of them who are at the head. Who is not, because it began earlier or reads slowly, reads for itself
 * until it is, so nobody waits for anybody and nothing is kept for a reader but what it has not taken.
 */
export interface Follower {
  /** The seq up to which it has everything. */
  seq: number;
  /** Takes the next chunk. False when it can take no more for now: then it comes back by itself. */
  take(chunk: FeedChunk): boolean;
  /** It is not where its group is: it is to come back, now. */
  again(): void;
  /** The feed cannot go on: the db is damaged or closing. */
  fail(error: unknown): void;
}

class FeedGroup {
  readonly db: Db;
  readonly wish: FeedWish;
  readonly #encoder: FeedEncoder;
  readonly #members = new Set<Follower>();
  readonly #onEmpty: () => void;
  readonly #stop: () => void;
  #seq: number;
  #running = false;
  /** Followers on their way to the head. */
  #coming = 0;

  constructor(db: Db, wish: FeedWish, format: FeedFormat, onEmpty: () => void) {
    this.db = db;
    this.wish = wish;
    this.#encoder = feedEncoder(db, format);
    this.#onEmpty = onEmpty;
    this.#seq = db.log.head().seq;
    this.#stop = db.log.onCommit(() => void this.#run());
  }

  come(): void {
    this.#coming += 1;
  }

  gone(): void {
    this.#coming -= 1;
    this.#settle();
  }

  /** Where a follower that is behind can join. */
  get seq(): number {
    return this.#seq;
  }

  join(follower: Follower): void {
    this.#members.add(follower);
    void this.#run();
  }

  leave(follower: Follower): void {
    if (this.#members.delete(follower)) this.#settle();
  }

  async #run(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.#seq < this.db.log.head().seq) {
        if (this.#members.size === 0) {
          // Nobody waits for these; who comes later reads them for itself.
          this.#seq = this.db.log.head().seq;
          break;
        }
        const options = { ...this.wish, after: this.#seq, upTo: Infinity, limit: Infinity };
        const chunk = await readChunk(this.db, this.#encoder, options);
        this.#seq = chunk.seq;
        for (const member of this.#members) {
          if (member.seq === chunk.from) {
            if (!member.take(chunk)) this.#members.delete(member);
          } else if (member.seq < chunk.seq) {
            // It began at a commit in the midst of these.
            this.#members.delete(member);
            member.again();
          }
        }
      }
    } catch (error) {
      const members = [...this.#members];
      this.#members.clear();
      for (const member of members) member.fail(error);
    } finally {
      this.#running = false;
      this.#settle();
    }
  }

  #settle(): void {
    if (this.#members.size > 0 || this.#coming > 0 || this.#running) return;
    this.#stop();
    this.#onEmpty();
  }
}

/** All groups of a process. */
export class FeedGroups {
  readonly #groups = new WeakMap<Db, Map<string, FeedGroup>>();

  /**
   * Gives `follower` everything after its seq until it can take no more, and joins it to its group when it is
   * at the head. Gives what makes it leave the group.
   */
  async follow(
    db: Db,
    wish: FeedWish,
    format: FeedFormat,
    follower: Follower,
    signal: AbortSignal,
  ): Promise<() => void> {
    const group = this.#group(db, wish, format);
    const leave = (): void => group.leave(follower);
    group.come();
    try {
      // Its own: what one has begun to write must not get between another's.
      let encoder: FeedEncoder | undefined;
      while (!signal.aborted && follower.seq < group.seq) {
        encoder ??= feedEncoder(db, format);
        const options = { ...wish, after: follower.seq, upTo: group.seq, limit: Infinity };
        const chunk = await readChunk(db, encoder, options, signal);
        if (isAborted(signal) || !follower.take(chunk)) return leave;
      }
      // In the turn in which it was seen to be there, so that no chunk comes in between.
      if (!signal.aborted) group.join(follower);
      return leave;
    } finally {
      group.gone();
    }
  }

  #group(db: Db, wish: FeedWish, format: FeedFormat): FeedGroup {
    let groups = this.#groups.get(db);
    if (!groups) {
      groups = new Map();
      this.#groups.set(db, groups);
    }
    const known = groups;
    const key = `${format} ${wish.include} ${filterKey(wish.filter)}`;
    let group = known.get(key);
    if (!group) {
      group = new FeedGroup(db, wish, format, () => known.delete(key));
      known.set(key, group);
    }
    return group;
  }
}

function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
