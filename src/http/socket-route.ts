import type { WebSocket } from "ws";
import type { Action } from "../auth/actions.ts";
import type { Principal } from "../auth/policy.ts";
import type { HeldDb } from "../db/engine.ts";
import type { DispatchContext } from "./dispatch.ts";

/** A WebSocket that the server offers. */
export interface SocketRoute {
  /** Of the path, without the query; its first group is the db, as it stands in the URL. */
  readonly pattern: RegExp;
  /** Subprotocol that the client must offer and gets; without one, none is chosen. */
  readonly protocol?: string;
  /** Subprotocol that a client gets that offers it; others get none. */
  readonly chosen?: string;
  /** The action that the client must be allowed on at least a part of the db. */
  readonly access: Action;
  /** Is that of the sync root, a db of the server's settings, and open to whoever shows no credential. */
  readonly root?: true;
  /** Bytes of a frame; a larger one closes the socket with 1009. */
  readonly maxFrame: number;
  /** Takes an open socket over; it must release `parts.held` when it has closed and its work is done. */
  readonly open?: (ws: WebSocket, parts: SocketParts, context: DispatchContext) => OpenSocket;
  /** In its place: looks at what is asked for while it can be refused, by throwing, and gives what takes it over. */
  readonly prepare?: (parts: SocketParts, context: DispatchContext) => TakeOver | Promise<TakeOver>;
}

export type TakeOver = (ws: WebSocket, context: DispatchContext) => OpenSocket;

/** What a socket is opened with. */
export interface SocketParts {
  readonly principal: Principal;
  /** Whether what the client came with still holds. A socket asks it of what comes in; that an idle one ends is seen to. */
  readonly alive: () => boolean;
  readonly db: string;
  /** What the pattern's second group found, if it has one. */
  readonly name?: string;
  readonly held: HeldDb;
  /** Aborted when the db is wanted back: to be deleted, rebuilt or closed. */
  readonly wanted: AbortSignal;
  readonly query: URLSearchParams;
}

export interface OpenSocket {
  /**
   * Takes nothing more, finishes what it has begun and closes: with 1001 when the server stops, with
   * `CREDENTIAL_ENDED` when what its client came with holds no more.
   */
  end(code: number, reason: string): void;
}

/** Close code for that (RFC 6455: a policy is violated). */
export const CREDENTIAL_ENDED = 1008;
