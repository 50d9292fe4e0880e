import fc from "fast-check";
import {
  Subscription,
  type Delivery,
  type Offered,
  type Rules,
  type Saved,
  type Tuning,
} from "../../src/subscriptions/subscription.ts";

/**
 * Drives a subscription by commands and holds it to what it promises. The model is a list of the feed's events
 * with what became of each; it knows nothing of positions, ranges or windows.
 */

export type Step =
  | { readonly do: "grow"; readonly events: readonly (readonly number[] | null)[] }
  | { readonly do: "read"; readonly most: number }
  | { readonly do: "join" | "attach" | "detach" | "leave"; readonly who: number }
  | { readonly do: "give"; readonly who: number; readonly most: number }
  | { readonly do: "ack" | "early"; readonly pick: readonly number[] }
  | { readonly do: "nack"; readonly who: number; readonly pick: number; readonly delay: number }
  | { readonly do: "through"; readonly pick: number }
  | { readonly do: "wait"; readonly ms: number }
  | { readonly do: "retry" | "drop"; readonly pick: number }
  | { readonly do: "save" }
  | { readonly do: "crash" };

export interface Setting {
  readonly mode: "single" | "shared";
  readonly keyed: boolean;
  readonly mostOpen: number;
  readonly maxUnacked: number;
  readonly maxAttempts: number | undefined;
  readonly steps: readonly Step[];
}

const who = fc.nat(2);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("grow" as const),
      events: fc.array(fc.option(fc.array(fc.nat(2), { minLength: 1, maxLength: 2 }), { freq: 3 }), {
        minLength: 1,
        maxLength: 8,
      }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("read" as const), most: fc.integer({ min: 1, max: 5 }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("join" as const, "attach" as const), who }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("detach" as const, "leave" as const), who }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("give" as const), who, most: fc.integer({ min: 1, max: 4 }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("ack" as const),
      pick: fc.array(fc.nat(20), { minLength: 1, maxLength: 3 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("early" as const),
      pick: fc.array(fc.nat(40), { minLength: 1, maxLength: 6 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("nack" as const),
      who,
      pick: fc.nat(10),
      delay: fc.constantFrom(0, 0, 30, 70),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("through" as const), pick: fc.nat(10) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.constantFrom(1, 20, 60, 101) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constantFrom("retry" as const, "drop" as const), pick: fc.nat(5) }),
  },
  { weight: 1, arbitrary: fc.constant({ do: "save" as const }) },
  { weight: 1, arbitrary: fc.constant({ do: "crash" as const }) },
);

export const setting: fc.Arbitrary<Setting> = fc.record({
  mode: fc.constantFrom("single" as const, "shared" as const),
  keyed: fc.boolean(),
  mostOpen: fc.integer({ min: 1, max: 8 }),
  maxUnacked: fc.integer({ min: 1, max: 4 }),
  maxAttempts: fc.constantFrom(undefined, undefined, 1, 2),
  steps: fc.array(step, { maxLength: 60, size: "max" }),
});

const ACK_MS = 100;
/** Beyond what events that are open leave. */
const MOST_AHEAD = 1;
const MOST_PARKED = 3;

/** What became of an event of the feed. */
interface Fact {
  readonly seq: number;
  readonly keys: readonly number[];
  /** Acknowledged, by name or through a later one; or dropped. */
  done: boolean;
  given: number;
  /** Who has it and until when nobody else may. */
  holder: string | undefined;
  until: number;
}

export type Make = (rules: Rules, tuning: Tuning, saved: Saved) => Subscription;
export const sound: Make = (rules, tuning, saved) => new Subscription(rules, tuning, saved);

/** What was done and seen in runs, so that a test can tell one that does nothing. */
export interface Tally {
  given: number;
  again: number;
  crashes: number;
  parked: number;
  refused: number;
}

export class Run {
  readonly #setting: Setting;
  readonly #make: Make;
  readonly #tally: Tally;
  #facts: Fact[] = [];
  #head = 0;
  #now = 1000;
  #sub: Subscription;
  /** There was no room to park at some time. */
  #wasFull = false;
  #saved: Saved = { position: 0, ahead: [], failures: [], parked: [] };
  /** Last seq that a consumer was given, in `single`. */
  readonly #lastGiven = new Map<string, number>();

  constructor(made: Setting, tally: Tally, make: Make = sound) {
    this.#setting = made;
    this.#make = make;
    this.#tally = tally;
    this.#sub = this.#start();
  }

  run(): void {
    for (const one of this.#setting.steps) {
      this.#step(one);
      this.#check();
    }
    this.#end();
  }

  #start(): Subscription {
    const { mode, keyed, mostOpen, maxUnacked, maxAttempts } = this.#setting;
    return this.#make(
      { mode, keyed, mostOpen, mostAhead: MOST_AHEAD + mostOpen, mostParked: MOST_PARKED },
      { ackMs: ACK_MS, maxUnacked, maxAttempts },
      // Through text and back: what is kept is data.
      JSON.parse(JSON.stringify(this.#saved)) as Saved,
    );
  }

  #step(one: Step): void {
    const sub = this.#sub;
    switch (one.do) {
      case "grow":
        for (const keys of one.events) {
          this.#head += 1;
          if (keys)
            this.#facts.push({ seq: this.#head, keys, done: false, given: 0, holder: undefined, until: 0 });
        }
        return;
      case "read":
        return this.#read(one.most);
      case "join":
        for (const gone of sub.join(name(one.who), this.#now)) this.#gone(gone);
        this.#lastGiven.delete(name(one.who));
        return;
      case "attach":
        // As a poll does.
        if (this.#setting.mode === "shared" && sub.attach(name(one.who))) return;
        return this.#step({ do: "join", who: one.who });
      case "detach":
        return sub.detach(name(one.who));
      case "leave":
        sub.leave(name(one.who), this.#now);
        return this.#gone(name(one.who));
      case "give":
        return this.#give(name(one.who), one.most);
      case "ack": {
        const given = this.#facts.filter((fact) => fact.given > 0);
        const picked = one.pick.flatMap((n) => given[n % Math.max(1, given.length)] ?? []);
        if (this.#setting.mode === "shared") this.#ack(picked);
        else if (picked[0]) this.#through(picked[0].seq);
        return;
      }
      case "early": {
        // Of events that a consumer had before a restart, or that it makes up.
        const picked = one.pick.flatMap((n) => this.#facts[n % Math.max(1, this.#facts.length)] ?? []);
        if (this.#setting.mode === "shared") this.#ack(picked);
        return;
      }
      case "through":
        if (this.#head > 0) this.#through(one.pick % (this.#head + 1));
        return;
      case "nack": {
        const held = this.#facts.filter(({ holder }) => holder === name(one.who));
        const picked = held[one.pick % Math.max(1, held.length)] ?? this.#facts[one.pick];
        if (!picked) return;
        const taken = sub.nack(name(one.who), [picked.seq], one.delay, this.#now);
        if (taken > 0 && picked.holder !== name(one.who) && this.#now < picked.until)
          throw new Error(`${one.who} gave back ${picked.seq}, which ${picked.holder} has`);
        if (taken > 0) {
          const single = this.#setting.mode === "single";
          for (const fact of this.#facts)
            if (fact === picked || (single && fact.seq > picked.seq)) fact.holder = undefined;
          if (single) this.#lastGiven.clear();
        }
        return;
      }
      case "wait":
        this.#now += one.ms;
        return sub.tick(this.#now);
      case "retry":
      case "drop": {
        const { parked } = sub;
        const picked = parked[one.pick % Math.max(1, parked.length)];
        if (!picked) return;
        const fact = this.#fact(picked.seq);
        if (one.do === "retry") sub.retry([picked.seq]);
        else if (sub.drop([picked.seq]) === 1) fact.done = true;
        this.#saved = sub.save();
        return;
      }
      case "save":
        this.#saved = sub.save();
        return;
      case "crash":
        this.#tally.crashes += 1;
        this.#sub = this.#start();
        for (const fact of this.#facts) fact.holder = undefined;
        this.#lastGiven.clear();
        return;
    }
  }

  #read(most: number): void {
    const sub = this.#sub;
    for (const seq of sub.unread) sub.offerAgain(this.#fact(seq));
    const from = sub.read;
    const room = Math.min(most, sub.room);
    if (room === 0) return;
    const found: Offered[] = this.#facts.filter(({ seq }) => seq > from).slice(0, room);
    sub.offer(found, found.length === room ? (found.at(-1)?.seq ?? from) : this.#head);
  }

  #give(who: string, most: number): void {
    const had = this.#facts.filter((fact) => fact.holder === who && this.#holds(fact)).length;
    const given = this.#sub.give(who, most, this.#now);
    if (given.length > most) throw new Error(`${given.length} given where ${most} were wanted`);
    for (const one of given) this.#take(who, one);
    if (had + given.length > Math.max(had, this.#setting.maxUnacked))
      throw new Error(`${who} has ${had + given.length}`);
  }

  #take(who: string, { seq, attempt }: Delivery): void {
    const fact = this.#fact(seq);
    this.#tally.given += 1;
    if (fact.given > 0) this.#tally.again += 1;
    if (fact.done) throw new Error(`${seq} was given again after it was acknowledged`);
    if (attempt < 1) throw new Error(`attempt ${attempt}`);
    if (this.#setting.maxAttempts !== undefined && !this.#wasFull)
      if (attempt > this.#setting.maxAttempts) throw new Error(`${seq} is given ${attempt} times`);
    if (fact.holder !== undefined && this.#holds(fact))
      throw new Error(`${seq} is given to ${who} while ${fact.holder} has it`);
    const retried = this.#sub.parked.some((parked) => parked.seq === seq);
    if (this.#setting.mode === "single" && !retried) {
      const last = this.#lastGiven.get(who) ?? 0;
      if (seq <= last) throw new Error(`${seq} is given after ${last}`);
      const parked = new Set(this.#sub.parked.map((one) => one.seq));
      const skipped = this.#facts.find(
        (other) => other.seq < seq && !other.done && !parked.has(other.seq) && other.holder !== who,
      );
      if (skipped) throw new Error(`${seq} is given before ${skipped.seq}`);
      this.#lastGiven.set(who, seq);
    }
    if (this.#setting.mode === "shared" && this.#setting.keyed) {
      const same = (other: Fact): boolean =>
        other !== fact && other.keys.some((key) => fact.keys.includes(key));
      const parked = new Set(this.#sub.parked.filter(({ retry }) => !retry).map((one) => one.seq));
      for (const other of this.#facts.filter(same)) {
        const held = other.holder !== undefined && this.#holds(other) && !other.done;
        if (held && other.holder !== who)
          throw new Error(`${seq} is given to ${who} while ${other.seq} is out`);
        if (other.seq < seq && !other.done && !held && !parked.has(other.seq) && !this.#isRetried(other.seq))
          throw new Error(`${seq} overtakes ${other.seq}`);
      }
    }
    fact.given += 1;
    fact.holder = who;
    fact.until = this.#now + ACK_MS;
  }

  #isRetried(seq: number): boolean {
    return this.#sub.parked.some((one) => one.seq === seq && one.retry);
  }

  #holds(fact: Fact): boolean {
    return this.#setting.mode === "single" || this.#now < fact.until;
  }

  #ack(facts: readonly Fact[]): void {
    if (!this.#sub.ack(facts.map(({ seq }) => seq))) {
      this.#tally.refused += 1;
      return;
    }
    for (const fact of facts) this.#finish(fact);
    // Only what was kept is answered.
    this.#saved = this.#sub.save();
  }

  #through(seq: number): void {
    const parked = new Set(this.#sub.parked.map((one) => one.seq));
    const alone = this.#isRetried(seq);
    this.#sub.ackThrough(seq);
    for (const fact of this.#facts)
      if (alone ? fact.seq === seq : fact.seq <= seq && !parked.has(fact.seq)) this.#finish(fact);
    this.#saved = this.#sub.save();
  }

  #finish(fact: Fact): void {
    fact.done = true;
    fact.holder = undefined;
  }

  #gone(who: string): void {
    for (const fact of this.#facts) if (fact.holder === who) fact.holder = undefined;
    this.#lastGiven.delete(who);
  }

  #fact(seq: number): Fact {
    const fact = this.#facts.find((one) => one.seq === seq);
    if (!fact) throw new Error(`${seq} is no event of this subscription`);
    return fact;
  }

  /** What must hold at every moment. */
  #check(): void {
    const sub = this.#sub;
    const { mostOpen } = this.#setting;
    const parked = new Set(sub.parked.map(({ seq }) => seq));
    const passed = this.#facts.find(({ seq, done }) => seq <= sub.position && !done && !parked.has(seq));
    if (passed) throw new Error(`the position ${sub.position} passed ${passed.seq}`);
    if (sub.position > this.#head) throw new Error(`the position ${sub.position} is beyond ${this.#head}`);
    const { open, ahead } = sub.counts;
    if (open > mostOpen + MOST_PARKED) throw new Error(`${open} are open`);
    if (ahead > MOST_AHEAD + 2 * mostOpen + 1) throw new Error(`${ahead} ranges`);
    if (parked.size > MOST_PARKED) throw new Error(`${parked.size} are parked`);
    this.#tally.parked = Math.max(this.#tally.parked, parked.size);
    this.#wasFull ||= parked.size === MOST_PARKED;
    const next = sub.nextTick;
    if (sub.counts.out > 0 && this.#setting.mode === "shared" && next === undefined)
      throw new Error("nothing would wake what is out");
  }

  /** From anywhere, one good consumer gets everything that is left, in a bounded number of turns. */
  #end(): void {
    const sub = this.#sub;
    sub.retry(sub.parked.map(({ seq }) => seq));
    for (const gone of sub.consumers.keys()) {
      sub.leave(gone, this.#now);
      this.#gone(gone);
      this.#check();
    }
    sub.retry(sub.parked.map(({ seq }) => seq));
    this.#step({ do: "join", who: 0 });
    for (let turn = 0; turn < 4 * this.#facts.length + 20; turn += 1) {
      this.#now += 200;
      sub.tick(this.#now);
      this.#read(5);
      const given = sub.give(name(0), 5, this.#now);
      for (const one of given) this.#take(name(0), one);
      for (const { seq } of given) {
        if (this.#setting.mode === "shared") this.#ack([this.#fact(seq)]);
        else this.#through(seq);
      }
      this.#check();
    }
    const left = this.#facts.filter(({ done }) => !done);
    if (left.length > 0) throw new Error(`${left.map(({ seq }) => seq).join(", ")} never came`);
    if (sub.position !== this.#head)
      throw new Error(`the position stays at ${sub.position} of ${this.#head}`);
    const { open, ahead, parked } = sub.counts;
    if (open + ahead + parked > 0)
      throw new Error(`${open} open, ${ahead} ahead, ${parked} parked at the end`);
  }
}

const name = (n: number): string => `c${n}`;
