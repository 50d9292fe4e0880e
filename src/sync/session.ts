import { isSkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { EphemeralCounts } from "./ephemeral-counts.ts";
import type { SyncHub } from "./hub.ts";
import { PeerDocument, type DocumentPeer } from "./peer-document.ts";
import type { PeerLine, PeerRights } from "./peer.ts";
import {
  PROTOCOL_VERSION,
  addressed,
  decodeRepoMessage,
  ephemeralMessage,
  errorMessage,
  peerMessage,
  type EphemeralMessage,
  type HeadsMessage,
  type JoinMessage,
  type RepoMessage,
  type StoragesMessage,
  type Unaddressed,
} from "./repo-message.ts";

const { storages, documents, ephemeralBytes, queued, queuedBytes, unreadBytes } = LIMITS.repo;

/**
 * One automerge-repo peer on one socket, from `join` to the end.
 *
 * Invariants: nothing is taken before `join`, and then only what its own peer id has sent: clients pass others'
 * ephemeral messages on under the first sender's id, and those came here already; a peer that does not wait for
 * its messages to be worked off is not read from; one that does not read gets nothing made for it.
 */
export class SyncSession implements DocumentPeer {
  readonly rights: PeerRights;
  readonly #hub: SyncHub;
  readonly #line: PeerLine;
  readonly #documents = new Map<string, PeerDocument>();
  readonly #follows = new Set<string>();
  readonly #counts = new EphemeralCounts();
  #join: JoinMessage | undefined;
  #joinedAt = 0;
  readonly #running = new Set<Promise<void>>();
  #queued = 0;
  #queuedBytes = 0;
  /** Documents with news that the peer has no room for. */
  readonly #waiting = new Set<PeerDocument>();
  #ended = false;

  constructor(hub: SyncHub, line: PeerLine, rights: PeerRights) {
    this.#hub = hub;
    this.#line = line;
    this.rights = rights;
  }

  get peerId(): string {
    return this.#join?.senderId ?? "";
  }

  get joinedAt(): number {
    return this.#joinedAt;
  }

  get documentCount(): number {
    return this.#documents.size;
  }

  get joined(): boolean {
    return this.#join !== undefined;
  }

  /** Where the peer keeps its documents; never this server's own, which it may claim. */
  get storageId(): string | undefined {
    const id = this.#join?.storageId;
    return id === this.#hub.storageId ? undefined : id;
  }

  /** One message of the peer, in the order they came. The bytes stay as they are. */
  receive(bytes: Uint8Array): void {
    if (this.#ended) return;
    if (!this.rights.alive()) return this.end(1008, "UNAUTHENTICATED");
    let message: RepoMessage;
    try {
      message = decodeRepoMessage(bytes);
    } catch (error) {
      if (!isSkaldError(error)) throw error;
      return this.end(1007, `${error.code}: ${error.message}`.slice(0, 120));
    }
    if (message.type === "join") return this.#joins(message);
    if (message.senderId !== this.peerId) return;
    switch (message.type) {
      case "request":
      case "sync":
        return this.#sync(message.documentId, message.data, message.type === "request", bytes.length);
      case "ephemeral":
        return this.#ephemeral(message);
      case "remote-subscription-change":
        return this.#subscribe(message);
      case "remote-heads-changed":
        return this.#heard(message);
      case "leave":
        return this.end(1000, "left");
      // What a client lacks it is sent anyhow, and of kinds that are not known there may be more one day.
      case "doc-unavailable":
      case "other":
    }
  }

  /** The peer has taken something of what it was sent. */
  drained(): void {
    if (this.#waiting.size === 0 || !this.hasRoom()) return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const document of waiting) document.drained();
  }

  /** Takes and sends nothing more. */
  end(code: number, reason: string): void {
    if (this.#ended) return;
    this.closed();
    this.#line.close(code, reason);
  }

  /** The socket is gone. What is being written is still written. */
  closed(): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const document of this.#documents.values()) document.close();
    this.#documents.clear();
    if (this.#join) this.#hub.leave(this);
  }

  follows(storageId: string): boolean {
    return this.#follows.has(storageId);
  }

  replaced(): void {
    this.end(1000, "joined again");
  }

  failed(error: unknown): void {
    if (this.#ended) return;
    this.#hub.events.failed(error);
    // The client comes again, and by then there may be room on the disk, or another life of the db.
    const full = isSkaldError(error) && error.code === "STORAGE_FULL";
    this.end(full ? 1013 : 1011, isSkaldError(error) ? error.code : "INTERNAL");
  }

  hasRoom(): boolean {
    return this.#line.unread() < unreadBytes.value;
  }

  waits(document: PeerDocument): void {
    this.#waiting.add(document);
  }

  /** Resolves when nothing that the peer sent is being written any more. */
  async settled(): Promise<void> {
    await Promise.all(this.#running);
  }

  works(work: Promise<void>): void {
    this.#running.add(work);
    void work.finally(() => this.#running.delete(work));
  }

  send(message: Unaddressed): void {
    if (!this.#ended) this.#line.send(addressed(message, this.peerId));
  }

  done(bytes: number): void {
    this.#queued -= 1;
    this.#queuedBytes -= bytes;
    if (this.#queued < queued.value / 2 && this.#queuedBytes < queuedBytes.value / 2) this.#line.resume();
  }

  #joins(message: JoinMessage): void {
    if (this.#join) return;
    const { versions } = message;
    this.#join = message;
    if (versions.length > 0 && !versions.includes(PROTOCOL_VERSION)) {
      this.send(
        errorMessage(this.#hub.peerId, `This server speaks version ${PROTOCOL_VERSION} of the protocol.`),
      );
      this.#join = undefined;
      return this.end(1002, "unsupported protocol version");
    }
    this.#joinedAt = this.#hub.db.log.world.now();
    this.#hub.join(this);
    this.send(peerMessage(this.#hub.peerId, this.#hub.storageId));
  }

  #sync(documentId: string, data: Uint8Array, isRequest: boolean, bytes: number): void {
    let document = this.#documents.get(documentId);
    if (!document) {
      if (this.#documents.size >= documents.value) return;
      try {
        document = new PeerDocument(this, this.#hub, documentId);
      } catch (error) {
        // No id of a document: no client of automerge-repo sends such a thing.
        if (isSkaldError(error) && error.code === "NAME_INVALID") return this.end(1007, error.code);
        return this.failed(error);
      }
      this.#documents.set(documentId, document);
    }
    this.#queued += 1;
    this.#queuedBytes += bytes;
    if (this.#queued >= queued.value || this.#queuedBytes >= queuedBytes.value) this.#line.pause();
    document.take(data, isRequest, bytes);
  }

  #ephemeral(message: EphemeralMessage): void {
    const document = this.#documents.get(message.documentId);
    if (!document?.isOpen || message.data.length > ephemeralBytes.value) return;
    if (!this.#counts.isNew(message.sessionId, message.count)) return;
    this.#hub.spread(document.document, ephemeralMessage(message), this);
  }

  #subscribe({ add, remove }: StoragesMessage): void {
    for (const id of remove) this.#follows.delete(id);
    for (const id of add) {
      if (this.#follows.has(id)) continue;
      if (this.#follows.size >= storages.value) return;
      this.#follows.add(id);
      for (const document of this.#documents.values()) document.tellHeads(id);
    }
  }

  /** What the peer says others have. Of this server's own storage only this server speaks. */
  #heard({ documentId, newHeads }: HeadsMessage): void {
    const document = this.#documents.get(documentId);
    if (!document?.isOpen) return;
    for (const heads of newHeads) document.hear(heads);
  }
}
