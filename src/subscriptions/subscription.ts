import { Ranges } from "./subscription-ranges.ts";

/**
 * What a durable subscription is and does, as plain code: inputs are what was read from the feed, what consumers
 * say, and the time; outputs are deliveries and what must be kept. No clock, no file, no waiting.
 *
 * Invariants:
 * - Every seq above `position` up to `read` is either open (it waits or is out) or settled (acknowledged, parked,
 *   or not for this subscription). So nothing is lost, and `position` never passes an open event.
 * - An event that is out at one consumer is given to no other before its time is up, it was given back, or
 *   the consumer went.
 * - `single`: one consumer, events in order, acknowledged through a seq. `shared`: each event alone.
 * - With `key`, the events of one key that are out are out at one consumer, and none overtakes an earlier one.
 * - Open events never exceed `mostOpen` (but for retried ones, which count as parked), so neither do the gaps
 *   that an acknowledgement can leave.
 */
export class Subscription {
  readonly #rules: Rules;
  #tuning: Tuning;
  #position: number;
  #read: number;
  /** Above the position. */
  readonly #settled = new Ranges();
  readonly #open = new Map<number, Open>();
  /** By seq. */
  readonly #waiting: Open[] = [];
  /** By when they may go. */
  readonly #delayed: Open[] = [];
  /** By when they were given: with one timeout for all, the first is the first to be late. */
  readonly #out = new Map<number, Open>();
  readonly #consumers = new Map<string, Consumer>();
  /** Keys of which events are out, with where and how many. */
  readonly #keysOut = new Map<number, { consumer: string; count: number }>();
  readonly #parked = new Map<number, Parked>();
  /** Failed deliveries of events that were not read again since the start. */
  readonly #failures = new Map<number, number>();

  constructor(rules: Rules, tuning: Tuning, saved: Saved) {
    this.#rules = rules;
    this.#tuning = tuning;
    this.#position = saved.position;
    this.#read = saved.position;
    for (const [first, last] of saved.ahead) this.#settled.add(first, last);
    for (const [seq, failures] of saved.failures) this.#failures.set(seq, failures);
    for (const parked of saved.parked) this.#parked.set(parked.seq, parked);
    this.#advance();
  }

  /** Every event up to it is settled. */
  get position(): number {
    return this.#position;
  }

  /** After which seq to read on. */
  get read(): number {
    return this.#settled.endOf(this.#read + 1) ?? this.#read;
  }

  /** How many more events may be read. */
  get room(): number {
    return Math.max(0, this.#rules.mostOpen - this.#open.size);
  }

  get counts(): { open: number; waiting: number; out: number; ahead: number; parked: number } {
    return {
      open: this.#open.size,
      waiting: this.#waiting.length,
      out: this.#out.size,
      ahead: this.#settled.count,
      parked: this.#parked.size,
    };
  }

  get consumers(): ReadonlyMap<string, { readonly out: number; readonly here: boolean }> {
    return this.#consumers;
  }

  get parked(): readonly Parked[] {
    return [...this.#parked.values()].sort((a, b) => a.seq - b.seq);
  }

  /** What a restart needs. */
  save(): Saved {
    const failures = [...this.#failures];
    for (const { seq, failed, retried } of this.#open.values())
      if (failed > 0 && !retried) failures.push([seq, failed]);
    return {
      position: this.#position,
      ahead: this.#settled.list(),
      failures: failures.sort(([a], [b]) => a - b),
      parked: this.parked,
    };
  }

  /** How it may be tuned while it lives; takes effect for what is out as well. */
  tune(tuning: Tuning): void {
    this.#tuning = tuning;
  }

  /** Takes what was read: the events above `read` up to `through` that are for this subscription, in order. */
  offer(events: readonly Offered[], through: number): void {
    let before = this.#read;
    for (const { seq, keys } of events) {
      if (seq <= before) continue;
      if (this.#settled.has(seq)) continue;
      this.#settled.add(before + 1, seq - 1);
      this.#wait(this.#opened(seq, keys, this.#failures.get(seq) ?? 0, false));
      this.#failures.delete(seq);
      before = seq;
    }
    this.#settled.add(before + 1, through);
    this.#read = Math.max(this.#read, through);
    this.#advance();
  }

  /** Parked events that are to be tried again and whose keys are to be read first. */
  get unread(): readonly number[] {
    return [...this.#parked.values()]
      .filter(({ seq, retry }) => retry && !this.#open.has(seq))
      .map(({ seq }) => seq);
  }

  /** The keys of one of `unread`. */
  offerAgain({ seq, keys }: Offered): void {
    const parked = this.#parked.get(seq);
    if (!parked?.retry || this.#open.has(seq)) return;
    this.#wait(this.#opened(seq, keys, 0, true));
  }

  /** A consumer comes, or comes again. Gives those who must go for it: with `single` every other, and itself as it was. */
  join(id: string, now: number): string[] {
    const goes =
      this.#rules.mode === "single" ? [...this.#consumers.keys()] : this.#consumers.has(id) ? [id] : [];
    for (const gone of goes) this.leave(gone, now);
    this.#consumers.set(id, { out: 0, here: true });
    return goes;
  }

  /** It comes again and keeps what it has. False when it is not known. */
  attach(id: string): boolean {
    const consumer = this.#consumers.get(id);
    if (consumer) consumer.here = true;
    return consumer !== undefined;
  }

  /** It goes and keeps what it has, until the time of that is up, but for what never reached it. */
  detach(id: string, unsent: ReadonlySet<number> = NONE): void {
    const consumer = this.#consumers.get(id);
    if (!consumer) return;
    for (const seq of unsent) {
      const event = this.#out.get(seq);
      if (event?.consumer !== id) continue;
      this.#recall(event);
      this.#wait(event);
    }
    consumer.here = false;
    if (consumer.out === 0) this.#consumers.delete(id);
  }

  /** It goes, and what it has goes back: as a delivery that came to nothing, but for what never reached it. */
  leave(id: string, now: number, unsent: ReadonlySet<number> = NONE): void {
    const has = [...this.#out.values()]
      .filter(({ consumer }) => consumer === id)
      .sort((a, b) => a.seq - b.seq);
    has.forEach((event, i) => {
      this.#recall(event);
      // In order, what comes after the first was not its consumer's to fail at.
      if ((this.#rules.mode === "single" && i > 0) || unsent.has(event.seq)) this.#wait(event);
      else this.#fail(event, "gone", now, now);
    });
    this.#consumers.delete(id);
  }

  /** How many events `id` may have beyond those that it has. */
  slots(id: string): number {
    const consumer = this.#consumers.get(id);
    return consumer ? Math.max(0, this.#tuning.maxUnacked - consumer.out) : 0;
  }

  /** Whether anything waits that `give` would look at. */
  get waits(): boolean {
    return this.#waiting.length > 0;
  }

  /** Gives `id` up to `most` events that it may have now. */
  give(id: string, most: number, now: number): Delivery[] {
    const consumer = this.#consumers.get(id);
    const room = Math.min(most, this.slots(id));
    if (!consumer || room <= 0 || this.#waiting.length === 0) return [];
    const given = this.#rules.mode === "single" ? this.#inOrder(room) : this.#free(id, room);
    for (const event of given) {
      event.consumer = id;
      event.since = now;
      consumer.out += 1;
      this.#out.set(event.seq, event);
      for (const key of event.keys) this.#holdKey(key, id);
    }
    return given.map(({ seq, failed }) => ({ seq, attempt: failed + 1 }));
  }

  /**
   * The events are done, whoever had them. Gives false, and takes none, when those that were not read yet would
   * leave too many gaps.
   */
  ack(seqs: readonly number[]): boolean {
    const early = seqs.filter((seq) => seq > this.#read && !this.#settled.has(seq));
    if (early.length > 0 && this.#settled.count + early.length > this.#rules.mostAhead) return false;
    for (const seq of early) this.#settled.add(seq, seq);
    for (const seq of seqs) {
      const event = this.#open.get(seq);
      if (event) this.#done(event);
      this.#failures.delete(seq);
      // Whoever has done it late, or before it was read again, has done it.
      this.#parked.delete(seq);
    }
    this.#advance();
    return true;
  }

  /** Everything up to `seq` is done, but for what was parked: that is named on its own. */
  ackThrough(seq: number): void {
    if (this.#parked.get(seq)?.retry) {
      const named = this.#open.get(seq);
      if (named) this.#done(named);
      this.#parked.delete(seq);
      return;
    }
    for (const event of this.#open.values()) if (event.seq <= seq && !event.retried) this.#done(event);
    for (const failed of this.#failures.keys()) if (failed <= seq) this.#failures.delete(failed);
    this.#settled.add(this.#position + 1, seq);
    this.#read = Math.max(this.#read, seq);
    this.#advance();
  }

  /** Gives back what `id` has of `seqs`, to be given again after `delay`. Gives how many these were. */
  nack(id: string, seqs: readonly number[], delay: number, now: number): number {
    let count = 0;
    for (const seq of seqs) {
      const event = this.#out.get(seq);
      if (!event || event.consumer !== id) continue;
      count += 1;
      this.#recall(event);
      this.#fail(event, "nack", now, now + delay);
      if (this.#rules.mode === "shared" || event.retried) continue;
      // In order: what came after it comes after it again.
      const later = [...this.#out.values()].filter((other) => other.seq > seq && !other.retried);
      for (const other of later) {
        this.#recall(other);
        this.#wait(other);
      }
    }
    return count;
  }

  /** Takes back what is late and lets go what has waited long enough. */
  tick(now: number): void {
    while (this.#delayed[0] && this.#delayed[0].notBefore <= now) this.#wait(this.#delayed.shift() as Open);
    if (this.#rules.mode === "single") return;
    for (const event of this.#out.values()) {
      if (event.since + this.#tuning.ackMs > now) break;
      this.#recall(event);
      this.#fail(event, "timeout", now, now);
    }
  }

  /** When `tick` next has something to do; undefined when never. */
  get nextTick(): number | undefined {
    const delayed = this.#delayed[0]?.notBefore;
    if (this.#rules.mode === "single") return delayed;
    const [first] = this.#out.values();
    if (!first) return delayed;
    return Math.min(delayed ?? Infinity, first.since + this.#tuning.ackMs);
  }

  /** Has parked events tried again. Gives how many of `seqs` are parked. */
  retry(seqs: readonly number[]): number {
    let count = 0;
    for (const seq of seqs) {
      const parked = this.#parked.get(seq);
      if (!parked || parked.retry) continue;
      this.#parked.set(seq, { ...parked, retry: true });
      count += 1;
    }
    return count;
  }

  /** Forgets parked events for good. */
  drop(seqs: readonly number[]): number {
    let count = 0;
    for (const seq of seqs) {
      const parked = this.#parked.get(seq);
      if (!parked || parked.retry) continue;
      this.#parked.delete(seq);
      count += 1;
    }
    return count;
  }

  #inOrder(room: number): Open[] {
    let blocked = Infinity;
    for (const { seq, retried } of this.#delayed) if (!retried && seq < blocked) blocked = seq;
    let count = 0;
    while (count < room && count < this.#waiting.length && (this.#waiting[count] as Open).seq < blocked)
      count += 1;
    return this.#waiting.splice(0, count);
  }

  #free(id: string, room: number): Open[] {
    if (!this.#rules.keyed) return this.#waiting.splice(0, room);
    // Keys of earlier events that stay where they are.
    const blocked = new Map<number, number>();
    const block = ({ seq, keys }: Open): void => {
      for (const key of keys) if ((blocked.get(key) ?? Infinity) > seq) blocked.set(key, seq);
    };
    this.#delayed.forEach(block);
    const given: Open[] = [];
    const stays: Open[] = [];
    let at = 0;
    for (; at < this.#waiting.length && given.length < room; at += 1) {
      const event = this.#waiting[at] as Open;
      const free = event.keys.every((key) => {
        const out = this.#keysOut.get(key);
        return (blocked.get(key) ?? Infinity) > event.seq && (!out || out.consumer === id);
      });
      if (free) given.push(event);
      else {
        stays.push(event);
        block(event);
      }
    }
    this.#waiting.splice(0, at, ...stays);
    return given;
  }

  #opened(seq: number, keys: readonly number[], failed: number, retried: boolean): Open {
    const event: Open = {
      seq,
      keys: this.#rules.keyed ? keys : NO_KEYS,
      failed,
      retried,
      consumer: "",
      since: 0,
      notBefore: 0,
    };
    this.#open.set(seq, event);
    return event;
  }

  #wait(event: Open): void {
    event.notBefore = 0;
    const last = this.#waiting.at(-1);
    if (!last || last.seq < event.seq) this.#waiting.push(event);
    else this.#waiting.splice(placeOf(this.#waiting, event.seq), 0, event);
  }

  /** Takes an event from whoever has it. */
  #recall(event: Open): void {
    this.#out.delete(event.seq);
    const consumer = this.#consumers.get(event.consumer);
    if (consumer && (consumer.out -= 1) === 0 && !consumer.here) this.#consumers.delete(event.consumer);
    for (const key of event.keys) this.#freeKey(key);
    event.consumer = "";
  }

  /** A delivery came to nothing. */
  #fail(event: Open, reason: Reason, now: number, notBefore: number): void {
    event.failed += 1;
    const { maxAttempts } = this.#tuning;
    // With no room to park it goes on being delivered: that shows, and nothing stands still.
    const room = event.retried || this.#parked.size < this.#rules.mostParked;
    if (maxAttempts !== undefined && event.failed >= maxAttempts && room) {
      this.#done(event);
      this.#parked.set(event.seq, { seq: event.seq, attempts: event.failed, reason, retry: false });
      this.#advance();
    } else if (notBefore > now) {
      event.notBefore = notBefore;
      const after = this.#delayed.findIndex((other) => other.notBefore > notBefore);
      this.#delayed.splice(after < 0 ? this.#delayed.length : after, 0, event);
    } else this.#wait(event);
  }

  /** Settles an open event, wherever it is. */
  #done(event: Open): void {
    const { seq } = event;
    if (this.#out.has(seq)) this.#recall(event);
    else {
      const at = placeOf(this.#waiting, seq);
      if (this.#waiting[at] === event) this.#waiting.splice(at, 1);
      else {
        const delayed = this.#delayed.indexOf(event);
        if (delayed >= 0) this.#delayed.splice(delayed, 1);
      }
    }
    this.#open.delete(seq);
    if (event.retried) this.#parked.delete(seq);
    else if (seq > this.#position) this.#settled.add(seq, seq);
  }

  #advance(): void {
    this.#position = this.#settled.settle(this.#position);
    this.#read = Math.max(this.#read, this.#position);
  }

  #holdKey(key: number, consumer: string): void {
    const out = this.#keysOut.get(key);
    if (out) out.count += 1;
    else this.#keysOut.set(key, { consumer, count: 1 });
  }

  #freeKey(key: number): void {
    const out = this.#keysOut.get(key);
    if (out && (out.count -= 1) === 0) this.#keysOut.delete(key);
  }
}

/** What never changes in a subscription's life. */
export interface Rules {
  readonly mode: "single" | "shared";
  readonly keyed: boolean;
  /** Events that may be open at once. */
  readonly mostOpen: number;
  /** Ranges of what is settled above the position. */
  readonly mostAhead: number;
  readonly mostParked: number;
}

export interface Tuning {
  /** Milliseconds after which an event that is out is given again; of no effect with `single`. */
  readonly ackMs: number;
  /** Events that one consumer may have. */
  readonly maxUnacked: number;
  /** Deliveries after which an event is parked; undefined: never. */
  readonly maxAttempts: number | undefined;
}

export interface Saved {
  readonly position: number;
  readonly ahead: readonly (readonly [first: number, last: number])[];
  /** Seqs of open events with the number of deliveries that came to nothing. */
  readonly failures: readonly (readonly [seq: number, failed: number])[];
  readonly parked: readonly Parked[];
}

/** Why the last delivery of an event came to nothing. */
export type Reason = "nack" | "timeout" | "gone";

export interface Parked {
  readonly seq: number;
  readonly attempts: number;
  readonly reason: Reason;
  /** It is to be tried again, or is being. */
  readonly retry: boolean;
}

export interface Offered {
  readonly seq: number;
  /** Numbers for what it is about; two things may share one, which then only waits longer. */
  readonly keys: readonly number[];
}

export interface Delivery {
  readonly seq: number;
  /** 1 for the first. */
  readonly attempt: number;
}

interface Open {
  readonly seq: number;
  readonly keys: readonly number[];
  readonly retried: boolean;
  failed: number;
  /** Who has it, and since when; "" for nobody. */
  consumer: string;
  since: number;
  notBefore: number;
}

interface Consumer {
  out: number;
  /** Connected, or waiting for an answer. */
  here: boolean;
}

const NO_KEYS: readonly number[] = [];
const NONE: ReadonlySet<number> = new Set();

/** Where the event of `seq` stands, or would. */
function placeOf(events: readonly Open[], seq: number): number {
  let low = 0;
  let high = events.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((events[middle] as Open).seq < seq) low = middle + 1;
    else high = middle;
  }
  return low;
}
