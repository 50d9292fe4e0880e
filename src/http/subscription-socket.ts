import type { WebSocket } from "ws";
import { SkaldError, isSkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { cursorAt } from "../subscriptions/cursor.ts";
import { Consumer, type Delivered } from "../subscriptions/subscription-consumer.ts";
import { checkSubscriptionName } from "../subscriptions/subscription-definition.ts";
import type { LiveSubscription } from "../subscriptions/subscription-live.ts";
import type { DispatchContext } from "./dispatch.ts";
import type { OpenSocket, SocketParts, SocketRoute } from "./socket-route.ts";
import { ownSubscription } from "./subscription-access.ts";
import { readFrame, type Frame } from "./subscription-frame.ts";
import { DeliveryText } from "./subscription-text.ts";

/**
 * A consumer of a durable subscription over one WebSocket, with the subprotocol `skald.subscription.1`. Frames
 * are JSON texts.
 *
 *   to the client    {consumer, seq, cursor}       once, at first
 *                    {events: [event with attempt]}
 *                    {acked: [seq], seq}            durable: what was asked for, and how far it is now
 *                    {error: {code, detail, hint}}  of a frame that was refused, or before it closes
 *   to the server    {ack: seq or [seq]}
 *                    {nack: seq or [seq], delay_ms?}
 *
 * Invariants: events leave in the order they were given; what is acknowledged is durable before it says so; the
 * db is held until the socket has closed and nothing is under way.
 */
export class SubscriptionSocket implements OpenSocket {
  readonly #ws: WebSocket;
  readonly #parts: SocketParts;
  readonly #context: DispatchContext;
  readonly #live: LiveSubscription;
  readonly #consumer: Consumer;
  readonly #leave: () => void;
  readonly #text: DeliveryText;
  #underWay = 1;
  #acked: number[] = [];
  #ending: { readonly code: number; readonly reason: string } | undefined;

  constructor(ws: WebSocket, parts: SocketParts, context: DispatchContext) {
    this.#ws = ws;
    this.#parts = parts;
    this.#context = context;
    this.#live = find(parts, context);
    this.#consumer = new Consumer(consumerOf(parts, context));
    this.#text = new DeliveryText(parts.held.db);
    this.#leave = this.#live.enter(this.#consumer, false);
    ws.on("message", (data: Buffer, isBinary: boolean) => this.#frame(data, isBinary));
    ws.on("error", () => this.end(1002, "protocol error"));
    ws.on("close", () => {
      this.#leave();
      this.#consumer.end(GONE);
      this.#settle();
    });
    const wanted = (): void => this.end(1001, "the db closes");
    if (parts.wanted.aborted) wanted();
    else parts.wanted.addEventListener("abort", wanted);
    const { db } = parts.held;
    const { position } = this.#live;
    this.#say({ consumer: this.#consumer.id, seq: position, cursor: cursorAt(db, position) });
    void this.#run();
  }

  end(code: number, reason: string): void {
    if (this.#ending) return;
    this.#ending = { code, reason };
    // What it has goes to others at once, and nothing new comes.
    this.#leave();
    this.#consumer.end(GONE);
    this.#ws.once(
      "close",
      this.#context.services.world.timer(LIMITS.socket.closeMs.value, () => this.#ws.terminate()),
    );
    // A paused socket does not hear that its client closes too.
    this.#ws.resume();
    this.#ws.close(code, reason);
  }

  /** Sends what comes for as long as it comes. */
  async #run(): Promise<void> {
    const { world } = this.#context.services;
    try {
      while (!this.#ending) {
        const events = await this.#consumer.next(world, CHECK_MS);
        if (this.#ending || !this.#mayGoOn()) break;
        if (events.length > 0) await this.#send(events);
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#settle();
    }
  }

  /** Resolves when the connection has taken them; one that takes nothing for too long is cut off. */
  #send(events: readonly Delivered[]): Promise<void> {
    const frame = this.#text.bytes(events, EVENTS);
    return new Promise((resolve) => {
      const enough = this.#context.services.world.timer(this.#context.load.limits.unreadMs, () => {
        this.#ws.terminate();
        resolve();
      });
      this.#ws.send(frame, { binary: false }, () => {
        enough();
        resolve();
      });
    });
  }

  #frame(data: Buffer, isBinary: boolean): void {
    if (this.#ending || !this.#mayGoOn()) return;
    if (isBinary) return this.end(1003, "frames are text");
    let frame: Frame;
    try {
      frame = readFrame(data);
    } catch (error) {
      this.#fail(error);
      return;
    }
    const { ack, nack, delay } = frame;
    try {
      if (nack) this.#live.nack(this.#consumer.id, nack, delay);
    } catch (error) {
      this.#refuse(error);
    }
    if (!ack) return;
    this.#underWay += 1;
    this.#live
      .ack(ack)
      .then(
        () => this.#durable(ack),
        (error: unknown) => this.#refuse(error),
      )
      .finally(() => this.#settle());
  }

  /** What became durable together is told together. */
  #durable(seqs: readonly number[]): void {
    if (this.#acked.length === 0)
      this.#context.services.world.soon(() => {
        const acked = this.#acked;
        this.#acked = [];
        this.#say({ acked, seq: this.#live.position });
      });
    for (const seq of seqs) this.#acked.push(seq);
  }

  #refuse(error: unknown): void {
    const known = isSkaldError(error);
    if (!known || error.status >= 500) this.#context.log.failure(error, "");
    const inside = !known || error.status >= 500;
    this.#say({
      error: {
        code: known ? error.code : "INTERNAL",
        detail: inside ? "Something went wrong on this server." : error.message,
        hint: known ? error.hint : "",
      },
    });
  }

  /** Says why and closes. */
  #fail(error: unknown): void {
    if (error === GONE || this.#ending) return;
    this.#refuse(error);
    const code = isSkaldError(error) ? error.code : "INTERNAL";
    this.end(CLOSE[code] ?? 1011, code);
  }

  #say(message: object): void {
    const ws = this.#ws;
    if (ws.readyState !== ws.OPEN) return;
    // Who does not take what is said is not listened to.
    ws.send(JSON.stringify(message), () => {
      if (ws.isPaused && ws.bufferedAmount < LIMITS.socket.unreadBytes.value) ws.resume();
    });
    if (ws.bufferedAmount > LIMITS.socket.unreadBytes.value) ws.pause();
  }

  /** A token that was revoked or ran out meanwhile ends the socket. */
  #mayGoOn(): boolean {
    if (this.#parts.alive()) return true;
    this.end(1008, "UNAUTHENTICATED");
    return false;
  }

  #settle(): void {
    this.#underWay -= 1;
    if (this.#underWay < 0) this.#parts.held.release();
  }
}

/** How often a socket that has nothing to say is looked at. */
const CHECK_MS = 15_000;
const EVENTS = { start: '{"events":[', between: ",", end: "]}" };
const GONE = new SkaldError("UNAVAILABLE", "The connection is closed.");

/** Close codes of what ends a consumer: those of our own begin with 4 and end like the status. */
const CLOSE: Readonly<Record<string, number>> = {
  SUBSCRIPTION_TAKEN: 4409,
  SUBSCRIPTION_DELETED: 4410,
  BAD_REQUEST: 1007,
  UNAVAILABLE: 1001,
};

/** Throws FORBIDDEN, SUBSCRIPTION_NOT_FOUND and what opening the subscriptions throws. */
function find({ principal, held, name = "" }: SocketParts, { services }: DispatchContext): LiveSubscription {
  return ownSubscription(services, principal, held.db, name);
}

/** The consumer's name: its own, or one that nobody else has. */
export function consumerName(given: string | undefined, requestId: string): string {
  return given === undefined ? `anonymous-${requestId}` : checkSubscriptionName(given, "consumer");
}

function consumerOf({ query }: SocketParts, context: DispatchContext): string {
  return consumerName(query.get("consumer") ?? undefined, context.nextName());
}

export const SUBSCRIPTION_PROTOCOL = "skald.subscription.1";

export const subscriptionSocketRoute: SocketRoute = {
  pattern: /^\/api\/v1\/db\/([^/?]+)\/subscriptions\/([^/?]+)\/events$/,
  protocol: SUBSCRIPTION_PROTOCOL,
  access: "doc.read",
  maxFrame: LIMITS.subscription.frameBytes.value,
  prepare: (parts, context) => {
    find(parts, context).checkRoom(consumerOf(parts, context));
    return (ws) => {
      try {
        return new SubscriptionSocket(ws, parts, context);
      } catch (error) {
        // What was true when it was checked is not any more.
        parts.held.release();
        ws.close(1011, isSkaldError(error) ? error.code : "INTERNAL");
        return { end: () => ws.terminate() };
      }
    };
  },
};
