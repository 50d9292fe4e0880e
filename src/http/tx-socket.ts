import type { WebSocket } from "ws";
import { allows, prefixesFor } from "../auth/policy.ts";
import { checkCount, type TxRequest, type TxWrite } from "../db/write.ts";
import { SkaldError, isSkaldError } from "../errors.ts";
import { CborWriter, decodeCborSequence } from "../ids/cbor.ts";
import { LIMITS } from "../limits.ts";
import { fromHex, toHex } from "../ids/hash.ts";
import type { Receipt } from "../log/log.ts";
import type { DispatchContext } from "./dispatch.ts";
import type { OpenSocket, SocketParts, SocketRoute } from "./socket-route.ts";

/**
 * Transactions over one binary WebSocket, for those who write a lot: `…/tx` with an upgrade and the
 * subprotocol `skald.tx.1`. Each frame in either direction is a CBOR sequence.
 *
 *   to the server    {id, writes: [{doc, base?: [hash], changes: [bytes]}], tx?, message?}
 *   to the client    {id, seq, time, commit, heads: {doc: [hash]}, duplicate}
 *                 or {id, error: {code, detail, hint}}
 *
 * Invariants: transactions are taken in the order they arrive; each one taken is answered, when it is
 * durable, before the server closes the socket; the db is held until the last of them is done. A client
 * that does not read is not read from either.
 */

const { frameItems, levels, mapEntries, inFlight, inFlightBytes, unreadBytes, closeMs } = LIMITS.socket;
const { messageCharacters, changes: mostChanges, heads: mostHeads } = LIMITS.tx;

/** A frame and how many of its transactions are not answered. */
interface Frame {
  readonly bytes: number;
  open: number;
}

export class TxSocket implements OpenSocket {
  readonly #ws: WebSocket;
  readonly #parts: SocketParts;
  readonly #context: DispatchContext;
  readonly #mayAll: boolean;
  readonly #anyActor: boolean;
  #writer = new CborWriter();
  #inFlight = 0;
  #inFlightBytes = 0;
  #unsent = 0;
  /** Stops the clock of a client that takes no answers. */
  #patience: (() => void) | undefined;
  #ending: { readonly code: number; readonly reason: string } | undefined;

  constructor(ws: WebSocket, parts: SocketParts, context: DispatchContext) {
    const { principal, db, held, wanted } = parts;
    this.#ws = ws;
    this.#parts = parts;
    this.#context = context;
    this.#mayAll = prefixesFor(principal, "doc.write", db) === "all";
    this.#anyActor = allows(principal, "db.admin", db);
    ws.on("message", (data: Buffer, isBinary: boolean) => this.#frame(data, isBinary));
    // ws closes by itself after a breach of the protocol (1002, 1007, 1009); this sees to the end of it.
    ws.on("error", () => this.end(1002, "protocol error"));
    ws.on("close", () => {
      this.#patience?.();
      if (this.#inFlight === 0) held.release();
    });
    const leave = (): void => this.end(1001, "the db closes");
    if (wanted.aborted) leave();
    else wanted.addEventListener("abort", leave);
  }

  /** Takes nothing more; what was taken is answered, then the socket closes. */
  end(code: number, reason: string): void {
    if (this.#ending) return;
    this.#ending = { code, reason };
    this.#ws.once(
      "close",
      this.#context.services.world.timer(closeMs.value, () => this.#ws.terminate()),
    );
    // A paused socket does not hear that its client closes too.
    this.#ws.resume();
    this.#closeWhenDone();
  }

  #closeWhenDone(): void {
    if (this.#ending && this.#inFlight === 0 && this.#unsent === 0) {
      this.#ws.close(this.#ending.code, this.#ending.reason);
    }
  }

  #frame(data: Buffer, isBinary: boolean): void {
    if (this.#ending) return;
    if (!isBinary) return this.end(1003, "frames are binary");
    const frame: Frame = { bytes: data.length, open: 1 };
    this.#inFlightBytes += frame.bytes;
    try {
      // A token that was revoked or ran out meanwhile ends the socket with the next frame.
      if (!this.#parts.alive()) return this.end(1008, "UNAUTHENTICATED");
      let taken = 0;
      for (const item of decodeCborSequence(data, levels.value, mapEntries.value)) {
        if ((taken += 1) > frameItems.value) {
          return this.end(1009, `more than ${frameItems.value} transactions`);
        }
        this.#take(item, frame);
      }
    } catch (error) {
      if (isSkaldError(error) && error.code === "BAD_CBOR") {
        return this.end(1007, `BAD_CBOR: ${error.message}`.slice(0, 120));
      }
      this.#context.log.failure(error, "");
      this.end(1011, "INTERNAL");
    } finally {
      this.#settle(frame);
      this.#throttle();
    }
  }

  #take(item: unknown, frame: Frame): void {
    const id = isMap(item) ? item["id"] : undefined;
    if (typeof id !== "number" || id < 0) {
      throw new SkaldError("BAD_CBOR", "A transaction is a map with an id.");
    }
    this.#inFlight += 1;
    frame.open += 1;
    let request: TxRequest;
    try {
      request = this.#request(item as Record<string, unknown>);
    } catch (error) {
      this.#refuse(id, error, frame);
      return;
    }
    this.#parts.held.db.tx(request).then(
      (receipt) => this.#answer(id, receipt, frame),
      (error: unknown) => this.#refuse(id, error, frame),
    );
  }

  #request(item: Record<string, unknown>): TxRequest {
    const { writes, tx, message } = item;
    for (const key in item) if (!FIELDS.has(key)) throw unknownField(key, "a transaction");
    if (!Array.isArray(writes)) throw malformed("`writes` is a list");
    if (tx !== undefined && typeof tx !== "string") throw malformed("`tx` is a text");
    if (message !== undefined && (typeof message !== "string" || message.length > messageCharacters.value)) {
      throw malformed(`\`message\` is a text of at most ${messageCharacters.value} characters`);
    }
    return {
      author: this.#parts.principal.subject,
      anyActor: this.#anyActor,
      writes: writes.map((write: unknown) => this.#write(write)),
      ...(tx === undefined ? {} : { clientTxId: tx }),
      ...(message === undefined ? {} : { message }),
    };
  }

  #write(write: unknown): TxWrite {
    if (!isMap(write)) throw malformed("a write is a map");
    const { doc, base, changes } = write;
    for (const key in write) if (!WRITE_FIELDS.has(key)) throw unknownField(key, "a write");
    if (typeof doc !== "string") throw malformed("`doc` is a text");
    if (!Array.isArray(changes) || changes.length === 0 || !changes.every(isBytes)) {
      throw malformed("`changes` is a list of byte strings");
    }
    checkCount("changes of a write", changes.length, mostChanges.value);
    if (!this.#mayAll && !allows(this.#parts.principal, "doc.write", this.#parts.db, doc)) {
      throw new SkaldError("FORBIDDEN", `The token does not allow doc.write on ${doc.slice(0, 80)}.`);
    }
    if (base === undefined) return { doc, changes };
    if (!Array.isArray(base) || !base.every((hash) => isBytes(hash) && hash.length === 32)) {
      throw malformed("`base` is a list of hashes of 32 bytes");
    }
    checkCount("heads of a write", base.length, mostHeads.value);
    return { doc, changes, base: (base as Uint8Array[]).map(toHex) };
  }

  /** Keys in the order of DAG-CBOR, as everything we write. */
  #answer(id: number, receipt: Receipt, frame: Frame): void {
    const w = this.#writer;
    w.map(6);
    w.text("id");
    w.uint(id);
    w.text("seq");
    w.uint(receipt.seq);
    w.text("time");
    w.uint(receipt.time);
    w.text("heads");
    const docs = Object.keys(receipt.heads);
    w.map(docs.length);
    for (const doc of docs) {
      const heads = receipt.heads[doc] ?? [];
      w.text(doc);
      w.array(heads.length);
      for (const head of heads) w.bytes(fromHex(head));
    }
    w.text("commit");
    w.bytes(receipt.cid);
    w.text("duplicate");
    w.bool(receipt.duplicate);
    this.#done(frame);
  }

  #refuse(id: number, error: unknown, frame: Frame): void {
    const known = isSkaldError(error);
    if (!known || error.status >= 500) this.#context.log.failure(error, "");
    const w = this.#writer;
    w.map(2);
    w.text("id");
    w.uint(id);
    w.text("error");
    w.map(3);
    w.text("code");
    w.text(known ? error.code : "INTERNAL");
    w.text("hint");
    w.text(known ? error.hint : "");
    w.text("detail");
    w.text(known && error.status < 500 ? error.message : "Something went wrong on this server.");
    this.#done(frame);
  }

  /** Answers of one turn leave together: one frame costs 5 µs, whatever it holds. */
  #done(frame: Frame): void {
    this.#inFlight -= 1;
    this.#settle(frame);
    if (this.#unsent === 0) this.#context.services.world.soon(() => this.#flush());
    this.#unsent += 1;
    if (this.#inFlight === 0 && this.#ws.readyState === this.#ws.CLOSED) this.#parts.held.release();
  }

  #settle(frame: Frame): void {
    frame.open -= 1;
    if (frame.open === 0) this.#inFlightBytes -= frame.bytes;
  }

  #flush(): void {
    this.#unsent = 0;
    const frame = this.#writer.take();
    // A buffer that one large frame made large is not kept for the small ones.
    if (frame.length > unreadBytes.value) this.#writer = new CborWriter();
    else this.#writer.reset();
    if (this.#ws.readyState === this.#ws.OPEN) {
      this.#ws.send(frame, () => this.#throttle());
      this.#throttle();
    }
    this.#closeWhenDone();
  }

  /** Reads no further while too much of what was read is not answered, or of the answers not taken. */
  #throttle(): void {
    if (this.#ending) return;
    const ws = this.#ws;
    const unread = ws.bufferedAmount > unreadBytes.value;
    if (unread) this.#watch(ws.bufferedAmount);
    if (unread || this.#inFlight >= inFlight.value || this.#inFlightBytes >= inFlightBytes.value) ws.pause();
    else if (
      ws.isPaused &&
      this.#inFlight < inFlight.value / 2 &&
      this.#inFlightBytes < inFlightBytes.value / 2
    )
      ws.resume();
  }

  /** Ends a client that takes nothing for so long that it will not come back for the rest. */
  #watch(before: number): void {
    this.#patience ??= this.#context.services.world.timer(this.#context.load.limits.unreadMs, () => {
      this.#patience = undefined;
      const now = this.#ws.bufferedAmount;
      if (now >= before) this.#ws.terminate();
      else if (now > unreadBytes.value) this.#watch(now);
    });
  }
}

const FIELDS: ReadonlySet<string> = new Set(["id", "writes", "tx", "message"]);
const WRITE_FIELDS: ReadonlySet<string> = new Set(["doc", "base", "changes"]);

/** Also keeps lists and byte strings from being looked through as if their indexes were fields. */
function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !isBytes(value);
}

function isBytes(value: unknown): value is Uint8Array {
  return ArrayBuffer.isView(value);
}

function malformed(what: string): SkaldError {
  return new SkaldError("BAD_REQUEST", `The transaction is malformed: ${what}.`);
}

function unknownField(key: string, of: string): SkaldError {
  return malformed(`"${key.slice(0, 80)}" is not a field of ${of}`);
}

export const TX_PROTOCOL = "skald.tx.1";

export const txSocketRoute: SocketRoute = {
  pattern: /^\/api\/v1\/db\/([^/?]+)\/branches\/main\/tx$/,
  protocol: TX_PROTOCOL,
  access: "doc.write",
  maxFrame: LIMITS.socket.frameBytes.value,
  open: (ws, parts, context) => new TxSocket(ws, parts, context),
};
