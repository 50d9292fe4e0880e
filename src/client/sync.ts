import { automergeReady, type AutomergeWasm } from "./automerge.ts";
import { decodeValue, encodeValue } from "./cbor.ts";
import { documentIdIn, hashesOf, parseName } from "./document-name.ts";
import { SkaldError, isSkaldError } from "./error.ts";
import { LiveCore, type Status } from "./live-core.ts";
import { LiveStore } from "./live-store.ts";
import { freshName, type Platform } from "./platform.ts";
import { isPassing } from "./request.ts";
import type { ClientStorage } from "./storage.ts";
import { SyncConnection, type RepoMessage } from "./sync-connection.ts";

export interface SyncOptions {
  readonly platform: Platform;
  readonly storage: ClientStorage | undefined;
  /** Of the keys in the storage. */
  readonly prefix: string;
  readonly wasm: AutomergeWasm | undefined;
  /** Where to connect to, each time anew. */
  readonly url: () => Promise<string>;
  /** The db's uid, which documents' ids are derived from. */
  readonly uid: () => Promise<string>;
  /** Writes a document's first changes under its name; gives the heads that the server then has. */
  readonly make: (doc: string, changes: readonly Uint8Array[]) => Promise<readonly string[]>;
  readonly onChange: () => void;
}

/** How long a document that nobody holds any more is kept: pages close and open the same one in one go. */
const LINGER = 1000;

/**
 * All live documents of a client on one connection. A change is said to the server when the code that made it
 * has run; what comes in is answered likewise, once for each document.
 */
export class Sync {
  readonly #options: SyncOptions;
  readonly #connection: SyncConnection;
  readonly #cores = new Map<string, LiveCore>();
  readonly #byId = new Map<string, LiveCore>();
  readonly #dirty = new Set<LiveCore>();
  readonly #session: string;
  #spoken = 0;
  #heard = new Map<string, number>();
  #flushing = false;
  #storageId: string | undefined;
  #online = true;
  #closed = false;
  readonly #noted = new Set<string>();

  constructor(options: SyncOptions) {
    this.#options = options;
    this.#session = freshName(options.platform);
    this.#connection = new SyncConnection({
      platform: options.platform,
      url: options.url,
      onState: () => this.#stateChanged(),
      onOpen: (storageId) => this.#opened(storageId),
      onMessage: (message, from) => this.#receive(message, from),
    });
  }

  /** Changes in all open documents that the server is not known to have. */
  get unsaved(): number {
    let all = 0;
    for (const core of this.#cores.values()) all += core.unsaved;
    return all;
  }

  get error(): SkaldError | undefined {
    return this.#connection.error;
  }

  /** Of the connection and all documents together; undefined when no document is open. */
  get status(): Status | undefined {
    if (this.#cores.size === 0) return undefined;
    let all: Status = "saved";
    for (const { status } of this.#cores.values()) {
      if (status === "offline" || (all !== "offline" && status === "connecting")) all = status;
      else if (status === "live" && all === "saved") all = status;
    }
    return all;
  }

  /** Takes hold of a document; each hold is to be let go of. Throws NAME_INVALID. */
  hold(doc: string, initial?: Readonly<Record<string, unknown>>): LiveCore {
    if (this.#closed) throw new SkaldError("CLOSED", "The client was closed.");
    let core = this.#cores.get(doc);
    if (!core) {
      const { storage, platform, prefix } = this.#options;
      const name = parseName(doc);
      core = new LiveCore(
        doc,
        name,
        {
          dirty: (one) => this.#mark(one),
          connection: () => this.#reach(),
          changed: (one) => this.#changed(one),
        },
        storage && new LiveStore(storage, platform, `${prefix}doc/${encodeURIComponent(doc)}/`),
        initial,
      );
      this.#cores.set(doc, core);
      void this.#begin(core);
    }
    core.holders += 1;
    return core;
  }

  release(core: LiveCore): void {
    core.holders -= 1;
    if (core.holders > 0 || this.#closed) return;
    this.#options.platform.timer(LINGER, () => this.#forget(core));
  }

  /** Opens documents of earlier processes with changes that the server is not known to have, until it has them. */
  async resume(): Promise<void> {
    const { storage, prefix } = this.#options;
    for (const key of (await storage?.keys(`${prefix}unsaved/`)) ?? []) {
      if (this.#closed) return;
      const doc = decodeURIComponent(key.slice(`${prefix}unsaved/`.length));
      this.#noted.add(doc);
      this.release(this.hold(doc));
    }
  }

  /** Tells others who have it open, and keeps it nowhere. */
  broadcast(core: LiveCore, value: unknown): void {
    if (core.documentId === undefined) return;
    this.#connection.send({
      type: "ephemeral",
      documentId: core.documentId,
      count: (this.#spoken += 1),
      sessionId: this.#session,
      data: encodeValue(value),
    });
  }

  /** A document's copy as `Automerge.save` gives it, when it is open and there is something of it. */
  saveOf(doc: string): Uint8Array | undefined {
    return this.#cores.get(doc)?.save();
  }

  /** What the machine says of its network. */
  network(online: boolean): void {
    this.#online = online;
    if (!online) this.#connection.lost();
    else if (this.#connection.state === "waiting") this.#connection.open();
  }

  close(): void {
    this.#closed = true;
    this.#connection.close();
    for (const core of this.#cores.values()) core.fail(new SkaldError("CLOSED", "The client was closed."));
    this.#cores.clear();
    this.#byId.clear();
  }

  async #begin(core: LiveCore): Promise<void> {
    try {
      // Where to is nothing that a document has to wait for, and it may be unknown for long.
      this.#connection.open();
      await automergeReady(this.#options.wasm);
      await core.load();
    } catch (error) {
      core.fail(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    await this.#locate(core);
  }

  /** Joins a loaded document to the connection, once its id is known. */
  async #locate(core: LiveCore): Promise<void> {
    if (core.documentId === undefined) {
      try {
        core.found(documentIdIn(await this.#options.uid(), core.name));
      } catch (error) {
        // Refused, or not reached: the next connection asks again.
        if (isSkaldError(error) && error.code !== "OFFLINE") core.fail(error);
        return;
      }
    }
    if (this.#cores.get(core.doc) !== core) return;
    const id = core.documentId as string;
    const other = this.#byId.get(id);
    if (other && other !== core) {
      core.fail(
        new SkaldError("NAME_INVALID", `${core.doc} is open as ${other.doc} already.`, {
          hint: "Open a document by one of its names.",
        }),
      );
      return;
    }
    this.#byId.set(id, core);
    if (this.#connection.state === "open") this.#mark(core);
    this.#changed(core);
  }

  #forget(core: LiveCore): void {
    if (core.holders > 0 || this.#closed || this.#cores.get(core.doc) !== core) return;
    // What is not saved stays until it is: `changed` comes back here.
    if (!core.failure && !(core.loaded && core.saved && core.answered)) return;
    this.#cores.delete(core.doc);
    if (core.documentId !== undefined) this.#byId.delete(core.documentId);
    this.#dirty.delete(core);
    if (this.#cores.size === 0) this.#connection.close();
    this.#options.onChange();
  }

  #changed(core: LiveCore): void {
    this.#note(core);
    core.notify();
    this.#options.onChange();
    if (core.holders === 0) this.#forget(core);
  }

  /** Keeps in the storage which documents have something that the server has not. */
  #note(core: LiveCore): void {
    const { storage, prefix } = this.#options;
    if (!storage || !core.loaded) return;
    const key = `${prefix}unsaved/${encodeURIComponent(core.doc)}`;
    const noted = this.#noted.has(core.doc);
    if (core.unsaved > 0 && !noted) {
      this.#noted.add(core.doc);
      void storage.set(key, new Uint8Array()).catch(() => undefined);
    } else if (noted && core.saved && core.answered) {
      this.#noted.delete(core.doc);
      void storage.delete(key).catch(() => undefined);
    }
  }

  #reach(): "open" | "offline" | "connecting" {
    const { state } = this.#connection;
    if (state === "open") return "open";
    return state === "waiting" || !this.#online ? "offline" : "connecting";
  }

  #stateChanged(): void {
    for (const core of this.#cores.values()) core.notify();
    this.#options.onChange();
  }

  #opened(storageId: string | undefined): void {
    this.#storageId = storageId;
    // Its own heads as they are on its disk: that is how a change is known to be durable.
    if (storageId !== undefined) {
      this.#connection.send({ type: "remote-subscription-change", add: [storageId] });
    }
    this.#heard.clear();
    for (const core of this.#cores.values()) {
      core.restart();
      if (core.loaded && this.#byId.get(core.documentId ?? "") === core) this.#mark(core);
      else if (core.loaded && !core.failure) void this.#locate(core);
    }
  }

  #mark(core: LiveCore): void {
    this.#dirty.add(core);
    if (this.#flushing) return;
    this.#flushing = true;
    this.#options.platform.soon(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    const dirty = [...this.#dirty];
    this.#dirty.clear();
    if (this.#connection.state !== "open") return;
    for (const core of dirty) {
      if (this.#byId.get(core.documentId ?? "") !== core) continue;
      if (core.unmade) void this.#make(core);
      const said = core.say();
      if (said) this.#connection.send({ ...said, documentId: core.documentId as string });
    }
  }

  async #make(core: LiveCore): Promise<void> {
    core.making = true;
    try {
      core.made(await this.#options.make(core.doc, core.changes()));
    } catch (error) {
      // Not reached: the next connection begins with it. Refused: what is here stays here, and says why.
      if (!isPassing(error)) core.fail(error as Error);
    }
    core.making = false;
  }

  #receive(message: RepoMessage, from: string): void {
    const core = this.#byId.get(message.documentId ?? "");
    if (!core) return;
    const { data } = message;
    switch (message.type) {
      case "sync":
      case "request":
        if (!(data instanceof Uint8Array)) return;
        try {
          core.hear(data);
        } catch {
          // Bytes that are no sync message, or changes that do not apply: begin anew from what both have.
          this.#connection.lost();
        }
        return;
      case "doc-unavailable":
        core.unavailable();
        return;
      case "remote-heads-changed": {
        const all = message["newHeads"] as Record<string, { heads?: unknown } | undefined> | undefined;
        const heads = all?.[this.#storageId ?? ""]?.heads;
        if (Array.isArray(heads)) core.durable(hashesOf(heads));
        return;
      }
      case "ephemeral":
        this.#hearEphemeral(core, message, from);
        return;
      default:
    }
  }

  #hearEphemeral(core: LiveCore, message: RepoMessage, from: string): void {
    const { data } = message;
    const count = Number(message["count"]);
    const session = `${from} ${String(message["sessionId"])}`;
    if (!(data instanceof Uint8Array) || !(count > (this.#heard.get(session) ?? 0))) return;
    // Some other clients' sessions: the oldest goes when there are too many.
    if (this.#heard.size >= 1000) this.#heard.delete(this.#heard.keys().next().value as string);
    this.#heard.set(session, count);
    let value: unknown;
    try {
      value = decodeValue(data);
    } catch {
      return;
    }
    for (const hear of Array.from(core.hearers)) hear({ from, value });
  }
}
