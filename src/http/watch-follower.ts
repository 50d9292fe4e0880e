import { isSkaldError } from "../errors.ts";
import type { Db } from "../db/db.ts";
import type { WatchListener } from "../query/watch.ts";
import { deltaText, type Result } from "../query/watch-state.ts";
import type { Joined } from "../query/watches.ts";
import type { World } from "../world.ts";
import type { Looked, WatchClock } from "../query/watch-clock.ts";
import {
  WatchEncoder,
  endOfWatch,
  type WatchFormat,
  type WatchPlace,
  type WatchSince,
} from "./watch-events.ts";

/** What a watch writes to: a stream of server-sent events or a WebSocket. */
export interface WatchSink {
  write(bytes: Buffer): void;
  /** Bytes written and not taken by its client. */
  readonly unread: number;
  /** Says why it ends, as far as that can still be said, and closes. */
  end(code: string, last: Buffer): void;
}

export interface WatchFollowerParts {
  readonly db: Db;
  readonly format: WatchFormat;
  readonly delta: boolean;
  readonly clock: WatchClock;
  readonly world: World;
  /** Whether its client may still read. */
  readonly valid: () => boolean;
  readonly heartbeat: number;
  readonly unreadBytes: number;
  readonly unreadMs: number;
  readonly requestId: string;
  readonly failed: (error: unknown) => void;
  /** Called once, when it has ended. */
  readonly done: () => void;
}

/**
 * One client that watches. It is sent the newest state whenever it has taken what it was sent, so what it does not
 * come to take is never made for it; each event is a state that was, in the order in which they were. It ends when
 * its client goes, its token does, the watch cannot go on, the db or the server closes, or nothing is taken for
 * longer than the patience: always with the cursor to go on from.
 */
export class WatchFollower implements WatchListener, Looked {
  readonly #parts: WatchFollowerParts;
  readonly #encoder: WatchEncoder;
  #joined: Joined | undefined;
  #sink: WatchSink | undefined;
  #failure: { readonly error: unknown } | undefined;
  #leaveClock: () => void = () => {};
  #stopPatience: (() => void) | undefined;
  #waiting = false;
  #over = false;
  /** What its client has: the last place that it was told of. */
  #told: WatchPlace = { seq: 0, hash: "" };
  #last = 0;

  constructor(parts: WatchFollowerParts) {
    this.#parts = parts;
    this.#encoder = new WatchEncoder(parts.db, parts.format);
  }

  /** Joins a watch; resolves when there is something to show. Rejects with what keeps it from being watched. */
  async join(join: (listener: WatchListener) => Joined): Promise<Joined> {
    const joined = join(this);
    this.#joined = joined;
    await joined.ready;
    return joined;
  }

  /** Writes from now on: first what its client does not have, `before` being the result that it has. */
  open(sink: WatchSink, since: WatchSince | undefined, before: Result | undefined): void {
    if (this.#over) return;
    this.#sink = sink;
    this.#last = this.#parts.world.monotonic();
    this.#leaveClock = this.#parts.clock.add(this);
    if (this.#failure) return this.failed(this.#failure.error);
    const state = this.#joined?.state();
    if (!state) return;
    const { result } = state;
    const known = since?.hash ?? before?.hash;
    if (known === result.hash) {
      this.#told = this.#place();
      this.#write(this.#encoder.same("resumed", this.#told));
      return;
    }
    this.#told = result;
    const json = before && this.#parts.delta ? deltaText(before, result) : undefined;
    this.#write(
      before && json !== undefined
        ? this.#encoder.delta(result, { from: before.hash, json })
        : this.#encoder.full(since ? "update" : "snapshot", state),
    );
  }

  changed(): void {
    if (!this.#sink || this.#waiting || this.#over) return;
    const state = this.#joined?.state();
    if (!state || state.result.hash === this.#told.hash) return;
    if (!this.#parts.valid()) return this.end("UNAUTHENTICATED");
    const step =
      this.#parts.delta && state.delta?.from === this.#told.hash ? this.#encoder.step(state) : undefined;
    const first = this.#told.hash === "";
    this.#told = state.result;
    this.#write(step ?? this.#encoder.full(first ? "snapshot" : "update", state));
  }

  failed(error: unknown): void {
    this.#failure = { error };
    if (!this.#sink || this.#over) return;
    if (!isSkaldError(error)) this.#parts.failed(error);
    this.#end(error);
  }

  /** Its client has taken what it was given. */
  drained(): void {
    this.#stopPatience?.();
    this.#stopPatience = undefined;
    if (!this.#waiting || this.#over) return;
    this.#waiting = false;
    this.changed();
  }

  look(now: number): void {
    // Whoever takes nothing gets nothing added.
    if (this.#waiting || now - this.#last < this.#parts.heartbeat || this.#told.hash === "") return;
    this.#told = this.#place();
    this.#write(this.#encoder.same("heartbeat", this.#told));
  }

  end(code: "UNAVAILABLE" | "UNAUTHENTICATED" | "READER_SLOW"): void {
    if (!this.#over) this.#end(endOfWatch(code));
  }

  /** Its client is gone. */
  gone(): void {
    if (!this.#over) this.#close();
  }

  /** A later commit for the result that its client has, when there is one. */
  #place(): WatchPlace {
    const now = this.#joined?.place();
    const known = this.#told.hash === "" || now?.hash === this.#told.hash;
    return now && known && now.seq >= this.#told.seq ? now : this.#told;
  }

  #write(bytes: Buffer): void {
    const { world, unreadBytes } = this.#parts;
    const sink = this.#sink as WatchSink;
    sink.write(bytes);
    this.#last = world.monotonic();
    if (sink.unread <= unreadBytes) return;
    this.#waiting = true;
    this.#patience(sink.unread);
  }

  /** Ends one that takes nothing at all for as long as the patience. */
  #patience(before: number): void {
    const { world, unreadMs } = this.#parts;
    this.#stopPatience = world.timer(unreadMs, () => {
      this.#stopPatience = undefined;
      const now = this.#sink?.unread ?? 0;
      if (now >= before) this.end("READER_SLOW");
      else this.#patience(now);
    });
  }

  #end(error: unknown): void {
    this.#close();
    const code = isSkaldError(error) ? error.code : "INTERNAL";
    this.#sink?.end(code, this.#encoder.error(this.#told, error, this.#parts.requestId));
  }

  #close(): void {
    this.#over = true;
    this.#joined?.leave();
    this.#leaveClock();
    this.#stopPatience?.();
    this.#parts.done();
  }
}
