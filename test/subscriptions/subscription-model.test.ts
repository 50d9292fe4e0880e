import fc from "fast-check";
import {
  Subscription,
  type Delivery,
  type Offered,
  type Saved,
} from "../../src/subscriptions/subscription.ts";
import { seedOf } from "../support/fault-process.ts";
import { Run, setting, sound, type Make, type Tally } from "./subscription-run.ts";

const RUNS = Number(process.env["SKALD_TEST_RUNS"] ?? 1000);
/** A broken one is found in the first hundreds, as a rule; one that is not found at all costs all of these. */
const MOST_RUNS = 10_000;

const tallyOf = (): Tally => ({ given: 0, again: 0, crashes: 0, parked: 0, refused: 0 });

function hunt(make: Make, tally = tallyOf(), endOnFailure = false): void {
  fc.assert(
    fc.property(setting, (made) => new Run(made, tally, make).run()),
    { numRuns: endOnFailure ? MOST_RUNS : RUNS, seed: seedOf(), endOnFailure },
  );
}

test("any order of reading, giving, acknowledging, giving back, timeouts, comings and goings and restarts loses nothing and repeats nothing acknowledged", () => {
  const tally = tallyOf();
  hunt(sound, tally);
  if (process.env["SKALD_TEST_RUNS"]) process.stderr.write(`${JSON.stringify(tally)}\n`);
  expect(tally.again).toBeGreaterThan(RUNS / 10);
  expect(tally.crashes).toBeGreaterThan(RUNS / 10);
  expect(tally.refused).toBeGreaterThan(0);
  expect(tally.parked).toBe(3);
});

/** For each promise a subscription that breaks it. */
const BROKEN: Readonly<Record<string, Make>> = {
  "forgets what was acknowledged ahead": (rules, tuning, saved) =>
    new (class extends Subscription {
      override save(): Saved {
        return { ...super.save(), ahead: [] };
      }
    })(rules, tuning, saved),
  "keeps its position one too far": (rules, tuning, saved) =>
    new (class extends Subscription {
      override save(): Saved {
        const { position, ...rest } = super.save();
        return { ...rest, position: position + 1 };
      }
    })(rules, tuning, saved),
  "never takes back what is late": (rules, tuning, saved) =>
    new (class extends Subscription {
      override tick(): void {}
    })(rules, tuning, saved),
  "takes back too early what is out": (rules, tuning, saved) =>
    new (class extends Subscription {
      override tick(now: number): void {
        super.tick(now + 50);
      }
    })(rules, tuning, saved),
  "keeps what a consumer had that went": (rules, tuning, saved) =>
    new (class extends Subscription {
      override leave(id: string): void {
        super.detach(id);
      }
    })({ ...rules, mode: "single" }, tuning, saved),
  "takes an acknowledgement for all before it": (rules, tuning, saved) =>
    new (class extends Subscription {
      override ack(seqs: readonly number[]): boolean {
        this.ackThrough(Math.max(0, ...seqs));
        return true;
      }
    })(rules, tuning, saved),
  "gives an event twice": (rules, tuning, saved) =>
    new (class extends Subscription {
      #before: Delivery[] = [];
      override give(id: string, most: number, now: number): Delivery[] {
        const given = super.give(id, most, now);
        const twice = given.length === 0 ? this.#before.splice(0, 1) : given;
        this.#before = given;
        return twice;
      }
    })(rules, tuning, saved),
  "loses the last event of a page": (rules, tuning, saved) =>
    new (class extends Subscription {
      override offer(events: readonly Offered[], through: number): void {
        super.offer(events.length > 1 ? events.slice(0, -1) : events, through);
      }
    })(rules, tuning, saved),
  "lets a second consumer in": (rules, tuning, saved) =>
    new Subscription({ ...rules, mode: "shared" }, { ...tuning, ackMs: 1e9 }, saved),
  "gives one key to two consumers": (rules, tuning, saved) =>
    new Subscription({ ...rules, keyed: false }, tuning, saved),
  "lets anybody give an event back": (rules, tuning, saved) =>
    new (class extends Subscription {
      override nack(id: string, seqs: readonly number[], delay: number, now: number): number {
        return (
          [...this.consumers.keys()].reduce((sum, one) => sum + super.nack(one, seqs, delay, now), 0) ||
          super.nack(id, seqs, delay, now)
        );
      }
    })(rules, tuning, saved),
  "takes in more than it may": (rules, tuning, saved) =>
    new Subscription({ ...rules, mostOpen: 1000 }, tuning, saved),
  "lets gaps grow without bound": (rules, tuning, saved) =>
    new Subscription({ ...rules, mostAhead: 1e9 }, tuning, saved),
  "gives a consumer more than it may have": (rules, tuning, saved) =>
    new Subscription(rules, { ...tuning, maxUnacked: tuning.maxUnacked + 1 }, saved),
  "never parks": (rules, tuning, saved) =>
    new Subscription(rules, { ...tuning, maxAttempts: undefined }, saved),
  "forgets what was parked": (rules, tuning, saved) =>
    new (class extends Subscription {
      override save(): Saved {
        return { ...super.save(), parked: [] };
      }
    })(rules, tuning, saved),
};

test.each(Object.keys(BROKEN))("a subscription that %s is found out", (name) => {
  expect(() => hunt(BROKEN[name] as Make, tallyOf(), true)).toThrow(/Property failed/);
});
