import { automergeIdText, drawnName, parseAutomergeId } from "../log/automerge-ids.ts";
import { MAIN } from "../log/branches.ts";
import type { Db } from "../db/db.ts";
import { toBase58Check } from "../ids/document-id.ts";
import { fromHex } from "../ids/hash.ts";
import type { ChangeHeader } from "../log/change.ts";
import { headsOf } from "../log/doc-state.ts";
import type { Receipt } from "../log/log.ts";
import { LIMITS } from "../limits.ts";
import { historiesOf, type Histories } from "./histories.ts";
import type { PeerRights, SyncEvents } from "./peer.ts";
import { headsMessage, type StorageHeads, type Unaddressed } from "./repo-message.ts";
import { storageIdOf } from "./storage-id.ts";

/**
 * All sync peers of one db.
 *
 * Invariants: what peers hear of a document is what the log has of it, so only what is durable; a document is
 * here for as long as a peer has it open or asks for it, and no longer; a commit costs the peers that have its
 * documents open, and nobody else.
 */
export class SyncHub {
  readonly db: Db;
  readonly events: SyncEvents;
  /** Ids under which peers know this server: one peer, one storage. */
  readonly peerId: string;
  readonly storageId: string;
  readonly histories: Histories;
  readonly #peers = new Map<string, HubPeer>();
  readonly #documents = new Map<string, HubDocument>();
  readonly #byName = new Map<string, HubDocument>();
  /** Documents of a seq that a peer's own message made, so that the log need not be read for it. */
  readonly #own = new Map<number, string>();
  #followed: number;
  #following = false;
  #stop: (() => void) | undefined;

  constructor(db: Db, events: SyncEvents) {
    this.db = db;
    this.events = events;
    this.storageId = storageIdOf(db.log.identity.actor);
    this.peerId = `skald-${this.storageId}`;
    this.histories = historiesOf(db);
    this.#followed = db.log.head().seq;
  }

  stats(): { peers: number; documents: number } {
    return { peers: this.#peers.size, documents: this.#documents.size };
  }

  /** Peers that are here, in the order they came. */
  peers(): readonly HubPeer[] {
    return [...this.#peers.values()];
  }

  /** Documents that peers have open or ask for. */
  documents(): readonly HubDocument[] {
    return [...this.#documents.values()];
  }

  /** Takes a peer in; one that the same principal joined under the same id before is told to go. */
  join(peer: HubPeer): void {
    const key = keyOf(peer);
    const before = this.#peers.get(key);
    this.#peers.set(key, peer);
    before?.replaced();
    if (this.#stop) return;
    this.#followed = this.db.log.head().seq;
    this.#stop = this.db.log.onCommit(() => this.#wake());
  }

  leave(peer: HubPeer): void {
    const key = keyOf(peer);
    if (this.#peers.get(key) !== peer) return;
    this.#peers.delete(key);
    if (this.#peers.size > 0) return;
    this.#stop?.();
    this.#stop = undefined;
    this.#own.clear();
  }

  /** The document with this id, for a peer that has it open or asks for it from now on. Throws NAME_INVALID. */
  hold(documentId: string, holder: HubHolder): HubDocument {
    let document = this.#documents.get(documentId);
    if (!document) {
      const name = this.db.log.named(parseAutomergeId(documentId));
      document = new HubDocument(documentId, name);
      this.#documents.set(documentId, document);
      if (name !== undefined) this.#byName.set(name, document);
    }
    document.holders.add(holder);
    return document;
  }

  release(document: HubDocument, holder: HubHolder): void {
    document.holders.delete(holder);
    if (document.holders.size > 0) return;
    this.#documents.delete(document.id);
    if (document.name !== undefined) this.#byName.delete(document.name);
    this.histories.forget(document.name ?? drawnName(document.id));
  }

  /** Notes a commit that a peer's message made, before anybody is told of it. */
  wrote({ seq, duplicate, heads }: Receipt, doc: string, changes: readonly ChangeHeader[]): void {
    if (duplicate) return;
    this.histories.took(doc, seq, changes, heads[doc] ?? []);
    if (seq === this.#followed + 1) {
      // The next turn may be half a millisecond away.
      this.#followed = seq;
      const document = this.#byName.get(doc) ?? this.#made(doc, seq);
      if (document) this.#moved(document, false);
    } else if (seq > this.#followed) this.#own.set(seq, doc);
  }

  #moved(document: HubDocument, refused: boolean): void {
    const { name } = document;
    if (name !== undefined && this.db.log.erasedAt(name) !== undefined) this.histories.forget(name);
    for (const holder of document.holders) holder.touched(refused);
    const heads = this.isFollowed(document, this.storageId) ? this.ownHeads(document) : undefined;
    if (heads) this.tell(document, heads, undefined);
  }

  /** Gives a message to the peers that have the document open, but for the one it came from. */
  spread(document: HubDocument, message: Unaddressed, from: HubPeer): void {
    for (const holder of document.holders) if (holder.peer !== from) holder.pass(message);
  }

  /** Whether a peer that has the document open follows the storage. */
  isFollowed(document: HubDocument, storageId: string): boolean {
    for (const { peer } of document.holders) if (peer.follows(storageId)) return true;
    return false;
  }

  /** Tells peers that follow the storage which heads it has of a document, if that is news. */
  tell(document: HubDocument, heads: StorageHeads, from: HubPeer | undefined): void {
    const { storageId } = heads;
    if (from && storageId === this.storageId) return;
    const known = document.storages.get(storageId);
    if (known && known.timestamp >= heads.timestamp) return;
    if (!known && document.storages.size >= storages.value) return;
    document.storages.set(storageId, heads);
    let message: Unaddressed | undefined;
    for (const holder of document.holders) {
      if (holder.peer === from || !holder.peer.follows(storageId)) continue;
      holder.pass((message ??= headsMessage(this.peerId, document.id, heads)));
    }
  }

  /** The heads that this server has of a document, as the log has them: durable. */
  ownHeads(document: HubDocument): StorageHeads | undefined {
    const state = document.name === undefined ? undefined : this.db.log.state(document.name);
    if (!state || state.erased !== undefined) return undefined;
    const heads = headsOf(state).map((head) => toBase58Check(fromHex(head)));
    return { storageId: this.storageId, heads, timestamp: this.db.log.world.now() };
  }

  #wake(): void {
    if (this.#following) return;
    this.#following = true;
    this.db.log.world.soon(() => {
      this.#following = false;
      try {
        this.#follow();
      } catch (error) {
        this.events.failed(error);
        for (const peer of this.#peers.values()) peer.failed(error);
      }
    });
  }

  #follow(): void {
    const { log } = this.db;
    const head = log.head().seq;
    const touched = new Map<HubDocument, boolean>();
    const note = (doc: string, seq: number, refused: boolean): void => {
      const document = this.#byName.get(doc) ?? this.#made(doc, seq);
      if (document) touched.set(document, refused || touched.get(document) === true);
    };
    for (let pages = 0; this.#followed < head && this.#stop;) {
      const seq = this.#followed + 1;
      const own = this.#own.get(seq);
      if (own !== undefined) {
        this.#own.delete(seq);
        this.#followed = seq;
        note(own, seq, false);
        continue;
      }
      // Others have their turn between two pages; the log does not forget.
      if ((pages += 1) > 1) {
        this.#wake();
        break;
      }
      for (const { commit } of log.commits(seq, PAGE)) {
        // Peers follow the documents of `main`.
        if (commit.branch === MAIN)
          for (const entry of commit.entries) note(entry.doc, commit.seq, entry.refused !== undefined);
        this.#own.delete(commit.seq);
        this.#followed = commit.seq;
      }
    }
    for (const [document, refused] of touched) this.#moved(document, refused);
  }

  /** A document that peers ask for by its id, when this commit made it. */
  #made(doc: string, seq: number): HubDocument | undefined {
    if (this.#documents.size === this.#byName.size || this.db.log.state(doc)?.first !== seq) return undefined;
    const document = this.#documents.get(automergeIdText(this.db.log.identity.uid, doc));
    if (!document || document.name !== undefined) return undefined;
    document.name = doc;
    this.#byName.set(doc, document);
    return document;
  }
}

const { storages } = LIMITS.repo;
/** Commits read in one turn. */
const PAGE = 256;

function keyOf({ rights, peerId }: HubPeer): string {
  // Principals are ids of tokens and hold no space.
  return `${rights.principal} ${peerId}`;
}

/** A peer as the hub sees it. */
export interface HubPeer {
  readonly peerId: string;
  readonly rights: PeerRights;
  /** Where it keeps its documents; undefined when it keeps none. */
  readonly storageId: string | undefined;
  /** When it joined, in milliseconds since 1970. */
  readonly joinedAt: number;
  /** How many documents it has open or asks for. */
  readonly documentCount: number;
  follows(storageId: string): boolean;
  /** Another socket has taken its place. */
  replaced(): void;
  /** What the hub lives on failed. */
  failed(error: unknown): void;
}

/** A document as one peer has it. */
export interface HubHolder {
  readonly peer: HubPeer;
  /** The document moved on. `refused`: changes of it were set aside. */
  touched(refused: boolean): void;
  /** A message of others about the document, if the peer has it open and there is room. */
  pass(message: Unaddressed): void;
}

/** A document that at least one peer has open or asks for. */
export class HubDocument {
  readonly id: string;
  /** Undefined until there is a document with this id. */
  name: string | undefined;
  readonly holders = new Set<HubHolder>();
  /** What peers said of the heads that storages have; newest first told, and only while the document is held. */
  readonly storages = new Map<string, StorageHeads>();

  constructor(id: string, name: string | undefined) {
    this.id = id;
    this.name = name;
  }
}

/** One hub for each open db, made when its first peer comes. */
export class SyncHubs {
  readonly #events: SyncEvents;
  readonly #hubs = new Map<Db, SyncHub>();

  constructor(events: SyncEvents) {
    this.#events = events;
  }

  of(db: Db): SyncHub {
    let hub = this.#hubs.get(db);
    if (!hub) {
      for (const [known, idle] of this.#hubs) if (idle.stats().peers === 0) this.#hubs.delete(known);
      hub = new SyncHub(db, this.#events);
      this.#hubs.set(db, hub);
    }
    return hub;
  }

  stats(): { peers: number; documents: number } {
    const sum = { peers: 0, documents: 0 };
    for (const hub of this.#hubs.values()) {
      const { peers, documents } = hub.stats();
      sum.peers += peers;
      sum.documents += documents;
    }
    return sum;
  }
}
