import type { Db } from "../db/db.ts";
import { SkaldError, isSkaldError } from "../errors.ts";
import { blake3 } from "../ids/hash.ts";
import { LIMITS } from "../limits.ts";
import { pause } from "../world.ts";
import { floorOf } from "./cursor.ts";
import { readFeed, type FeedEvent } from "./feed.ts";
import type { FeedFilter } from "./feed-filter.ts";
import type { Consumer } from "./subscription-consumer.ts";
import { filterOf, rulesOf, tuningOf, type Definition } from "./subscription-definition.ts";
import { encodeState, type KeptState } from "./subscription-state.ts";
import { Subscription, type Delivery, type Parked } from "./subscription.ts";

const { consumers: mostConsumers } = LIMITS.subscription;
/** Events read at once. */
const PAGE = 256;
/** Milliseconds that a poll waits for what there is. */
const MOMENT = 100;

/**
 * A subscription at work: reads the feed for its consumers, hands out, and wakes for what is late. What it
 * decides is decided by `Subscription`; what it keeps goes through `keep`, which is durable when it resolves.
 */
export class LiveSubscription {
  readonly name: string;
  #definition: Definition;
  readonly #db: Db;
  readonly #filter: FeedFilter;
  readonly #machine: Subscription;
  readonly #consumers = new Map<string, Consumer>();
  readonly #keep: Keeper;
  /** Events of the last page that nobody was given yet. */
  #rows = new Map<number, FeedEvent>();
  #pumping: Promise<void> | undefined;
  #again = false;
  #turn = 0;
  #stopTimer = (): void => {};
  #stopCommits: (() => void) | undefined;
  #deleted = false;
  #mark: { readonly position: number; readonly bytes: Uint8Array };
  readonly #diverged: SkaldError | undefined;

  constructor(name: string, definition: Definition, db: Db, kept: KeptState, keep: Keeper) {
    this.name = name;
    this.#definition = definition;
    this.#db = db;
    this.#filter = filterOf(definition);
    this.#machine = new Subscription(rulesOf(definition), tuningOf(definition), kept);
    this.#keep = keep;
    this.#mark = { position: kept.position, bytes: kept.mark };
    this.#diverged = divergence(name, db, kept);
  }

  get definition(): Definition {
    return this.#definition;
  }

  get position(): number {
    return this.#machine.position;
  }

  get parked(): readonly Parked[] {
    return this.#machine.parked;
  }

  /** What is to be kept of it. */
  state(): Uint8Array {
    const saved = this.#machine.save();
    if (this.#mark.position !== saved.position) {
      const { position } = saved;
      this.#mark = { position, bytes: this.#markOf(position) };
    }
    return encodeState({ ...saved, mark: this.#mark.bytes, epoch: this.#db.log.epoch });
  }

  /** None of a commit that does not read: an acknowledgement must not fail for that. */
  #markOf(position: number): Uint8Array {
    try {
      return markOf(this.#db, position);
    } catch (error) {
      this.#keep.failed(error);
      return new Uint8Array(0);
    }
  }

  tune(definition: Definition): Promise<void> {
    this.#definition = definition;
    this.#machine.tune(tuningOf(definition));
    this.#pump();
    return this.#keep.now(this);
  }

  /**
   * A consumer comes. `polls`: it keeps what an earlier request of its name has, and others stay. Gives what it
   * calls to go: then what it has is given to others at once, or, with `keeps`, when the time for that is up.
   * Throws SUBSCRIPTION_LIMIT, SUBSCRIPTION_DIVERGED, SUBSCRIPTION_DELETED.
   */
  enter(consumer: Consumer, polls: boolean): (keeps?: boolean) => void {
    const { id } = consumer;
    const machine = this.#machine;
    this.checkRoom(id);
    const stays = polls && this.#isShared;
    for (const other of this.#consumers.values()) {
      if (this.#isShared && other.id !== id) continue;
      this.#leave(other, stays);
    }
    if (!(stays && machine.attach(id))) {
      // Those that are not connected, and have something still.
      if (machine.join(id, this.#now).length > 0) this.#keep.soon(this);
    }
    this.#consumers.set(id, consumer);
    this.#stopCommits ??= this.#db.log.onCommit(() => this.#pump());
    consumer.onRoom = () => this.#pump();
    this.#pump();
    return (keeps = false) => this.#leave(consumer, keeps);
  }

  /** Throws what `enter` would throw. */
  checkRoom(id: string): void {
    this.#check();
    const { consumers } = this.#machine;
    if (this.#isShared && consumers.size >= mostConsumers.value && !consumers.has(id))
      throw new SkaldError("SUBSCRIPTION_LIMIT", `${this.name} has ${mostConsumers.value} consumers.`);
  }

  /** Resolves when all that can be given now is given; where there is always more, after a moment. */
  async settled(): Promise<void> {
    let over = false;
    const { world } = this.#db.log;
    const patience = pause(world, MOMENT).then(() => {
      over = true;
    });
    while (this.#pumping && !over) await Promise.race([this.#pumping, patience]);
  }

  /**
   * Acknowledges: in `single` everything up to a seq, in `shared` the events named. Durable when it resolves.
   * Throws CURSOR_FUTURE, SUBSCRIPTION_LIMIT, STORAGE_FULL, STORAGE_FAILED.
   */
  async ack(seqs: readonly number[]): Promise<void> {
    this.#check();
    for (const seq of seqs) this.#checkSeq(seq);
    if (!this.#isShared) this.#machine.ackThrough(Math.max(...seqs));
    else if (!this.#machine.ack(seqs))
      throw new SkaldError(
        "SUBSCRIPTION_LIMIT",
        `What is acknowledged of ${this.name} would have more than ${LIMITS.subscription.ahead.value} gaps; acknowledge what comes before.`,
      );
    await this.#changed();
  }

  /** Everything up to `seq` is acknowledged, whatever the mode. */
  async ackThrough(seq: number): Promise<void> {
    this.#check();
    this.#checkSeq(seq);
    this.#machine.ackThrough(seq);
    await this.#changed();
  }

  /** Gives back what a consumer has of these, to be given again after `delay` milliseconds. Gives how many. */
  nack(id: string | undefined, seqs: readonly number[], delay: number): number {
    this.#check();
    const who = id ?? (this.#isShared ? undefined : [...this.#machine.consumers.keys()][0]);
    const count = who === undefined ? 0 : this.#machine.nack(who, seqs, delay, this.#now);
    if (count > 0) this.#keep.soon(this);
    this.#pump();
    return count;
  }

  /** Has parked events tried again. Durable when it resolves. */
  async retry(seqs: readonly number[]): Promise<number> {
    this.#check();
    const count = this.#machine.retry(seqs);
    await this.#changed();
    return count;
  }

  /** Forgets parked events. Durable when it resolves. */
  async drop(seqs: readonly number[]): Promise<number> {
    this.#check();
    const count = this.#machine.drop(seqs);
    await this.#changed();
    return count;
  }

  /** How far it is. */
  progress(): Progress {
    const machine = this.#machine;
    machine.tick(this.#now);
    const { position, counts, consumers } = machine;
    return {
      position,
      head: this.#db.log.head().seq,
      lag: this.lag,
      counts,
      full: machine.room === 0,
      consumers: [...consumers].map(([id, { out, here }]) => ({ id, out, here })),
      problem: this.#diverged,
    };
  }

  /** Commits after the position, whether they are for this subscription or not. */
  get lag(): number {
    return Math.max(0, this.#db.log.head().seq - this.#machine.position);
  }

  /** Milliseconds since the oldest of these; undefined when there are none. */
  age(): number | undefined {
    const { log } = this.#db;
    const oldest = this.lag > 0 && !this.#diverged ? log.commit(this.#machine.position + 1) : undefined;
    return oldest && Math.max(0, log.world.now() - oldest.commit.time);
  }

  get consumers(): number {
    return this.#consumers.size;
  }

  /** Ends every consumer, for good. */
  end(error: SkaldError): void {
    this.#deleted = true;
    this.#stopTimer();
    this.#stopCommits?.();
    this.#stopCommits = undefined;
    for (const consumer of this.#consumers.values()) consumer.end(error);
    this.#consumers.clear();
  }

  get #isShared(): boolean {
    return this.#definition.mode === "shared";
  }

  get #now(): number {
    return this.#db.log.world.monotonic();
  }

  #check(): void {
    if (this.#deleted) throw new SkaldError("SUBSCRIPTION_DELETED", `${this.name} is gone.`);
    if (this.#diverged) throw this.#diverged;
    const floor = floorOf(this.#db);
    if (this.#machine.position < floor)
      throw new SkaldError(
        "CURSOR_TOO_OLD",
        `${this.name} is at ${this.#machine.position}; commits up to ${floor} are not kept.`,
      );
  }

  #checkSeq(seq: number): void {
    const head = this.#db.log.head().seq;
    if (seq > head)
      throw new SkaldError("CURSOR_FUTURE", `The db is at seq ${head} and has not got to ${seq}.`, {
        details: { seq: head },
      });
  }

  #changed(): Promise<void> {
    this.#pump();
    return this.#keep.now(this);
  }

  #leave(consumer: Consumer, keeps: boolean): void {
    // One that was replaced has left already.
    if (this.#consumers.get(consumer.id) !== consumer) return;
    this.#consumers.delete(consumer.id);
    // What it has not taken yet, it will not take.
    consumer.onRoom = () => {};
    const unsent = new Set(consumer.take().map(({ event }) => event.seq));
    consumer.end(taken(this.name));
    if (keeps) this.#machine.detach(consumer.id, unsent);
    else {
      this.#machine.leave(consumer.id, this.#now, unsent);
      this.#keep.soon(this);
    }
    if (this.#consumers.size === 0) {
      this.#stopCommits?.();
      this.#stopCommits = undefined;
    }
    this.#pump();
  }

  /** Hands out until nothing more can be; one at a time, so that events come in the order they were given. */
  #pump(): void {
    this.#again = true;
    this.#pumping ??= this.#run();
  }

  async #run(): Promise<void> {
    try {
      // What calls this goes on first.
      await Promise.resolve();
      while (this.#again && !this.#deleted) {
        this.#again = false;
        while (await this.#round());
      }
    } catch (error) {
      this.#keep.failed(error);
      const known = isSkaldError(error)
        ? error
        : new SkaldError("INTERNAL", "The subscription could not be read.");
      for (const consumer of this.#consumers.values()) consumer.end(known);
    } finally {
      this.#pumping = undefined;
      this.#arm();
    }
  }

  /** Gives or reads once. False when there is nothing to do. */
  async #round(): Promise<boolean> {
    const machine = this.#machine;
    machine.tick(this.#now);
    const ready = [...this.#consumers.values()]
      .map((consumer) => ({ consumer, most: Math.min(consumer.room, machine.slots(consumer.id)) }))
      .filter(({ most }) => most > 0);
    if (ready.length === 0 || this.#deleted) return false;
    const { unread } = machine;
    if (unread.length > 0) {
      for (const seq of unread) machine.offerAgain({ seq, keys: keysOf(await this.#row(seq)) });
      return true;
    }
    if (machine.waits && (await this.#handOut(ready))) return true;
    const { room, read } = machine;
    if (room === 0 || read >= this.#db.log.head().seq) return false;
    const wanted = ready.reduce((sum, { most }) => sum + most, 0);
    const page = await readFeed(this.#db, {
      after: read,
      filter: this.#filter,
      include: this.#definition.include,
      limit: Math.min(room, wanted, PAGE),
    });
    this.#rows = new Map(page.events.map((event) => [event.seq, event]));
    const before = machine.position;
    machine.offer(
      page.events.map((event) => ({ seq: event.seq, keys: keysOf(event) })),
      page.seq,
    );
    if (machine.position > before) this.#keep.soon(this);
    return page.seq > read;
  }

  async #handOut(ready: readonly { readonly consumer: Consumer; readonly most: number }[]): Promise<boolean> {
    // Each in its turn gets a share, and who comes first changes.
    const start = (this.#turn += 1) % ready.length;
    const share = Math.ceil(this.#machine.counts.waiting / ready.length);
    let any = false;
    for (let i = 0; i < ready.length; i += 1) {
      const { consumer, most } = ready[(start + i) % ready.length] as (typeof ready)[number];
      // It may have gone, or have been replaced, while a row was read for another.
      if (this.#consumers.get(consumer.id) !== consumer) continue;
      const given = this.#machine.give(consumer.id, Math.min(most, share), this.#now);
      if (given.length === 0) continue;
      any = true;
      consumer.put(await this.#filled(given));
    }
    return any;
  }

  async #filled(given: readonly Delivery[]) {
    const filled = [];
    for (const { seq, attempt } of given) {
      const row = this.#rows.get(seq);
      filled.push({ event: row ?? (await this.#row(seq)), attempt });
      this.#rows.delete(seq);
    }
    return filled;
  }

  /** An event that was read before. */
  async #row(seq: number): Promise<FeedEvent> {
    const page = await readFeed(this.#db, {
      after: seq - 1,
      filter: this.#filter,
      include: this.#definition.include,
      limit: 1,
      maxCommits: 1,
    });
    const [event] = page.events;
    if (!event) throw new SkaldError("DB_DAMAGED", `Commit ${seq} is missing.`, { details: { seq } });
    return event;
  }

  #arm(): void {
    this.#stopTimer();
    const next = this.#machine.nextTick;
    if (next === undefined || this.#deleted || this.#consumers.size === 0) return;
    this.#stopTimer = this.#db.log.world.timer(Math.max(1, Math.ceil(next - this.#now)), () => this.#pump());
  }
}

/** Where a subscription's changes go. */
export interface Keeper {
  /** Resolves when what it is now is durable. Throws STORAGE_FULL, STORAGE_FAILED. */
  now(subscription: LiveSubscription): Promise<void>;
  /** To be kept with what comes next, or in a while. */
  soon(subscription: LiveSubscription): void;
  failed(error: unknown): void;
}

export interface Progress {
  readonly position: number;
  readonly head: number;
  readonly lag: number;
  readonly counts: Subscription["counts"];
  /** As many events are open as may be: nothing new is read before some are acknowledged. */
  readonly full: boolean;
  readonly consumers: readonly { readonly id: string; readonly out: number; readonly here: boolean }[];
  readonly problem: SkaldError | undefined;
}

function taken(name: string): SkaldError {
  return new SkaldError("SUBSCRIPTION_TAKEN", `Another consumer has ${name} now.`);
}

/** Documents as numbers: two that share one are only kept apart less often. */
function keysOf({ docs }: FeedEvent): number[] {
  return docs.map(({ doc }) => {
    let hash = 0x811c9dc5;
    for (let i = 0; i < doc.length; i += 1) hash = Math.imul(hash ^ doc.charCodeAt(i), 0x01000193);
    return hash >>> 0;
  });
}

/** First bytes of the address of a commit; none for 0. */
export function markOf(db: Db, seq: number): Uint8Array {
  const cid = seq > 0 ? (seq === db.log.head().seq ? db.log.head().cid : db.log.commit(seq)?.cid) : undefined;
  return cid ? blake3(cid).subarray(0, 8) : new Uint8Array(0);
}

/** A log that does not have what was acknowledged is another one, or an older: going on in it would skip commits. */
function divergence(name: string, db: Db, { position, ahead, mark }: KeptState): SkaldError | undefined {
  const head = db.log.head().seq;
  const furthest = ahead.at(-1)?.[1] ?? position;
  const same = mark.length === 0 || (position <= head && Buffer.compare(markOf(db, position), mark) === 0);
  if (furthest <= head && same) return undefined;
  return new SkaldError(
    "SUBSCRIPTION_DIVERGED",
    furthest > head
      ? `${name} has got to seq ${furthest}, and the log ends at ${head}.`
      : `The log's commit ${position} is not the one that ${name} has got to.`,
    { details: { position, furthest, seq: head } },
  );
}
