import { SkaldError } from "../errors.ts";
import { CborWriter } from "../ids/cbor.ts";
import { decodeLooseCbor } from "../ids/loose-cbor.ts";
import { LIMITS } from "../limits.ts";

/**
 * The messages of the automerge-repo 2.x network protocol, version "1": each one CBOR map in one binary
 * WebSocket message. What a peer sends is read by what it means: fields that are not known are passed over,
 * and what one kind of message lacks is `BAD_CBOR`. See specs/16-sync.md.
 */
export type RepoMessage =
  | JoinMessage
  | SyncMessage
  | EphemeralMessage
  | UnavailableMessage
  | StoragesMessage
  | HeadsMessage
  | { readonly type: "leave" | "other"; readonly senderId: string };

export interface JoinMessage {
  readonly type: "join";
  readonly senderId: string;
  /** Where the peer keeps its documents; undefined for one that keeps none. */
  readonly storageId: string | undefined;
  /** Empty when the peer does not say, which means version 1. */
  readonly versions: readonly string[];
}

export interface SyncMessage {
  readonly type: "sync" | "request";
  readonly senderId: string;
  readonly documentId: string;
  /** An Automerge sync message: a view into the bytes that were read. */
  readonly data: Uint8Array;
}

export interface EphemeralMessage {
  readonly type: "ephemeral";
  readonly senderId: string;
  readonly documentId: string;
  readonly sessionId: string;
  readonly count: number;
  readonly data: Uint8Array;
}

export interface UnavailableMessage {
  readonly type: "doc-unavailable";
  readonly senderId: string;
  readonly documentId: string;
}

export interface StoragesMessage {
  readonly type: "remote-subscription-change";
  readonly senderId: string;
  readonly add: readonly string[];
  readonly remove: readonly string[];
}

export interface HeadsMessage {
  readonly type: "remote-heads-changed";
  readonly senderId: string;
  readonly documentId: string;
  readonly newHeads: readonly StorageHeads[];
}

/** The heads that a storage has of a document. */
export interface StorageHeads {
  readonly storageId: string;
  /** In base58check, as in URLs. */
  readonly heads: readonly string[];
  /** Milliseconds since 1970 by the clock of whoever said so. */
  readonly timestamp: number;
}

export const PROTOCOL_VERSION = "1";

const { levels, items, idCharacters, storages } = LIMITS.repo;

/** Reads one message. Throws BAD_CBOR. */
export function decodeRepoMessage(bytes: Uint8Array): RepoMessage {
  const map = decodeLooseCbor(bytes, { levels: levels.value, items: items.value });
  if (!isMap(map)) throw malformed("it is no map");
  const type = textOf(map, "type");
  const senderId = textOf(map, "senderId");
  switch (type) {
    case "join": {
      const metadata = isMap(map["peerMetadata"]) ? map["peerMetadata"] : {};
      const { storageId } = metadata as { storageId?: unknown };
      const versions = map["supportedProtocolVersions"];
      return {
        type,
        senderId,
        storageId: isId(storageId) ? storageId : undefined,
        versions: Array.isArray(versions) ? versions.filter(isId) : [],
      };
    }
    case "sync":
    case "request":
      return { type, senderId, documentId: textOf(map, "documentId"), data: bytesOf(map, "data") };
    case "ephemeral": {
      const { count } = map;
      if (typeof count !== "number") throw malformed("`count` is no number");
      return {
        type,
        senderId,
        documentId: textOf(map, "documentId"),
        sessionId: textOf(map, "sessionId"),
        count,
        data: bytesOf(map, "data"),
      };
    }
    case "doc-unavailable":
      return { type, senderId, documentId: textOf(map, "documentId") };
    case "remote-subscription-change":
      return { type, senderId, add: idsOf(map["add"]), remove: idsOf(map["remove"]) };
    case "remote-heads-changed": {
      const newHeads = map["newHeads"];
      if (!isMap(newHeads)) throw malformed("`newHeads` is no map");
      return {
        type,
        senderId,
        documentId: textOf(map, "documentId"),
        newHeads: Object.keys(newHeads)
          .slice(0, storages.value)
          .flatMap((id) => headsOf(id, newHeads[id])),
      };
    }
    default:
      return { type: type === "leave" ? "leave" : "other", senderId };
  }
}

function headsOf(storageId: string, value: unknown): StorageHeads[] {
  if (!isMap(value) || !isId(storageId)) return [];
  const { heads, timestamp } = value;
  if (!Array.isArray(heads) || !heads.every(isId) || typeof timestamp !== "number") return [];
  return [{ storageId, heads, timestamp }];
}

function idsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter(isId) : [];
}

function isId(value: unknown): value is string {
  return typeof value === "string" && value !== "" && value.length <= idCharacters.value;
}

function textOf(map: Record<string, unknown>, name: string): string {
  const value = map[name];
  if (!isId(value)) throw malformed(`\`${name}\` is no text of 1 to ${idCharacters.value} characters`);
  return value;
}

function bytesOf(map: Record<string, unknown>, name: string): Uint8Array {
  const value = map[name];
  if (!(value instanceof Uint8Array)) throw malformed(`\`${name}\` is no byte string`);
  return value;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
  );
}

function malformed(what: string): SkaldError {
  return new SkaldError("BAD_CBOR", `The message is none of automerge-repo's: ${what}.`);
}

/**
 * A message to a peer but for the peer: everything up to the value of its last key, `targetId`. What goes to
 * many peers is encoded once.
 */
export type Unaddressed = Uint8Array;

const writer = new CborWriter();

function begin(type: string, senderId: string, fields: number): CborWriter {
  writer.reset();
  writer.map(fields + 3);
  writer.text("type");
  writer.text(type);
  writer.text("senderId");
  writer.text(senderId);
  return writer;
}

function finish(w: CborWriter): Unaddressed {
  w.text("targetId");
  return w.take();
}

/** The bytes of a message for one peer. */
export function addressed(message: Unaddressed, targetId: string): Uint8Array {
  writer.reset();
  writer.raw(message);
  writer.text(targetId);
  return writer.take();
}

/** The answer to `join`. */
export function peerMessage(senderId: string, storageId: string): Unaddressed {
  const w = begin("peer", senderId, 2);
  w.text("peerMetadata");
  w.map(2);
  w.text("storageId");
  w.text(storageId);
  w.text("isEphemeral");
  w.bool(false);
  w.text("selectedProtocolVersion");
  w.text(PROTOCOL_VERSION);
  return finish(w);
}

export function errorMessage(senderId: string, message: string): Unaddressed {
  const w = begin("error", senderId, 1);
  w.text("message");
  w.text(message);
  return finish(w);
}

/** `data` is an Automerge sync message, never empty: clients throw on that. */
export function syncMessage(senderId: string, documentId: string, data: Uint8Array): Unaddressed {
  const w = begin("sync", senderId, 2);
  w.text("documentId");
  w.text(documentId);
  w.text("data");
  w.bytes(data);
  return finish(w);
}

export function unavailableMessage(senderId: string, documentId: string): Unaddressed {
  const w = begin("doc-unavailable", senderId, 1);
  w.text("documentId");
  w.text(documentId);
  return finish(w);
}

/** As it came, with its first sender. */
export function ephemeralMessage(message: EphemeralMessage): Unaddressed {
  const w = begin("ephemeral", message.senderId, 4);
  w.text("documentId");
  w.text(message.documentId);
  w.text("sessionId");
  w.text(message.sessionId);
  w.text("count");
  if (Number.isInteger(message.count) && message.count >= 0 && message.count < 2 ** 32) w.uint(message.count);
  else w.float(message.count);
  w.text("data");
  w.bytes(message.data);
  return finish(w);
}

export function headsMessage(
  senderId: string,
  documentId: string,
  { storageId, heads, timestamp }: StorageHeads,
): Unaddressed {
  const w = begin("remote-heads-changed", senderId, 2);
  w.text("documentId");
  w.text(documentId);
  w.text("newHeads");
  w.map(1);
  w.text(storageId);
  w.map(2);
  w.text("heads");
  w.array(heads.length);
  for (const head of heads) w.text(head);
  w.text("timestamp");
  // As an integer it would reach clients as a BigInt.
  w.float(timestamp);
  return finish(w);
}

/**
 * Ours: what became of a document whose change was refused. Stock clients pass over kinds of message that
 * they do not know.
 */
export function refusedMessage(
  senderId: string,
  documentId: string,
  { code, message, hint }: Pick<SkaldError, "code" | "message" | "hint">,
): Unaddressed {
  const w = begin("skald-refused", senderId, 4);
  w.text("documentId");
  w.text(documentId);
  w.text("code");
  w.text(code);
  w.text("detail");
  w.text(message);
  w.text("hint");
  w.text(hint);
  return finish(w);
}
