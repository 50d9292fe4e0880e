import type { SkaldError } from "../errors.ts";

/** The connection to a peer, message by message. */
export interface PeerLine {
  send(message: Uint8Array): void;
  /** Bytes that were sent and are not taken. */
  unread(): number;
  /** Reads no further, or goes on. */
  pause(): void;
  resume(): void;
  /** Nothing is sent after this. */
  close(code: number, reason: string): void;
}

/** Who a peer is to the db. Ids that a peer gives itself prove nothing. */
export interface PeerRights {
  /** Names the principal: two peers of one are the same person. */
  readonly principal: string;
  /** Author of what the peer writes. */
  readonly author: string;
  mayRead(doc: string): boolean;
  mayWrite(doc: string): boolean;
  /** Whether what the peer came in with still holds. */
  alive(): boolean;
}

/** What happens to peers, for whoever writes it down. */
export interface SyncEvents {
  /** A change of a peer was refused: nothing of it was kept, and the document is not synced on that socket any more. */
  refused(
    error: SkaldError,
    details: { readonly db: string; readonly doc: string; readonly author: string },
  ): void;
  /** Something failed that is the server's. */
  failed(error: unknown): void;
}
