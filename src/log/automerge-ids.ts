import { SkaldError } from "../errors.ts";
import { fromBase58Check, toBase58Check } from "../ids/document-id.ts";
import { toHex } from "../ids/hash.ts";
import { parseDocName } from "../ids/names.ts";
import { documentIdOf } from "./genesis.ts";

/**
 * Which Automerge id a document has, and under which name one lands that comes with an id alone.
 *
 * A named document's id is worked out from the db's uid and the name. What an Automerge client makes has an id
 * that the client drew: it lands in the collection `automerge` with that id, in base58check, as its key, and
 * keeps it.
 */
const DRAWN = "automerge";
const DRAWN_PREFIX = `${DRAWN}/`;
const ID_LENGTH = 16;

/** The name of a document that is known by its id alone. */
export function drawnName(documentId: string): string {
  return DRAWN_PREFIX + documentId;
}

/** The 16 bytes of a document's Automerge id. Throws NAME_INVALID. */
export function automergeIdOf(uid: Uint8Array, doc: string): Uint8Array {
  if (doc.startsWith(DRAWN_PREFIX)) {
    const own = drawnId(doc.slice(DRAWN_PREFIX.length));
    if (own) return own;
  }
  const { collection, key } = parseDocName(doc);
  return documentIdOf(uid, collection, key);
}

/** The id as URLs and messages write it. */
export function automergeIdText(uid: Uint8Array, doc: string): string {
  return toBase58Check(automergeIdOf(uid, doc));
}

export function automergeUrl(uid: Uint8Array, doc: string): string {
  return `automerge:${automergeIdText(uid, doc)}`;
}

/** Reads a document id as Automerge writes it. Throws NAME_INVALID. */
export function parseAutomergeId(text: string): Uint8Array {
  const bytes = fromBase58Check(text);
  if (bytes.length === ID_LENGTH) return bytes;
  throw new SkaldError(
    "NAME_INVALID",
    `An Automerge document id is ${ID_LENGTH} bytes, not ${bytes.length}.`,
  );
}

/** The first 52 bits of an id, as the catalog keeps it. */
export function idPrefix(id: Uint8Array): number {
  return Number.parseInt(toHex(id.subarray(0, 7)).slice(0, 13), 16);
}

function drawnId(key: string): Uint8Array | undefined {
  // 20 bytes in base58 have 20 (all zeros) to 28 letters.
  if (key.length < 20 || key.length > 28) return undefined;
  try {
    return parseAutomergeId(key);
  } catch {
    return undefined;
  }
}
