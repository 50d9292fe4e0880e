import { isSkaldError } from "../errors.ts";
import type { Db } from "../db/db.ts";
import type { FeedChunk, FeedWish } from "../subscriptions/feed-chunks.ts";
import { feedEncoder, type FeedFormat } from "../subscriptions/feed-encoder.ts";
import type { FeedGroups, Follower } from "../subscriptions/feed-group.ts";
import type { World } from "../world.ts";

/** What a follower writes to: a stream of server-sent events or a WebSocket. */
export interface FeedSink {
  write(bytes: Buffer): void;
  /** Bytes written and not taken by its client. */
  readonly unread: number;
  /** A sign of life; `progress` when the feed got further than what its client has seen. */
  beat(progress: Buffer | undefined): void;
  /** Says why and where it ended, as far as that can still be said, and closes. */
  end(code: string, cursor: string, last: Buffer): void;
}

export interface FollowerParts {
  readonly db: Db;
  readonly groups: FeedGroups;
  readonly wish: FeedWish;
  readonly format: FeedFormat;
  readonly sink: FeedSink;
  readonly world: World;
  readonly cursorAt: (seq: number) => string;
  /** Whether its client may still read. */
  readonly valid: () => boolean;
  readonly heartbeat: number;
  readonly unreadBytes: number;
  readonly unreadMs: number;
  readonly sent: (events: number) => void;
  readonly failed: (error: unknown) => void;
  /** Called once, when it has ended. */
  readonly done: () => void;
}

/** Room for a line that says where a feed is. */
const SMALL = 512;

/**
 * One open feed that follows its db. It ends when its client goes, when its token does, when the db or the
 * server closes, and when its client takes nothing for longer than the patience; always with the cursor to go
 * on from. What is kept for it in memory is what it was given and has not taken: a chunk more than the limit.
 */
export class FeedFollower implements Follower {
  seq: number;
  readonly #parts: FollowerParts;
  readonly #ended = new AbortController();
  #leave: () => void = () => {};
  #stopClock: () => void = () => {};
  /** Stops the clock of a client that takes nothing. */
  #patience: (() => void) | undefined;
  #waiting = false;
  /** The seq that its client knows of, and when something was last written. */
  #told: number;
  #last: number;

  constructor(parts: FollowerParts, after: number) {
    this.#parts = parts;
    this.seq = after;
    this.#told = after;
    this.#last = parts.world.monotonic();
    this.#clock();
    this.again();
  }

  take(chunk: FeedChunk): boolean {
    const { sink, valid, sent, unreadBytes, world } = this.#parts;
    if (!valid()) {
      this.end("UNAUTHENTICATED");
      return false;
    }
    this.seq = chunk.seq;
    if (chunk.events === 0) return true;
    sink.write(chunk.bytes);
    sent(chunk.events);
    this.#told = chunk.seq;
    this.#last = world.monotonic();
    if (sink.unread <= unreadBytes) return true;
    this.#waiting = true;
    this.#watch(sink.unread);
    return false;
  }

  again(): void {
    const { groups, db, wish, format } = this.#parts;
    groups.follow(db, wish, format, this, this.#ended.signal).then(
      (leave) => {
        this.#leave = leave;
        if (this.#ended.signal.aborted) leave();
      },
      (error: unknown) => this.fail(error),
    );
  }

  /** Its client has taken what it was given. */
  drained(): void {
    this.#patience?.();
    this.#patience = undefined;
    if (!this.#waiting || this.#ended.signal.aborted) return;
    this.#waiting = false;
    this.again();
  }

  fail(error: unknown): void {
    const code = isSkaldError(error) ? error.code : "INTERNAL";
    if (!this.#ended.signal.aborted && code !== "UNAVAILABLE") this.#parts.failed(error);
    this.end(code);
  }

  /** Ends it with a code and the cursor; nothing more is sent. */
  end(code: string): void {
    if (this.#ended.signal.aborted) return;
    const { sink, db, format, cursorAt } = this.#parts;
    this.#close();
    const encoder = feedEncoder(db, format, SMALL);
    encoder.end({ seq: this.seq, code });
    sink.end(code, cursorAt(this.seq), encoder.take());
  }

  /** Its client is gone. */
  gone(): void {
    if (!this.#ended.signal.aborted) this.#close();
  }

  #close(): void {
    this.#ended.abort();
    this.#leave();
    this.#stopClock();
    this.#patience?.();
    this.#parts.done();
  }

  #clock(): void {
    const { world, heartbeat, sink, format, db } = this.#parts;
    const silent = world.monotonic() - this.#last;
    this.#stopClock = world.timer(silent < heartbeat ? heartbeat - silent : heartbeat, () => {
      // Whoever takes nothing gets nothing added. A timer may be early by the fraction of a millisecond.
      if (!this.#waiting && world.monotonic() - this.#last >= heartbeat - 1) {
        let progress: Buffer | undefined;
        if (this.seq > this.#told) {
          const encoder = feedEncoder(db, format, SMALL);
          encoder.progress(this.seq);
          progress = encoder.take();
          this.#told = this.seq;
        }
        sink.beat(progress);
        this.#last = world.monotonic();
      }
      this.#clock();
    });
  }

  /** Ends one that takes nothing at all for as long as the patience. */
  #watch(before: number): void {
    const { world, sink, unreadMs } = this.#parts;
    this.#patience = world.timer(unreadMs, () => {
      this.#patience = undefined;
      const now = sink.unread;
      if (now >= before) this.end("READER_SLOW");
      else this.#watch(now);
    });
  }
}
