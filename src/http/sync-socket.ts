import type { WebSocket } from "ws";
import type { Identity } from "../auth/identity.ts";
import { allows } from "../auth/policy.ts";
import { LIMITS } from "../limits.ts";
import type { PeerLine, PeerRights } from "../sync/peer.ts";
import { SyncSession } from "../sync/session.ts";
import type { DispatchContext } from "./dispatch.ts";
import type { OpenSocket, SocketParts, SocketRoute } from "./socket-route.ts";

const { frameBytes } = LIMITS.repo;
const { closeMs } = LIMITS.socket;

/**
 * The socket of an automerge-repo peer: `…/sync`, or `/` on a server that was started with a sync root. No
 * subprotocol; each message is one binary frame.
 *
 * Invariants: the db is held until what the peer sent is written; a peer from which nothing is heard for some pings,
 * and which takes nothing of what it is sent, is gone. (One missed ping says little: a client that loads a thousand
 * documents answers nothing for seconds, and would begin anew for being cut off.)
 */
class SyncSocket implements OpenSocket, PeerLine {
  readonly #ws: WebSocket;
  readonly #context: DispatchContext;
  readonly #session: SyncSession;
  /** Pings since something came, or went. */
  #missed = 0;
  #unread = 0;
  #closing = false;
  #stopClock: () => void = () => {};

  constructor(ws: WebSocket, parts: SocketParts, context: DispatchContext) {
    const { held, wanted } = parts;
    this.#ws = ws;
    this.#context = context;
    const hub = context.services.sync.of(held.db);
    this.#session = new SyncSession(hub, this, rightsOf(parts));
    ws.on("message", (data: Buffer, isBinary: boolean) => {
      this.#missed = 0;
      if (!isBinary) return this.end(1003, "frames are binary");
      try {
        this.#session.receive(data);
      } catch (error) {
        context.log.failure(error, "");
        this.end(1011, "INTERNAL");
      }
    });
    ws.on("pong", () => (this.#missed = 0));
    // ws closes by itself after a breach of the protocol (1002, 1007, 1009); this sees to the end of it.
    ws.on("error", () => this.end(1002, "protocol error"));
    ws.on("close", () => {
      this.#stopClock();
      this.#session.closed();
      void this.#session.settled().then(() => held.release());
    });
    this.#stopClock = context.services.world.timer(context.load.limits.joinMs, () => {
      if (!this.#session.joined) this.end(1008, "no join");
      else this.#ping();
    });
    const leave = (): void => this.end(1001, "the db closes");
    if (wanted.aborted) leave();
    else wanted.addEventListener("abort", leave);
  }

  send(message: Uint8Array): void {
    if (this.#ws.readyState === this.#ws.OPEN) this.#ws.send(message, () => this.#session.drained());
  }

  unread(): number {
    return this.#ws.bufferedAmount;
  }

  pause(): void {
    if (!this.#closing) this.#ws.pause();
  }

  resume(): void {
    if (this.#ws.isPaused) this.#ws.resume();
  }

  close(code: number, reason: string): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#stopClock();
    this.#stopClock = this.#context.services.world.timer(closeMs.value, () => this.#ws.terminate());
    // A paused socket does not hear that its client closes too.
    this.#ws.resume();
    this.#ws.close(code, reason);
  }

  end(code: number, reason: string): void {
    this.#session.end(code, reason);
    // The session was over, and yet its socket is there.
    this.close(code, reason);
  }

  #ping(): void {
    const unread = this.#ws.bufferedAmount;
    // One that is not read from, or that takes what was sent before the ping, cannot answer it yet.
    if (this.#ws.isPaused || (unread > 0 && unread < this.#unread)) this.#missed = 0;
    if (this.#missed >= PINGS) {
      this.#ws.terminate();
      return;
    }
    this.#missed += 1;
    this.#unread = unread;
    this.#ws.ping();
    this.#stopClock = this.#context.services.world.timer(this.#context.load.limits.silentMs / PINGS, () =>
      this.#ping(),
    );
  }
}

const PINGS = 3;

function rightsOf({ principal, db, alive }: SocketParts): PeerRights {
  const may = (action: "doc.read" | "doc.write") => (doc: string) => allows(principal, action, db, doc);
  return {
    principal: principal.id,
    author: principal.subject,
    mayRead: may("doc.read"),
    mayWrite: may("doc.write"),
    alive,
  };
}

/**
 * Who comes to `/` of a server with a sync root and shows no credential: what the automerge-repo sync server lets
 * everybody do. Whoever knows a document's URL reads and writes it.
 */
export function anonymousOn(db: string): Identity {
  const scopes = (["sync", "doc.read", "doc.write"] as const).map((action) => ({ db, action }));
  return {
    principal: { id: "anonymous", subject: "anonymous", scopes },
    by: "nobody",
    alive: () => true,
  };
}

const open = (ws: WebSocket, parts: SocketParts, context: DispatchContext): OpenSocket =>
  new SyncSocket(ws, parts, context);

export const syncSocketRoute: SocketRoute = {
  pattern: /^\/api\/v1\/db\/([^/?]+)\/sync$/,
  access: "sync",
  maxFrame: frameBytes.value,
  open,
};

export const syncRootRoute: SocketRoute = {
  pattern: /^\/$/,
  access: "sync",
  maxFrame: frameBytes.value,
  root: true,
  open,
};
