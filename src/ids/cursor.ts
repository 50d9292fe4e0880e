import { SkaldError } from "../errors.ts";
import { toHex } from "./hash.ts";

/**
 * An opaque place in a db's log. It holds which db (first 8 bytes of its uid), which life of it
 * (epoch) and the seq up to which its owner has seen everything.
 */
export interface Cursor {
  readonly epoch: number;
  readonly seq: number;
}

/**
 * Adopting another server's line of commits starts the next one. A restore from a backup starts one with a number
 * of its own (see `src/backup`), since what is restored twice from one backup goes on in two ways.
 */
export const FIRST_EPOCH = 1;

export function encodeCursor(uid: Uint8Array, cursor: Cursor): string {
  return Buffer.from(`${toHex(uid.subarray(0, 8))}.${cursor.epoch}.${cursor.seq}`).toString("base64url");
}

/** Throws CURSOR_INVALID for anything that was not made for this db. */
export function decodeCursor(uid: Uint8Array, text: string): Cursor {
  const parts = /^([0-9a-f]{16})\.(0|[1-9]\d{0,14})\.(0|[1-9]\d{0,14})$/.exec(
    Buffer.from(text, "base64url").toString("latin1"),
  );
  if (!parts || Buffer.from(parts[0]).toString("base64url") !== text) {
    throw new SkaldError("CURSOR_INVALID", "The cursor is not one that this server gives.");
  }
  if (parts[1] !== toHex(uid.subarray(0, 8))) {
    throw new SkaldError("CURSOR_INVALID", "The cursor belongs to another db.");
  }
  return { epoch: Number(parts[2]), seq: Number(parts[3]) };
}
