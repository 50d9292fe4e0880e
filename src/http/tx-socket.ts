import type { IncomingMessage, Server } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer, type WebSocket } from "ws";
import { bearerToken } from "../auth/bearer.ts";
import { allows, prefixesFor, type Principal } from "../auth/policy.ts";
import type { HeldDb } from "../db/engine.ts";
import type { TxRequest, TxWrite } from "../db/write.ts";
import { SkaldError, isSkaldError } from "../errors.ts";
import { CborWriter, decodeCborSequence } from "../ids/cbor.ts";
import { fromHex, toHex } from "../ids/hash.ts";
import { checkDbId } from "../ids/names.ts";
import type { Receipt } from "../log/log.ts";
import type { DispatchContext } from "./dispatch.ts";
import { problemOf } from "./problem.ts";

/**
 * Transactions over one binary WebSocket, for those who write a lot: `…/tx` with an upgrade and the
 * subprotocol `skald.tx.1`. Each frame in either direction is a CBOR sequence.
 *
 *   to the server    {id, writes: [{doc, base?: [hash], changes: [bytes]}], tx?, message?}
 *   to the client    {id, seq, time, commit, heads: {doc: [hash]}, duplicate}
 *                 or {id, error: {code, detail, hint}}
 *
 * Transactions are taken in the order they arrive and answered when durable, all that share a commit
 * in one frame. A client that does not read is not read from either.
 */

export const TX_PROTOCOL = "skald.tx.1";
const PATH = /^\/api\/v1\/db\/([^/?]+)\/branches\/main\/tx$/;
const MAX_FRAME = 16 * 1024 * 1024;
/** Transactions of one socket that wait for their commit before it is no longer read. */
const MAX_IN_FLIGHT = 2048;
const MAX_UNREAD_BYTES = 1024 * 1024;

export function acceptTxSockets(server: Server, context: DispatchContext): void {
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_FRAME,
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has(TX_PROTOCOL) ? TX_PROTOCOL : false),
  });
  server.on("upgrade", (req: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on("error", () => socket.destroy());
    open(req, context).then(
      ({ principal, token, held, db }) => {
        sockets.handleUpgrade(
          req,
          socket,
          head,
          (ws) => new TxSocket(ws, principal, token, db, held, context),
        );
        // An upgrade that ws refused never becomes a socket that could let go of the db.
        if (socket.destroyed) held.release();
      },
      (error: unknown) => {
        const { status, headers, body } = problemOf(error, "");
        const lines = Object.entries({ ...headers, connection: "close" }).map(
          ([name, value]) => `${name}: ${value}\r\n`,
        );
        socket.end(`HTTP/1.1 ${status} Refused\r\n${lines.join("")}\r\n${body as string}`);
      },
    );
  });
  server.on("close", () => sockets.close());
  // Closing the server must not wait for sockets that have nothing under way.
  const close = server.close.bind(server);
  server.close = (done) => {
    for (const ws of sockets.clients) ws.close(1001, "the server stops");
    return close(done);
  };
}

async function open(
  req: IncomingMessage,
  { services, ambient }: DispatchContext,
): Promise<{ principal: Principal; token: string | undefined; held: HeldDb; db: string }> {
  const match = PATH.exec(req.url ?? "");
  if (!match) throw new SkaldError("NOT_FOUND", "There is no WebSocket at this path.");
  const db = checkDbId(decodeURIComponent(match[1] as string));
  const { authorization } = req.headers;
  const token = bearerToken(authorization);
  const principal = authorization === undefined ? ambient : token && services.tokens.verify(token);
  if (!principal) throw new SkaldError("UNAUTHENTICATED", "This socket needs a token.");
  if (prefixesFor(principal, "doc.write", db) === "none") {
    throw new SkaldError("FORBIDDEN", `The token does not allow doc.write on the db ${db}.`);
  }
  const held = services.engine.hold(db) ?? (await services.engine.use(db, () => services.engine.hold(db)));
  if (!held) throw new SkaldError("UNAVAILABLE", "The db is closing.");
  return { principal, token, held, db };
}

class TxSocket {
  readonly #ws: WebSocket;
  readonly #principal: Principal;
  readonly #token: string | undefined;
  readonly #dbId: string;
  readonly #held: HeldDb;
  readonly #context: DispatchContext;
  readonly #mayAll: boolean;
  readonly #anyActor: boolean;
  readonly #writer = new CborWriter();
  #inFlight = 0;
  #unsent = 0;

  constructor(
    ws: WebSocket,
    principal: Principal,
    token: string | undefined,
    dbId: string,
    held: HeldDb,
    context: DispatchContext,
  ) {
    this.#ws = ws;
    this.#principal = principal;
    this.#token = token;
    this.#dbId = dbId;
    this.#held = held;
    this.#context = context;
    this.#mayAll = prefixesFor(principal, "doc.write", dbId) === "all";
    this.#anyActor = allows(principal, "db.admin", dbId);
    ws.on("message", (data: Buffer, isBinary: boolean) => this.#frame(data, isBinary));
    ws.on("error", () => ws.terminate());
    ws.on("close", () => {
      if (this.#inFlight === 0) held.release();
    });
  }

  #frame(data: Buffer, isBinary: boolean): void {
    // A token that was revoked or ran out meanwhile ends the socket with the next frame.
    if (this.#token !== undefined && !this.#context.services.tokens.verify(this.#token)) {
      this.#ws.close(1008, "UNAUTHENTICATED");
      return;
    }
    try {
      if (!isBinary) throw new RangeError("frames are binary");
      for (const item of decodeCborSequence(data)) this.#take(item);
    } catch (error) {
      this.#ws.close(1007, `BAD_CBOR: ${(error as Error).message}`.slice(0, 120));
    }
  }

  #take(item: unknown): void {
    const id = (item as { id?: unknown } | null)?.id;
    if (typeof id !== "number" || id < 0) throw new RangeError("a transaction is a map with an id");
    this.#inFlight += 1;
    if (this.#inFlight >= MAX_IN_FLIGHT) this.#ws.pause();
    let request: TxRequest;
    try {
      request = this.#request(item as Record<string, unknown>);
    } catch (error) {
      this.#refuse(id, error);
      return;
    }
    this.#held.db.tx(request).then(
      (receipt) => this.#answer(id, receipt),
      (error: unknown) => this.#refuse(id, error),
    );
  }

  #request(item: Record<string, unknown>): TxRequest {
    const { writes, tx, message } = item;
    for (const key in item) if (!FIELDS.has(key)) throw malformed(`"${key}" is not a field of a transaction`);
    if (!Array.isArray(writes)) throw malformed("`writes` is a list");
    if (tx !== undefined && typeof tx !== "string") throw malformed("`tx` is a text");
    if (message !== undefined && (typeof message !== "string" || message.length > 4096)) {
      throw malformed("`message` is a text of at most 4096 characters");
    }
    return {
      author: this.#principal.subject,
      anyActor: this.#anyActor,
      writes: writes.map((write) => this.#write(write as Record<string, unknown>)),
      ...(tx === undefined ? {} : { clientTxId: tx }),
      ...(message === undefined ? {} : { message }),
    };
  }

  #write(write: Record<string, unknown>): TxWrite {
    const { doc, base, changes } = write;
    if (typeof doc !== "string") throw malformed("`doc` is a text");
    if (!Array.isArray(changes) || changes.length === 0 || !changes.every(isBytes)) {
      throw malformed("`changes` is a list of byte strings");
    }
    if (!this.#mayAll && !allows(this.#principal, "doc.write", this.#dbId, doc)) {
      throw new SkaldError("FORBIDDEN", `The token does not allow doc.write on ${doc}.`);
    }
    if (base === undefined) return { doc, changes };
    if (!Array.isArray(base) || !base.every((hash) => isBytes(hash) && hash.length === 32)) {
      throw malformed("`base` is a list of hashes of 32 bytes");
    }
    return { doc, changes, base: (base as Uint8Array[]).map(toHex) };
  }

  /** Keys in the order of DAG-CBOR, as everything we write. */
  #answer(id: number, receipt: Receipt): void {
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
    this.#done();
  }

  #refuse(id: number, error: unknown): void {
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
    this.#done();
  }

  /** Answers of one turn leave together: one frame costs 5 µs, whatever it holds. */
  #done(): void {
    this.#inFlight -= 1;
    if (this.#unsent === 0) setImmediate(() => this.#flush());
    this.#unsent += 1;
    if (this.#inFlight === 0 && this.#ws.readyState === this.#ws.CLOSED) this.#held.release();
  }

  #flush(): void {
    this.#unsent = 0;
    const frame = this.#writer.take();
    this.#writer.reset();
    if (this.#ws.readyState !== this.#ws.OPEN) return;
    this.#ws.send(frame, () => this.#resume());
    this.#resume();
  }

  #resume(): void {
    if (this.#ws.bufferedAmount > MAX_UNREAD_BYTES) this.#ws.pause();
    else if (this.#ws.isPaused && this.#inFlight < MAX_IN_FLIGHT / 2) this.#ws.resume();
  }
}

const FIELDS: ReadonlySet<string> = new Set(["id", "writes", "tx", "message"]);

function isBytes(value: unknown): value is Uint8Array {
  return ArrayBuffer.isView(value);
}

function malformed(what: string): SkaldError {
  return new SkaldError("BAD_REQUEST", `The transaction is malformed: ${what}.`);
}
