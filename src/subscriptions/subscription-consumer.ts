import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { World } from "../world.ts";
import type { FeedEvent } from "./feed.ts";

/** An event as one consumer gets it. */
export interface Delivered {
  readonly event: FeedEvent;
  /** 1 for the first time. */
  readonly attempt: number;
}

const QUEUE = 64;
const { queueBytes } = LIMITS.subscription;

/**
 * One consumer of a subscription, between the subscription, which puts events in, and a connection, which takes
 * them out. Holds little, however slow the connection is: `room` says how much more.
 */
export class Consumer {
  readonly id: string;
  readonly #most: number;
  #queue: Delivered[] = [];
  #bytes = 0;
  #ended: SkaldError | undefined;
  #wake = (): void => {};
  /** Called when there is room again. */
  onRoom = (): void => {};

  constructor(id: string, most = QUEUE) {
    this.id = id;
    this.#most = most;
  }

  get room(): number {
    return this.#ended || this.#bytes > queueBytes.value ? 0 : this.#most - this.#queue.length;
  }

  put(events: readonly Delivered[]): void {
    for (const one of events) {
      this.#queue.push(one);
      this.#bytes += sizeOf(one.event);
    }
    this.#wake();
  }

  /** Nothing comes any more; `next` throws this once the queue is empty. */
  end(error: SkaldError): void {
    this.#ended ??= error;
    this.#wake();
  }

  get ended(): SkaldError | undefined {
    return this.#ended;
  }

  /** Whatever there is, at once. */
  take(): Delivered[] {
    const taken = this.#queue;
    if (taken.length === 0) return taken;
    this.#queue = [];
    this.#bytes = 0;
    this.onRoom();
    return taken;
  }

  /** Waits for events, at most `ms`; none when the time is up. Throws what it was ended with. */
  async next(world: World, ms: number): Promise<Delivered[]> {
    if (this.#queue.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        const enough = world.timer(ms, resolve);
        this.#wake = () => {
          enough();
          resolve();
        };
      });
      this.#wake = () => {};
    }
    const taken = this.take();
    if (taken.length === 0 && this.#ended) throw this.#ended;
    return taken;
  }
}

/** Roughly, in bytes. */
function sizeOf({ docs, message }: FeedEvent): number {
  let size = 200 + (message?.length ?? 0);
  for (const { doc, heads, changes, json, patch } of docs) {
    size += doc.length + 67 * heads.length + (json ?? patch ?? "").length;
    for (const change of changes ?? []) size += change.length;
  }
  return size;
}
