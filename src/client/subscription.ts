import { isSkaldError, type SkaldError } from "./error.ts";
import { eventsOf } from "./event-stream.ts";
import { checkEnd, eventOf, type ChangeEvent, type Include, type RawEvent } from "./feed.ts";
import { either, freshName, pause, type Closing, type Platform } from "./platform.ts";
import { isPassing, pauseBefore, type Requests } from "./request.ts";

/** What a subscription selects and how it is given out. Only of effect when it is made. */
export interface SubscriptionOptions {
  /** `single` (the default): one consumer at a time, in order; `shared`: spread over several. */
  readonly mode?: "single" | "shared";
  /** `shared`: events of one document go to one consumer at a time, in order. */
  readonly key?: "doc";
  readonly include?: Include;
  readonly collection?: string;
  readonly prefix?: string;
  readonly docs?: readonly string[];
  /** `beginning` (the default), `now`, a cursor, a seq, a commit or a time. */
  readonly from?: string;
  /** `shared`: milliseconds after which an event that is not acknowledged is given again. */
  readonly ackMs?: number;
  readonly maxUnacked?: number;
  /** Deliveries after which an event is parked. */
  readonly maxAttempts?: number;
}

export interface SubscriptionInfo {
  readonly name: string;
  readonly mode: "single" | "shared";
  /** Everything up to this commit is acknowledged. */
  readonly seq: number;
  readonly cursor: string;
  readonly lag: { readonly commits: number; readonly age_ms: number | null };
  readonly unacknowledged: number;
  readonly parked: number;
}

/** An event that is to be acknowledged. */
export interface Delivery extends ChangeEvent {
  /** 1 the first time it is given. */
  readonly attempt: number;
  /**
   * Says that it is done, in the mode `single` with everything before it. Resolves when the server has that on
   * its disk: whatever happens then, it does not come again.
   */
  ack(): Promise<void>;
  /** Gives it back, to be given again after `delayMs`. */
  nack(delayMs?: number): Promise<void>;
}

export interface ConsumeOptions {
  /** A name that this consumer goes by; one is made up when left out. */
  readonly consumer?: string;
  readonly signal?: AbortSignal;
}

const BEAT = { every: 15_000, missed: 40_000 } as const;

/** A durable subscription of a db, by its name. */
export class Subscription {
  readonly name: string;
  readonly #requests: Requests;
  readonly #platform: Platform;
  readonly #path: string;
  readonly #options: SubscriptionOptions | undefined;
  readonly #closing: Closing;
  #acks: Ack[] = [];
  #acking = false;

  constructor(
    name: string,
    db: string,
    requests: Requests,
    platform: Platform,
    options: SubscriptionOptions | undefined,
    closing: Closing,
  ) {
    this.name = name;
    this.#requests = requests;
    this.#platform = platform;
    this.#options = options;
    this.#closing = closing;
    this.#path = `/db/${encodeURIComponent(db)}/subscriptions/${encodeURIComponent(name)}`;
  }

  /** Makes it, unless it is there. Throws SUBSCRIPTION_EXISTS when another of its name is. */
  create(): Promise<SubscriptionInfo> {
    const { ackMs, maxUnacked, maxAttempts, ...rest } = this.#options ?? {};
    return this.#requests.json({
      method: "PUT",
      path: this.#path,
      headers: JSON_BODY,
      body: JSON.stringify({ ...rest, ack_ms: ackMs, max_unacked: maxUnacked, max_attempts: maxAttempts }),
    });
  }

  info(): Promise<SubscriptionInfo> {
    return this.#requests.json({ method: "GET", path: this.#path });
  }

  async delete(): Promise<void> {
    await this.#requests.send({ method: "DELETE", path: this.#path });
  }

  /**
   * Events for this consumer, as they come. It is made first when it was given options. After whatever cut it
   * goes on, and events that were not acknowledged come again. Throws what keeps it from going on, such as
   * SUBSCRIPTION_TAKEN when another consumer has come.
   */
  async *events(options: ConsumeOptions = {}): AsyncGenerator<Delivery> {
    const { signal, unlink } = either(options.signal, this.#closing);
    const consumer = options.consumer ?? freshName(this.#platform);
    const ask = {
      method: "GET",
      path: `${this.#path}/events`,
      query: { feed: "sse", consumer, heartbeat: BEAT.every },
      signal,
    } as const;
    let made = this.#options === undefined;
    let tries = 0;
    try {
      for (;;) {
        try {
          if (!made) await this.create();
          made = true;
          for await (const { event, data } of eventsOf(this.#requests, this.#platform, ask, BEAT.missed)) {
            tries = 0;
            const said = JSON.parse(data) as RawEvent & { attempt: number; code?: string };
            if (event === "change") yield this.#delivery(said, consumer);
            else if (event === "end") checkEnd(said.code);
          }
        } catch (error) {
          if (signal.aborted || !isPassing(error)) throw error;
        }
        await pause(this.#platform, pauseBefore(this.#platform, tries), signal);
        tries += 1;
      }
    } catch (error) {
      if (options.signal?.aborted) return;
      throw error;
    } finally {
      unlink();
    }
  }

  #delivery(event: RawEvent & { attempt: number }, consumer: string): Delivery {
    return {
      ...eventOf(event),
      attempt: event.attempt,
      ack: () => this.#ack(event.seq),
      nack: async (delayMs = 0) => {
        await this.#requests.json({
          method: "POST",
          path: `${this.#path}/nack`,
          headers: JSON_BODY,
          body: JSON.stringify({ ids: [event.seq], consumer, delay_ms: delayMs }),
        });
      },
    };
  }

  /** Acknowledgements that are made while others are on their way go together. */
  #ack(seq: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#acks.push({ seq, resolve, reject });
      if (this.#acking) return;
      this.#acking = true;
      this.#platform.soon(() => void this.#sendAcks());
    });
  }

  async #sendAcks(): Promise<void> {
    while (this.#acks.length > 0) {
      const acks = this.#acks.splice(0, TOGETHER);
      const seqs = acks.map(({ seq }) => seq);
      const shared = this.#options?.mode === "shared";
      try {
        await this.#requests.json({
          method: "POST",
          path: `${this.#path}/ack`,
          headers: JSON_BODY,
          // In a subscription whose mode is not known one after the other says the same in both.
          body: JSON.stringify(
            shared ? { ids: seqs } : { seq: this.#options ? Math.max(...seqs) : (seqs[0] as number) },
          ),
        });
        if (!this.#options) this.#acks.unshift(...acks.splice(1));
        for (const { resolve } of acks) resolve();
      } catch (error) {
        for (const { reject } of acks) reject(error as SkaldError);
        if (!isSkaldError(error)) break;
      }
    }
    this.#acking = false;
  }
}

interface Ack {
  readonly seq: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Acknowledgements of one request. */
const TOGETHER = 500;

const JSON_BODY = { "content-type": "application/json" } as const;
