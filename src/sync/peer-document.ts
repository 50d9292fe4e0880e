import { SkaldError, isSkaldError } from "../errors.ts";
import { toBase58Check } from "../ids/document-id.ts";
import { fromHex } from "../ids/hash.ts";
import type { ChangeHeader } from "../log/change.ts";
import { LIMITS } from "../limits.ts";
import { drawnName } from "../log/automerge-ids.ts";
import { erasedError } from "../log/erased.ts";
import { DocumentSync } from "./document-sync.ts";
import type { HubDocument, HubHolder, HubPeer, SyncHub } from "./hub.ts";
import {
  headsMessage,
  refusedMessage,
  syncMessage,
  unavailableMessage,
  type StorageHeads,
  type Unaddressed,
} from "./repo-message.ts";
import { decodeSyncMessage, type SyncMessage } from "./sync-message.ts";

const { changes: most } = LIMITS.tx;

/** What a document needs of the peer that has it. */
export interface DocumentPeer extends HubPeer {
  /** Whether the peer has taken enough to be sent more. */
  hasRoom(): boolean;
  send(message: Unaddressed): void;
  /** There is news of the document, and no room: tell it when there is. */
  waits(document: PeerDocument): void;
  /** Work is under way that the peer's end must wait for. */
  works(work: Promise<void>): void;
  /** A message was worked off. */
  done(bytes: number): void;
}

/**
 * `new` until the peer's first message was looked at; `wanted` when there is nothing to sync yet: it is missing or
 * the peer may not read it, which looks the same; `refused` after a change of the peer was: nothing of it is
 * synced on this socket any more.
 */
type Phase = "new" | "wanted" | "open" | "refused";

/**
 * One document with one peer: its messages one after the other, each with its commit, and what the peer is sent.
 *
 * Invariants: one thing at a time, so the state of the sync is never moved by two; it moves on past a message only
 * when what came with it is durable; what is to be sent is made when the peer has room, of the document as it is
 * then, so a slow peer costs no memory.
 */
export class PeerDocument implements HubHolder {
  readonly peer: DocumentPeer;
  readonly #hub: SyncHub;
  readonly #document: HubDocument;
  readonly #queue: Incoming[] = [];
  #phase: Phase = "new";
  #sync: DocumentSync | undefined;
  /** The document may have news for the peer. */
  #stale = false;
  #running = false;
  #closed = false;

  constructor(peer: DocumentPeer, hub: SyncHub, documentId: string) {
    this.peer = peer;
    this.#hub = hub;
    this.#document = hub.hold(documentId, this);
  }

  get document(): HubDocument {
    return this.#document;
  }

  get isOpen(): boolean {
    return this.#phase === "open";
  }

  /** A `request` or `sync` of the peer; `data` is a view that stays as it is. */
  take(data: Uint8Array, isRequest: boolean, bytes: number): void {
    const incoming: Incoming = { data, isRequest, bytes };
    const idle = !this.#running && this.#queue.length === 0;
    if (
      idle &&
      this.#phase === "open" &&
      this.#sync &&
      !this.#isErased() &&
      this.#hearNow(this.#sync, incoming)
    )
      this.peer.done(bytes);
    else this.#queue.push(incoming);
    this.#work();
  }

  /** Most messages say that what was sent is there: that waits for nothing. What is anything else waits its turn. */
  #hearNow(sync: DocumentSync, incoming: Incoming): boolean {
    try {
      incoming.message = decodeSyncMessage(incoming.data);
      if (incoming.message.parts.length > 0) return false;
      sync.hear(incoming.message);
    } catch {
      return false;
    }
    this.#tellPeersHeads(sync);
    this.#stale = true;
    return true;
  }

  touched(refused: boolean): void {
    if (refused && this.#phase === "open") this.#setAside = true;
    this.#stale = true;
    this.#work();
  }

  #setAside = false;

  pass(message: Unaddressed): void {
    if (this.#phase === "open" && this.peer.hasRoom()) this.peer.send(message);
  }

  /** The peer has room again. */
  drained(): void {
    if (this.#stale) this.#work();
  }

  close(): void {
    this.#closed = true;
    for (const { bytes } of this.#queue.splice(0)) this.peer.done(bytes);
    this.#hub.release(this.#document, this);
  }

  #work(): void {
    if (this.#running || !this.#hasWork() || this.#catchUpNow()) return;
    this.#running = true;
    this.peer.works(
      this.#run()
        .catch((error: unknown) => this.peer.failed(error))
        .finally(() => {
          this.#running = false;
          this.#work();
        }),
    );
  }

  #hasWork(): boolean {
    if (this.#closed) return false;
    if (this.#queue.length > 0) return true;
    if (!this.#stale) return false;
    if (this.peer.hasRoom()) return true;
    this.peer.waits(this);
    return false;
  }

  async #run(): Promise<void> {
    while (this.#hasWork()) {
      const next = this.#queue.shift();
      try {
        if (next) await this.#receive(next);
        else await this.#catchUp();
      } finally {
        if (next) this.peer.done(next.bytes);
      }
    }
  }

  /** The document's name, or the one it gets when the peer makes it. */
  get #name(): string {
    return this.#document.name ?? drawnName(this.#document.id);
  }

  async #receive({ data, isRequest, message }: Incoming): Promise<void> {
    if (this.#phase === "refused") return;
    const doc = this.#name;
    if (this.#isErased()) return this.#refuseErased(doc, isRequest);
    let sync: DocumentSync;
    try {
      if (this.#phase !== "open" && !this.#mayOpen(doc, data, isRequest)) {
        this.#phase = "wanted";
        this.peer.send(unavailableMessage(this.#hub.peerId, this.#document.id));
        return;
      }
      sync = this.#opened(doc);
      const { changes } = await sync.receive(message ?? data, this.#hub.histories.of(doc));
      if (changes.length > 0) await this.#write(doc, changes);
    } catch (error) {
      if (!isSkaldError(error) || error.status >= 500) throw error;
      return this.#refuse(doc, error);
    }
    this.#tellPeersHeads(sync);
    this.#stale = true;
  }

  #isErased(): boolean {
    const { name } = this.#document;
    return name !== undefined && this.#hub.db.log.erasedAt(name) !== undefined;
  }

  /** Whoever only asks for a document that was erased hears that there is none; whoever brings it, why it is not taken. */
  #refuseErased(doc: string, isRequest: boolean): void {
    if (isRequest || !this.peer.rights.mayRead(doc)) {
      this.#phase = "refused";
      this.#sync = undefined;
      this.#stale = false;
      this.peer.send(unavailableMessage(this.#hub.peerId, this.#document.id));
    } else this.#refuse(doc, erasedError(doc, this.#hub.db.log.erasedAt(doc)));
  }

  /**
   * Whether there is something to sync: a document that is there and that the peer may read, or one that the peer
   * has and may make, or bring back.
   */
  #mayOpen(doc: string, data: Uint8Array, isRequest: boolean): boolean {
    const { rights } = this.peer;
    if (!rights.mayRead(doc)) return false;
    const state = this.#document.name === undefined ? undefined : this.#hub.db.log.state(doc);
    if (state && !state.deleted) return true;
    return !isRequest && rights.mayWrite(doc) && decodeSyncMessage(data).heads.length > 0;
  }

  #opened(doc: string): DocumentSync {
    this.#phase = "open";
    return (this.#sync ??= new DocumentSync({ readOnly: !this.peer.rights.mayWrite(doc) }));
  }

  /** One commit, or several where there is more than one may hold. */
  async #write(doc: string, changes: readonly ChangeHeader[]): Promise<void> {
    const { db } = this.#hub;
    const { author } = this.peer.rights;
    for (let at = 0; at < changes.length; at += most.value) {
      const part = at === 0 && changes.length <= most.value ? changes : changes.slice(at, at + most.value);
      const receipt = await db.tx({ author, writes: [{ doc, changes: part }] });
      this.#hub.wrote(receipt, doc, part);
    }
  }

  /** The same as `#catchUp`, where nothing must be waited for; else false, and nothing was done. */
  #catchUpNow(): boolean {
    if (this.#queue.length > 0 || this.#phase !== "open" || !this.#sync || this.#setAside) return false;
    if (this.#isErased()) return false;
    try {
      const data = this.#sync.generateNow(this.#hub.histories.of(this.#name));
      if (data === "later") return false;
      this.#stale = false;
      if (data) this.peer.send(syncMessage(this.#hub.peerId, this.#document.id, data));
    } catch (error) {
      this.peer.failed(error);
    }
    return true;
  }

  /** Makes what the peer is to know of the document as it is now. */
  async #catchUp(): Promise<void> {
    this.#stale = false;
    const doc = this.#name;
    if (this.#phase !== "refused" && this.#isErased()) return this.#refuseErased(doc, this.#phase !== "open");
    if (this.#setAside) {
      const error = new SkaldError(
        "CHANGE_REFUSED",
        `Changes of ${doc} were set aside: Automerge does not take them.`,
      );
      return this.#refuse(doc, error);
    }
    if (this.#phase === "wanted") {
      const state = this.#hub.db.log.state(doc);
      if (!state || state.deleted || !this.peer.rights.mayRead(doc)) return;
      this.#opened(doc);
    }
    if (this.#phase !== "open" || !this.#sync) return;
    const data = await this.#sync.generate(this.#hub.histories.of(doc));
    // It may have been erased while the message was made.
    if (this.#isErased()) return this.#refuseErased(doc, false);
    if (data && !this.#closed) this.peer.send(syncMessage(this.#hub.peerId, this.#document.id, data));
  }

  /** From now on nothing of the document is taken from the peer or sent to it. Others go on. */
  #refuse(doc: string, error: SkaldError): void {
    this.#phase = "refused";
    this.#sync = undefined;
    this.#stale = false;
    const { peerId, events, db } = this.#hub;
    events.refused(error, { db: db.id, doc, author: this.peer.rights.author });
    this.peer.send(refusedMessage(peerId, this.#document.id, error));
    // Clients that have the document make nothing of this; one that lacks it learns that it gets none here.
    this.peer.send(unavailableMessage(peerId, this.#document.id));
  }

  /** Tells the peer which heads a storage has that it follows from now on. */
  tellHeads(storageId: string): void {
    const heads =
      storageId === this.#hub.storageId
        ? this.#hub.ownHeads(this.#document)
        : this.#document.storages.get(storageId);
    if (heads) this.pass(headsMessage(this.#hub.peerId, this.#document.id, heads));
  }

  /** What the peer says that others have. */
  hear(heads: StorageHeads): void {
    this.#hub.tell(this.#document, heads, this.peer);
  }

  /** What the peer itself has, for those who follow where it keeps its documents. */
  #tellPeersHeads(sync: DocumentSync): void {
    const { storageId } = this.peer;
    if (storageId === undefined || !this.#hub.isFollowed(this.#document, storageId)) return;
    const heads = sync.theirHeads?.map((head) => toBase58Check(fromHex(head)));
    if (heads) this.hear({ storageId, heads, timestamp: this.#hub.db.log.world.now() });
  }
}

interface Incoming {
  readonly data: Uint8Array;
  /** What the data says, when it was looked at already. */
  message?: SyncMessage;
  readonly isRequest: boolean;
  /** Of the frame it came in. */
  readonly bytes: number;
}
