import type { Doc } from "@automerge/automerge/slim";
import { SkaldError } from "./error.ts";
import type { Ephemeral, LiveCore, Status } from "./live-core.ts";
import type { Sync } from "./sync.ts";
import { writeValue } from "./write-value.ts";

export interface ReadyOptions {
  readonly signal?: AbortSignal;
}

export interface OpenOptions {
  /**
   * What a document that is not there begins with. It becomes one change that is the same wherever it is made
   * from the same content, so documents that are begun apart still have one beginning.
   */
  readonly initial?: Readonly<Record<string, unknown>>;
}

/**
 * A document that follows the server while it is open: what others write shows in `value`, what `change` writes
 * is there at once, goes to the server when the code that called it has run, and is kept while it cannot.
 * `value` is an immutable object: another one after each change, parts that did not change the same.
 */
export class LiveDocument<T extends object = Record<string, unknown>> {
  readonly #sync: Sync;
  readonly #core: LiveCore;
  readonly #ends: (() => void)[] = [];
  #closed = false;

  constructor(sync: Sync, core: LiveCore) {
    this.#sync = sync;
    this.#core = core;
  }

  /** As it was opened: `collection/key`, or an `automerge:` URL. */
  get doc(): string {
    return this.#core.doc;
  }

  /** Its `automerge:` URL; undefined until the db's uid is known. */
  get url(): string | undefined {
    return this.#core.url;
  }

  /** Undefined before `ready`, and when there is no such document. */
  get value(): Doc<T> | undefined {
    return this.#core.value as Doc<T> | undefined;
  }

  get heads(): readonly string[] {
    return this.#core.heads;
  }

  get status(): Status {
    return this.#core.status;
  }

  /** Changes of this copy that the server is not known to have on its disk. */
  get unsaved(): number {
    return this.#core.unsaved;
  }

  /** The server says that there is no such document, or none that this token may see: to it that is the same. */
  get missing(): boolean {
    return this.#core.missing;
  }

  /** Why it cannot be used, or why the server is not reached. */
  get error(): Error | undefined {
    return this.#core.failure ?? (this.status === "offline" ? this.#sync.error : undefined);
  }

  /**
   * Resolves when `value` shows something to go by: what the storage has, or else what the server has; or, when
   * the server cannot be reached, nothing. `change` works from then on.
   */
  ready({ signal }: ReadyOptions = {}): Promise<void> {
    return this.#core.until(() => this.isReady, signal);
  }

  /** Whether `ready` has nothing to wait for. */
  get isReady(): boolean {
    const core = this.#core;
    return core.loaded && (core.value !== undefined || core.answered || core.status === "offline");
  }

  /** Resolves when the server has told all that it had, or said that it has nothing. */
  answered({ signal }: ReadyOptions = {}): Promise<void> {
    return this.#core.until(() => this.#core.loaded && this.#core.answered, signal);
  }

  /** Resolves when every change of this copy is known to be on the server's disk. */
  saved({ signal }: ReadyOptions = {}): Promise<void> {
    return this.#core.until(() => this.status === "saved", signal);
  }

  /** Resolves when every change of this copy is in the client's storage. */
  stored(): Promise<void> {
    return this.#core.stored();
  }

  /**
   * Changes the document as Automerge does: `fn` writes into what it is given. A document that is not there is
   * made. Throws what `fn` throws, and then nothing has changed; NOT_READY before `ready`.
   */
  change(fn: (doc: T) => void, options: { readonly message?: string } = {}): void {
    this.#usable();
    this.#core.change(fn as (doc: never) => void, options.message);
  }

  /** Makes the document's value this one, with as little change as it takes: what is equal is not touched. */
  set(value: T): void {
    this.change((draft) => writeValue(draft, value));
  }

  /** Calls `listener` whenever the value, the status or another of the properties may have changed. */
  subscribe(listener: () => void): () => void {
    // A function of its own: the same one may be given twice.
    return this.#until(this.#core.listeners, () => listener());
  }

  /** Tells everyone else who has the document open, such as where a cursor is. Nothing of it is kept. */
  broadcast(message: unknown): void {
    this.#usable();
    this.#sync.broadcast(this.#core, message);
  }

  /** Hears what others `broadcast`. */
  onMessage(hear: (message: Ephemeral) => void): () => void {
    return this.#until(this.#core.hearers, (message: Ephemeral) => hear(message));
  }

  /** Lets go of it. Changes that are not saved go on their way all the same. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const end of this.#ends) end();
    this.#sync.release(this.#core);
  }

  #until<L>(listeners: Set<L>, listener: L): () => void {
    listeners.add(listener);
    const end = (): void => void listeners.delete(listener);
    this.#ends.push(end);
    return end;
  }

  #usable(): void {
    if (this.#closed) throw new SkaldError("CLOSED", "The document was closed.");
    if (this.#core.failure) throw this.#core.failure;
    if (!this.#core.loaded) {
      throw new SkaldError("NOT_READY", "The document is still being loaded.", {
        hint: "Await ready() before the first change.",
      });
    }
  }
}
