import {
  bytesOfBase58Check,
  digestOfText,
  portableBase58Check,
  portableDocumentId,
} from "../ids/portable-ids.ts";
import { SkaldError } from "./error.ts";

const SCHEME = "automerge:";

/** How a document is named to the client: `collection/key`, or the URL an Automerge client knows it by. */
export type DocName =
  | { readonly collection: string; readonly key: string; readonly documentId?: undefined }
  | { readonly documentId: string };

/** Throws NAME_INVALID. What a collection and a key may hold is the server's to say. */
export function parseName(doc: string): DocName {
  if (doc.startsWith(SCHEME)) {
    // Behind `#` are heads: a live document has the newest.
    const documentId = doc.slice(SCHEME.length).split("#")[0] as string;
    if (bytesOfBase58Check(documentId)?.length !== 16)
      throw invalid(`"${doc.slice(0, 80)}" is not an automerge: URL.`);
    return { documentId };
  }
  const slash = doc.indexOf("/");
  if (slash < 1 || slash === doc.length - 1) throw invalid("A document is named collection/key.");
  return { collection: doc.slice(0, slash), key: doc.slice(slash + 1) };
}

/** The documentId of a name in the db with this uid (32 hex digits), as automerge-repo writes it. */
export function documentIdIn(uid: string, name: DocName): string {
  if (name.documentId !== undefined) return name.documentId;
  const bytes = Uint8Array.from(uid.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  return portableBase58Check(portableDocumentId(bytes, name.collection, name.key));
}

/** An actor that everyone works out alike from the same first content: see `initial` of live documents. */
export function initialActor(content: string): string {
  return hex(digestOfText(`skald/initial-actor/1\0${content}`));
}

/** Change hashes as gossip writes them (base58check), in hex. What is none is left out. */
export function hashesOf(heads: readonly unknown[]): string[] {
  return heads.flatMap((head) => {
    const bytes = typeof head === "string" ? bytesOfBase58Check(head) : undefined;
    return bytes?.length === 32 ? [hex(bytes)] : [];
  });
}

/** A documentId that no document has. */
export function unusedDocumentId(random: Uint8Array): string {
  return portableBase58Check(random);
}

export function automergeUrl(documentId: string): string {
  return `${SCHEME}${documentId}`;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function invalid(message: string): SkaldError {
  return new SkaldError("NAME_INVALID", message, { status: 400, hint: "See specs/01-ids.md." });
}
