/** What an event has of each document, beside its name and heads. */
export type Include = "none" | "json" | "patch" | "changes";

/** One commit, as far as its reader may see it. */
export interface FeedEvent {
  readonly seq: number;
  /** Its address: 36 bytes. */
  readonly commit: Uint8Array;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly branch: string;
  readonly author: string;
  readonly message: string | undefined;
  /** Those that the filter lets through: never empty when there is a filter. */
  readonly docs: readonly FeedDoc[];
}

export interface FeedDoc {
  readonly doc: string;
  /** After the commit: Automerge hashes in hex. */
  readonly heads: readonly string[];
  readonly deleted?: true;
  /** This commit erased it. */
  readonly erased?: true;
  /** Hashes of changes that this commit set aside. */
  readonly refused?: readonly string[];
  /** With `changes`: the bytes of its changes, in the order they were applied. */
  readonly changes?: readonly Uint8Array[];
  /** With `json`: its value at that commit, as JSON text; not of a deleted one. */
  readonly json?: string;
  /** With `patch`: what the commit did to it, as the text of an RFC 6902 patch. */
  readonly patch?: string;
  /** Why value, patch or changes are not there. */
  readonly error?: string;
}
