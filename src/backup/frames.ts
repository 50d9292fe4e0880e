import { SkaldError } from "../errors.ts";
import type { ErrorCode } from "../errors.ts";

/**
 * What a server sends of one db: a CBOR sequence of byte strings. The first is a head and the last an end or an
 * error, in JSON; between them stand bodies as the log keeps them, none of which begins with a brace. A stream
 * without a last one broke off.
 */
export interface Head {
  readonly uid: string;
  readonly actor: string;
  readonly created: number;
  readonly lives: readonly { readonly epoch: number; readonly after: number }[];
  /** Base64 of the subscriptions; null when there are none, the code of what keeps them from being read. */
  readonly subscriptions: string | null | { readonly code: string; readonly detail: string };
  /** The newest of the places asked with that is on this line; what follows goes on from there. */
  readonly after: PlaceJson;
  /** Whether the place that the asker knows as the head is on this line; true when it named none. */
  readonly known: boolean;
  /** The head that the stream goes up to. */
  readonly head: PlaceJson;
}

export interface PlaceJson {
  readonly seq: number;
  readonly commit: string | null;
}

/** A file of the server: so many bytes follow. */
export interface FileHead {
  readonly name: string;
  readonly bytes: number;
}

export type Note =
  | { readonly head: Head }
  | { readonly file: FileHead }
  | { readonly done: number }
  | { readonly end: PlaceJson }
  | { readonly error: { code: string; detail: string } };

const BRACE = 0x7b;

export function encodeNote(note: Note): Uint8Array {
  return Buffer.from(JSON.stringify(note));
}

/** The note that an item is; undefined for a body. Throws BAD_CBOR. */
export function readNote(item: Uint8Array): Note | undefined {
  if (item[0] !== BRACE) return undefined;
  try {
    return JSON.parse(Buffer.from(item).toString("utf8")) as Note;
  } catch (cause) {
    throw new SkaldError("BAD_CBOR", "The server sends a note that is no JSON.", { cause });
  }
}

export function noteError(error: { readonly code: string; readonly detail: string }): SkaldError {
  return new SkaldError(error.code as ErrorCode, error.detail);
}
