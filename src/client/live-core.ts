import * as A from "@automerge/automerge/slim";
import { automergeUrl, initialActor, type DocName } from "./document-name.ts";
import type { LiveStore } from "./live-store.ts";

/**
 * How a live document stands. `connecting`: the server has not said anything of it yet. `live`: it follows the
 * server, and some changes made here are not known to be durable there. `saved`: all of them are. `offline`:
 * the server is not reached; changes are kept.
 */
export type Status = "connecting" | "live" | "saved" | "offline";

/** What came to others' ears and was never kept, as its sender gave it. */
export interface Ephemeral {
  readonly from: string;
  readonly value: unknown;
}

export interface Surroundings {
  /** There is something to say to the server about this document. */
  readonly dirty: (core: LiveCore) => void;
  /** Whether the connection has a server, has none at the moment, or is on its way to one. */
  readonly connection: () => "open" | "offline" | "connecting";
  /** Called whenever what can be seen of it may have changed. */
  readonly changed: (core: LiveCore) => void;
}

type Doc = A.Doc<Record<string, unknown>>;

/**
 * One live document of a client, however often it is opened: the local copy, what the server is known to have,
 * and the state of the sync between the two.
 */
export class LiveCore {
  readonly name: DocName;
  readonly doc: string;
  readonly listeners = new Set<() => void>();
  readonly hearers = new Set<(message: Ephemeral) => void>();
  /** Handles that are open. */
  holders = 0;
  documentId: string | undefined;
  /**
   * Whether the server has a document of this name. Changes of one that it does not have must not come to it by
   * sync, which knows documents by ids alone and would make one without a name: the first go over HTTP.
   */
  existence: "unknown" | "there" | "absent" = "unknown";
  /** Its first changes are on their way over HTTP. */
  making = false;
  /** The server has told all that it had. */
  answered = false;
  readonly #around: Surroundings;
  readonly #store: LiveStore | undefined;
  readonly #initial: Readonly<Record<string, unknown>> | undefined;
  #copy: Doc | undefined;
  #value: Doc | undefined;
  /** Changes made here, for as long as nothing better is known. */
  #made = 0;
  /** Asked on this connection whether the server has it. */
  #asked = false;
  #heads: readonly string[] = [];
  #state: A.SyncState | undefined;
  #durable: readonly string[] | undefined;
  #unsaved = 0;
  /** Heads up to which the storage has it. */
  #stored: readonly string[] = [];
  #waiting: (() => void)[] = [];
  #failure: Error | undefined;
  #unavailable = false;

  constructor(
    doc: string,
    name: DocName,
    around: Surroundings,
    store: LiveStore | undefined,
    initial: Readonly<Record<string, unknown>> | undefined,
  ) {
    this.doc = doc;
    this.name = name;
    this.documentId = name.documentId;
    if (name.documentId !== undefined) this.existence = "there";
    this.#around = around;
    this.#store = store;
    this.#initial = initial;
  }

  /** Reads what the storage has. Automerge must be ready. */
  async load(): Promise<void> {
    const parts = (await this.#store?.load()) ?? [];
    let copy: Doc = A.init();
    for (const part of parts) copy = A.loadIncremental(copy, part);
    this.#stored = A.getHeads(copy);
    this.#take(copy);
    this.#around.changed(this);
  }

  get loaded(): boolean {
    return this.#copy !== undefined;
  }

  /** Undefined while nothing is known of it, and for a document that is not there. */
  get value(): Doc | undefined {
    return this.#heads.length === 0 ? undefined : this.#value;
  }

  get heads(): readonly string[] {
    return this.#heads;
  }

  get url(): string | undefined {
    return this.documentId === undefined ? undefined : automergeUrl(this.documentId);
  }

  /** Whether every change here is known to be durable on the server. */
  get saved(): boolean {
    return this.#unsaved === 0 && (this.#durable !== undefined || this.#heads.length === 0);
  }

  /** Changes that the server is not known to have made durable. */
  get unsaved(): number {
    return this.#unsaved;
  }

  get status(): Status {
    const connection = this.#around.connection();
    if (connection === "offline") return "offline";
    if (connection === "connecting" || !this.answered) return "connecting";
    return this.saved ? "saved" : "live";
  }

  /** Throws what `fn` throws; then nothing has changed. */
  change(fn: (doc: never) => void, message?: string): void {
    this.#begin();
    const next = A.change(
      this.#copy as Doc,
      message === undefined ? {} : { message },
      fn as A.ChangeFn<Record<string, unknown>>,
    );
    this.#made += 1;
    this.#take(next);
    this.#around.dirty(this);
    this.#around.changed(this);
  }

  /** A document that is not there begins with what everyone begins it with. */
  begin(): void {
    if (this.#initial === undefined || !this.loaded || this.#heads.length > 0) return;
    this.#begin();
    this.#around.dirty(this);
    this.#around.changed(this);
  }

  #begin(): void {
    if (this.#initial === undefined || this.#heads.length > 0 || !this.#copy) return;
    const initial = this.#initial;
    // The same bytes wherever it is made, so that copies which were begun apart have one beginning.
    const first = A.change(
      A.init<Record<string, unknown>>({ actor: initialActor(JSON.stringify(initial)) }),
      { time: 0 },
      (draft) => {
        Object.assign(draft, initial);
      },
    );
    this.#take(A.merge(this.#copy, first));
  }

  /** The server has said that it has no such document, or none that may be seen. */
  get missing(): boolean {
    return this.#unavailable && this.#heads.length === 0;
  }

  /** There is something that the server must be told over HTTP. */
  get unmade(): boolean {
    return this.existence === "absent" && this.#heads.length > 0 && !this.making;
  }

  /** A new connection: what the other side said before was said to nobody. */
  restart(): void {
    this.answered = false;
    this.#unavailable = false;
    this.#asked = false;
    if (this.existence === "absent") this.existence = "unknown";
    // What both had stays known; the rest of the state belonged to the connection.
    this.#state = this.#state && A.decodeSyncState(A.encodeSyncState(this.#state));
  }

  /** The next thing to say, if there is any. */
  say(): { readonly type: "sync" | "request"; readonly data: Uint8Array } | undefined {
    if (!this.#copy || this.existence === "absent") return undefined;
    if (this.existence === "unknown") {
      if (this.#asked) return undefined;
      this.#asked = true;
      return { type: "request", data: nothing() };
    }
    const [state, data] = A.generateSyncMessage(this.#copy, this.#state ?? A.initSyncState());
    this.#state = state;
    if (!data) return undefined;
    const asked = this.#asked;
    this.#asked = true;
    return { type: !asked && this.#heads.length === 0 ? "request" : "sync", data };
  }

  /** Takes a sync message. Throws when its bytes are none. */
  hear(data: Uint8Array): void {
    if (!this.#copy) return;
    const [copy, state] = A.receiveSyncMessage(this.#copy, this.#state ?? A.initSyncState(), data);
    this.#state = state;
    this.existence = "there";
    this.#unavailable = false;
    this.answered ||= A.hasHeads(copy, A.decodeSyncMessage(data).heads);
    this.#take(copy);
    this.#around.dirty(this);
    this.#around.changed(this);
  }

  unavailable(): void {
    this.#unavailable = true;
    this.answered = true;
    if (this.name.documentId === undefined) this.existence = "absent";
    else if (this.#copy && this.#state && this.#heads.length === 0) {
      // It has nothing, so the next change need not wait to be asked for.
      const [copy, state] = A.receiveSyncMessage(this.#copy, this.#state, nothing());
      this.#copy = copy;
      this.#state = state;
    }
    this.begin();
    this.#around.dirty(this);
    this.#around.changed(this);
  }

  /** All changes, for making the document over HTTP. */
  changes(): Uint8Array[] {
    return this.#copy ? A.getAllChanges(this.#copy) : [];
  }

  /** The server has made it, and has these heads on its disk. */
  made(heads: readonly string[]): void {
    this.existence = "there";
    this.#unavailable = false;
    this.durable(heads);
    this.#around.dirty(this);
  }

  /** The server has these heads on its disk. */
  durable(heads: readonly string[]): void {
    this.#durable = heads;
    this.#count();
    this.#around.changed(this);
  }

  /** The name of the db is known now. */
  found(documentId: string): void {
    this.documentId = documentId;
  }

  fail(error: Error): void {
    this.#failure = error;
    this.#around.changed(this);
  }

  get failure(): Error | undefined {
    return this.#failure;
  }

  save(): Uint8Array | undefined {
    return this.#copy && this.#heads.length > 0 ? A.save(this.#copy) : undefined;
  }

  /** Resolves when all changes are in the storage. */
  stored(): Promise<void> {
    return this.#store?.kept() ?? Promise.resolve();
  }

  /** Resolves when `done` holds; `changed` looks again. Rejects when the document cannot be used at all. */
  until(done: () => boolean, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = (): boolean => {
        if (this.#failure) reject(this.#failure);
        else if (signal?.aborted) reject(signal.reason as Error);
        else if (done()) resolve();
        else return false;
        return true;
      };
      if (look()) return;
      const again = (): void => {
        if (look()) this.#waiting = this.#waiting.filter((one) => one !== again);
      };
      this.#waiting.push(again);
      signal?.addEventListener("abort", again, { once: true });
    });
  }

  /** Tells everyone who looks on. */
  notify(): void {
    for (const look of this.#waiting) look();
    // Listeners come and go while they are told.
    for (const listener of Array.from(this.listeners)) listener();
  }

  #take(copy: Doc): void {
    const heads = A.getHeads(copy);
    // Automerge gives another object each time; a value of the same heads is the same to who looks on.
    if (this.#copy === undefined || !sameHeads(heads, this.#heads)) this.#value = copy;
    this.#copy = copy;
    this.#heads = heads;
    if (this.#store && !sameHeads(heads, this.#stored)) {
      this.#store.append(A.saveSince(copy, [...this.#stored]), () => A.save(this.#copy as Doc));
      this.#stored = heads;
    }
    this.#count();
  }

  #count(): void {
    const durable = this.#durable;
    if (durable && sameHeads(durable, this.#heads)) this.#unsaved = 0;
    else if (!this.#copy || this.#heads.length === 0) this.#unsaved = 0;
    // Heads that are not here yet come by sync, and then it is counted again.
    else if (durable && A.hasHeads(this.#copy, [...durable])) {
      this.#unsaved = A.getChangesMetaSince(this.#copy, [...durable]).length;
    } else if (!durable) this.#unsaved = this.#made;
  }
}

/** The first message of somebody who has nothing. */
function nothing(): Uint8Array {
  return A.generateSyncMessage(A.init(), A.initSyncState())[1] as Uint8Array;
}

function sameHeads(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((head) => b.includes(head));
}
