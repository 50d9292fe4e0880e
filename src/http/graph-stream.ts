import type { Db } from "../db/db.ts";
import { SkaldError, isSkaldError } from "../errors.ts";
import type { Visible } from "../graph/db-source.ts";
import { GraphWatches, type Watching } from "../graph/graph-watches.ts";
import type { GraphMember } from "../graph/graph-watch.ts";
import type { GraphQuery, GraphResult } from "../graph/query.ts";
import { decodeCursor } from "../ids/cursor.ts";
import { LIMITS } from "../limits.ts";
import { HEARTBEAT, SSE_HEADERS, holdDb } from "./feed-query.ts";
import type { Outlet } from "./outlet.ts";
import { cursorAt } from "./point.ts";
import type { Answer, Call } from "./route.ts";

/** Shared by all servers of a process: who watches alike is served from one evaluation. */
const graphWatches = new GraphWatches();

/** Milliseconds after which a client comes back. */
const RETRY = 1000;

/** Server-sent events of a graph query for as long as its client stays. */
export async function followGraph(
  call: Call,
  query: GraphQuery,
  visible: Visible,
  textOf: (db: Db, query: GraphQuery, result: GraphResult) => string,
): Promise<Answer> {
  let wanted = false;
  let end = (): void => {
    wanted = true;
  };
  const held = await holdDb(call.services.engine, call.params["db"] as string, () => end());
  const { db } = held;
  try {
    const known = hashIn(db, call.header("last-event-id"));
    // What is refused before the answer begins has a status of its own.
    db.log.branchId(query.branch);
    const headers = SSE_HEADERS;
    if (call.isHead) {
      held.release();
      return { status: 200, headers };
    }
    return {
      status: 200,
      headers,
      live: (outlet) =>
        new Promise<void>((resolve) => {
          const uncount = call.services.feeds.enter("sse");
          let stopped = (): void => {};
          const stream = new GraphStream(
            call,
            outlet,
            db,
            (result) => textOf(db, query, result),
            known,
            () => {
              stopped();
              uncount();
              held.release();
              outlet.onClose(resolve);
            },
          );
          end = () => stream.fail(new SkaldError("UNAVAILABLE", "The server or the db closes."));
          stopped = call.onStop(end);
          call.onLost(() => stream.refuse());
          outlet.onDrain(() => stream.drained());
          outlet.onClose(() => stream.gone());
          if (wanted) end();
          else stream.begin(() => graphWatches.watch(db, query, visible, stream));
        }),
    };
  } catch (error) {
    held.release();
    throw error;
  }
}

/** The hash that a client has seen last, from the id of that event. Throws CURSOR_INVALID. */
function hashIn(db: Db, id: string | undefined): string | undefined {
  if (id === undefined || id === "") return undefined;
  const [, cursor, hash] = /^([\w-]{1,99})\.([0-9a-f]{64})$/.exec(id) ?? [];
  if (cursor === undefined || hash === undefined)
    throw new SkaldError("CURSOR_INVALID", "`Last-Event-ID` is none that a graph watch gave.");
  decodeCursor(db.log.identity.uid, cursor);
  return hash;
}

/**
 * One client of a watch. A client that takes nothing is given nothing more, then the newest of what it missed: what is
 * kept for it is one answer, and it is ended when it takes nothing for as long as the patience.
 */
class GraphStream implements GraphMember {
  readonly #call: Call;
  readonly #outlet: Outlet;
  readonly #db: Db;
  readonly #textOf: (result: GraphResult) => string;
  readonly #valid: () => boolean;
  readonly #done: () => void;
  #watching: Watching | undefined;
  #pending: GraphResult | undefined;
  #hash: string | undefined;
  #seq = 0;
  #begun = false;
  #ended = false;
  #last: number;
  #stopClock = (): void => {};
  #patience: (() => void) | undefined;

  constructor(
    call: Call,
    outlet: Outlet,
    db: Db,
    textOf: (result: GraphResult) => string,
    known: string | undefined,
    done: () => void,
  ) {
    this.#call = call;
    this.#outlet = outlet;
    this.#db = db;
    this.#textOf = textOf;
    this.#hash = known;
    this.#valid = call.identity.alive;
    this.#done = done;
    this.#last = call.services.world.monotonic();
  }

  begin(watch: () => Watching): void {
    this.#outlet.write(`retry: ${RETRY}\n\n`);
    this.#clock();
    try {
      this.#watching = watch();
    } catch (error) {
      this.fail(error);
    }
    if (this.#ended) this.#watching?.leave();
  }

  take(result: GraphResult): void {
    if (this.#ended) return;
    if (!this.#valid()) return this.refuse();
    if (this.#patience) {
      this.#pending = result;
      return;
    }
    this.#pending = undefined;
    this.#seq = result.seq;
    const { hash } = result.answer;
    const event = this.#begun ? "update" : "snapshot";
    this.#begun = true;
    if (hash === this.#hash) {
      this.#outlet.write(`id: ${this.#id()}\n\n`);
      return;
    }
    this.#hash = hash;
    this.#write(event, this.#textOf(result));
    this.#call.services.feeds.sent += 1;
    const { behindBytes } = this.#call.limits;
    if (this.#outlet.unread > behindBytes) this.#watch(this.#outlet.unread);
  }

  drained(): void {
    this.#patience?.();
    this.#patience = undefined;
    if (this.#pending) this.take(this.#pending);
  }

  fail(error: unknown): void {
    if (this.#ended) return;
    const known = isSkaldError(error);
    if (!known || error.status >= 500) {
      if (!known || error.code !== "UNAVAILABLE") this.#call.failed(error);
      // Whoever uses a db tells it of damage by failing in it; then what is derived is made anew.
      this.#call.db(() => Promise.reject(error as Error)).catch(() => {});
    }
    const [code, detail] = known ? [error.code, error.message] : ["INTERNAL", "Something went wrong."];
    const details = known && error.status < 500 ? error.details : {};
    this.#close();
    const data = { code, detail, ...details, seq: this.#seq, cursor: cursorAt(this.#db, this.#seq) };
    this.#outlet.end(`event: error\ndata: ${JSON.stringify(data)}\n\n`);
    const { world } = this.#call.services;
    this.#outlet.onClose(world.timer(LIMITS.socket.closeMs.value, () => this.#outlet.destroy()));
  }

  gone(): void {
    if (!this.#ended) this.#close();
  }

  /** What its client came with holds no more. */
  refuse(): void {
    this.fail(new SkaldError("UNAUTHENTICATED", "The token was revoked or ran out meanwhile."));
  }

  #id(): string {
    return `${cursorAt(this.#db, this.#seq)}.${this.#hash}`;
  }

  #write(event: string, data: string): void {
    this.#outlet.write(`id: ${this.#id()}\nevent: ${event}\ndata: ${data}\n\n`);
    this.#last = this.#call.services.world.monotonic();
  }

  #close(): void {
    this.#ended = true;
    this.#watching?.leave();
    this.#stopClock();
    this.#patience?.();
    this.#patience = this.#pending = undefined;
    this.#done();
  }

  #clock(): void {
    const { world } = this.#call.services;
    const heartbeat = (this.#call.query["heartbeat"] as number | undefined) ?? HEARTBEAT;
    const silent = world.monotonic() - this.#last;
    this.#stopClock = world.timer(silent < heartbeat ? heartbeat - silent : heartbeat, () => {
      // A timer may be early by the fraction of a millisecond.
      if (!this.#patience && world.monotonic() - this.#last >= heartbeat - 1) this.#beat();
      this.#clock();
    });
  }

  /** Also says how far its answer is known to hold. */
  #beat(): void {
    if (!this.#begun) {
      this.#outlet.write(":\n\n");
      this.#last = this.#call.services.world.monotonic();
      return;
    }
    this.#seq = Math.max(this.#seq, this.#watching?.seq ?? 0);
    const data = { seq: this.#seq, cursor: cursorAt(this.#db, this.#seq), result_hash: this.#hash };
    this.#write("heartbeat", JSON.stringify(data));
  }

  /** Ends one that takes nothing at all for as long as the patience. */
  #watch(before: number): void {
    const { services, limits } = this.#call;
    this.#patience = services.world.timer(limits.behindMs, () => {
      const now = this.#outlet.unread;
      if (now >= before) this.fail(new SkaldError("READER_SLOW", "The client takes nothing."));
      else this.#watch(now);
    });
  }
}
