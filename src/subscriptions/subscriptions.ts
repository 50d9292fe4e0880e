import type { Db } from "../db/db.ts";
import type { Engine } from "../db/engine.ts";
import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { SubscriptionTable } from "../store/contract.ts";
import { openSqliteSubscriptions } from "../store/sqlite-subscriptions.ts";
import { isSame, TUNABLE, type Definition } from "./subscription-definition.ts";
import { LiveSubscription, markOf, type Keeper } from "./subscription-live.ts";
import { decodeState, encodeState, inLife, type KeptState } from "./subscription-state.ts";

/** How the file of a db's subscriptions is opened; undefined when there is none and none is to be made. */
export type OpenSubscriptions = (
  folder: string,
  uid: Uint8Array,
  options: { readonly create: boolean },
) => SubscriptionTable | undefined;

export interface SubscriptionsOptions {
  readonly engine: Engine;
  readonly open?: OpenSubscriptions;
  /** Told of failures that concern no caller. */
  readonly onError: (error: unknown) => void;
}

/** Figures over all dbs that were open since the start. */
export interface SubscriptionTotals {
  readonly subscriptions: number;
  readonly consumers: number;
  /** Commits, summed and of the one furthest behind. */
  readonly lag: number;
  readonly worst: number;
  readonly parked: number;
}

const NONE: SubscriptionTotals = { subscriptions: 0, consumers: 0, lag: 0, worst: 0, parked: 0 };

/** The durable subscriptions of all dbs. Those of a db live and close with it. */
export class Subscriptions {
  readonly #options: SubscriptionsOptions;
  readonly #sets = new WeakMap<Db, DbSubscriptions>();
  readonly #open = new Map<string, DbSubscriptions>();
  /** Of dbs that are closed: while they are, nothing of it changes. */
  readonly #closed = new Map<string, SubscriptionTotals>();

  constructor(options: SubscriptionsOptions) {
    this.#options = options;
  }

  /** Those of an open db. Throws SUBSCRIPTIONS_DAMAGED, DB_NEWER, STORAGE_FULL, STORAGE_FAILED. */
  of(db: Db): DbSubscriptions {
    let set = this.#sets.get(db);
    if (!set) {
      const { engine, open = openSqliteSubscriptions, onError } = this.#options;
      const folder = engine.folderOf(db.id);
      const made = new DbSubscriptions(
        db,
        (create) => open(folder, db.log.identity.uid, { create }),
        onError,
      );
      set = made;
      this.#sets.set(db, made);
      this.#open.set(db.id, made);
      db.onClose(() => {
        const totals = made.totals();
        if (totals.subscriptions > 0) this.#closed.set(db.id, totals);
        else this.#closed.delete(db.id);
        if (this.#open.get(db.id) === made) this.#open.delete(db.id);
        made.close();
      });
    }
    return set;
  }

  totals(): SubscriptionTotals {
    const { engine } = this.#options;
    for (const dbId of this.#closed.keys())
      if (this.#open.has(dbId) || !engine.has(dbId)) this.#closed.delete(dbId);
    return [...[...this.#open.values()].map((set) => set.totals()), ...this.#closed.values()].reduce(
      (sum, one) => ({
        subscriptions: sum.subscriptions + one.subscriptions,
        consumers: sum.consumers + one.consumers,
        lag: sum.lag + one.lag,
        worst: Math.max(sum.worst, one.worst),
        parked: sum.parked + one.parked,
      }),
      NONE,
    );
  }
}

/** How long what need not be durable at once may wait. */
const SOON = 1000;

/** The durable subscriptions of one db. */
export class DbSubscriptions implements Keeper {
  readonly #db: Db;
  readonly #make: () => SubscriptionTable;
  readonly #onError: (error: unknown) => void;
  #table: SubscriptionTable | undefined;
  readonly #live = new Map<string, LiveSubscription>();
  readonly #changed = new Set<LiveSubscription>();
  #waiting: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  #scheduled = false;
  #stopTimer: (() => void) | undefined;
  #closed = false;

  constructor(
    db: Db,
    open: (create: boolean) => SubscriptionTable | undefined,
    onError: (error: unknown) => void,
  ) {
    this.#db = db;
    this.#onError = onError;
    this.#make = () => open(true) as SubscriptionTable;
    this.#table = open(false);
    try {
      for (const { name, definition, state } of this.#table?.stored.values() ?? [])
        this.#live.set(name, this.#load(name, definition, state));
    } catch (error) {
      this.#table?.close();
      throw error;
    }
  }

  /** By name. */
  list(): LiveSubscription[] {
    return [...this.#live.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Throws SUBSCRIPTION_NOT_FOUND. */
  get(name: string): LiveSubscription {
    const found = this.#live.get(name);
    if (found) return found;
    throw new SkaldError("SUBSCRIPTION_NOT_FOUND", `There is no subscription ${name}.`);
  }

  has(name: string): boolean {
    return this.#live.has(name);
  }

  /**
   * Makes a subscription that begins after `from`; of one that is there, only what may be tuned is changed.
   * Durable when it resolves. Throws SUBSCRIPTION_EXISTS, SUBSCRIPTION_LIMIT, STORAGE_FULL, STORAGE_FAILED.
   */
  async put(name: string, definition: Definition, from: number): Promise<boolean> {
    const known = this.#live.get(name);
    if (known) {
      if (!isSame(known.definition, definition))
        throw new SkaldError("SUBSCRIPTION_EXISTS", `There is another subscription ${name}.`);
      const { creator, created } = known.definition;
      const tuned = { ...definition, creator, created };
      if (TUNABLE.some((field) => known.definition[field] !== tuned[field])) await known.tune(tuned);
      return false;
    }
    const { perDb } = LIMITS.subscription;
    if (this.#live.size >= perDb.value)
      throw new SkaldError("SUBSCRIPTION_LIMIT", `A db has at most ${perDb.value} subscriptions.`);
    const { epoch } = this.#db.log;
    const kept = { epoch, position: from, mark: markOf(this.#db, from), ahead: [], failures: [], parked: [] };
    const row = { name, definition: JSON.stringify(definition), state: encodeState(kept) };
    (this.#table ??= this.#make()).write([row], []);
    this.#live.set(name, new LiveSubscription(name, definition, this.#db, kept, this));
    return true;
  }

  /** Durable when it returns; its consumers are told. Throws SUBSCRIPTION_NOT_FOUND, STORAGE_FULL, STORAGE_FAILED. */
  remove(name: string): void {
    const found = this.get(name);
    this.#table?.write([], [name]);
    this.#live.delete(name);
    this.#changed.delete(found);
    found.end(new SkaldError("SUBSCRIPTION_DELETED", `The subscription ${name} was deleted.`));
  }

  totals(): SubscriptionTotals {
    let [consumers, lag, worst, parked] = [0, 0, 0, 0];
    for (const one of this.#live.values()) {
      consumers += one.consumers;
      lag += one.lag;
      worst = Math.max(worst, one.lag);
      parked += one.parked.length;
    }
    return { subscriptions: this.#live.size, consumers, lag, worst, parked };
  }

  now(subscription: LiveSubscription): Promise<void> {
    this.#changed.add(subscription);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      if (this.#scheduled) return;
      this.#scheduled = true;
      // Whatever is acknowledged in one turn shares one write and one sync.
      this.#db.log.world.soon(() => this.#flush());
    });
  }

  soon(subscription: LiveSubscription): void {
    if (this.#closed) return;
    this.#changed.add(subscription);
    this.#stopTimer ??= this.#db.log.world.timer(SOON, () => this.#flush());
  }

  failed(error: unknown): void {
    this.#onError(error);
  }

  close(): void {
    if (this.#closed) return;
    this.#flush();
    this.#closed = true;
    const closing = new SkaldError("UNAVAILABLE", "The db is closing.");
    for (const subscription of this.#live.values()) subscription.end(closing);
    this.#table?.close();
  }

  #flush(): void {
    this.#scheduled = false;
    this.#stopTimer?.();
    this.#stopTimer = undefined;
    const waiting = this.#waiting;
    this.#waiting = [];
    const changed = [...this.#changed].filter((one) => this.#live.get(one.name) === one);
    try {
      if (this.#closed) throw new SkaldError("UNAVAILABLE", "The db is closing.");
      if (changed.length > 0)
        this.#table?.write(
          changed.map((one) => ({
            name: one.name,
            definition: JSON.stringify(one.definition),
            state: one.state(),
          })),
          [],
        );
      this.#changed.clear();
      for (const { resolve } of waiting) resolve();
    } catch (error) {
      // It stays to be written: whoever repeats what was refused has it kept then.
      for (const { reject } of waiting) reject(error);
      if (waiting.length === 0 && !this.#closed) this.#onError(error);
    }
  }

  /** Places of an earlier life are good as far as the lives agree. */
  #inThisLife(kept: KeptState): KeptState {
    const { lives, epoch } = this.#db.log;
    const next = lives.find((life) => life.epoch > kept.epoch);
    return next ? inLife(kept, epoch, next.after, (seq) => markOf(this.#db, seq)) : kept;
  }

  #load(name: string, definition: string, state: Uint8Array): LiveSubscription {
    try {
      const made = JSON.parse(definition) as Definition;
      return new LiveSubscription(name, made, this.#db, this.#inThisLife(decodeState(state)), this);
    } catch (error) {
      throw new SkaldError("SUBSCRIPTIONS_DAMAGED", `The subscription ${name} does not read.`, {
        cause: error,
        details: { subscription: name },
      });
    }
  }
}
