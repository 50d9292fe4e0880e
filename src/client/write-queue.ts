import { SkaldError, isSkaldError } from "./error.ts";
import { freshName, type Platform } from "./platform.ts";
import { isPassing, pauseBefore } from "./request.ts";
import type { ClientStorage } from "./storage.ts";

/** What the server answered to a write. */
export interface Receipt {
  readonly commit: string;
  readonly seq: number;
  readonly time: string;
  readonly heads: Readonly<Record<string, readonly string[]>>;
  /** All of it was in the log before. */
  readonly duplicate: boolean;
  readonly cursor: string;
}

/** A write as it is kept: all that is needed to send it again, in whichever process. */
export interface KeptWrite {
  /** Its `client_tx_id`: sent as often as it takes, written once. */
  readonly id: string;
  readonly docs: readonly string[];
  readonly method: "POST" | "PATCH";
  readonly path: string;
  readonly type: string;
  readonly body: string;
}

export interface QueueOptions {
  readonly platform: Platform;
  readonly storage: ClientStorage | undefined;
  /** Of the keys in the storage. */
  readonly prefix: string;
  readonly send: (write: KeptWrite) => Promise<Receipt>;
  /** Tries after the first; Infinity keeps a write until the server has it. */
  readonly retries: number;
  /** Told of a write that an earlier process had kept and the server refuses: nobody else waits for it. */
  readonly onRefused: ((write: KeptWrite, error: SkaldError) => void) | undefined;
  readonly onChange: () => void;
}

interface Entry {
  readonly write: KeptWrite;
  readonly key: string;
  readonly resolve: ((receipt: Receipt) => void) | undefined;
  readonly reject: ((error: Error) => void) | undefined;
  tries: number;
  sending: boolean;
}

/** Requests of one client at once: browsers have six connections to a server. */
const AT_ONCE = 6;

/**
 * Writes on their way, in the order in which they were made. Writes to one document go one after the other,
 * others beside each other; from the first that does not get through on they go strictly one by one, until
 * all that had gathered is written. Each is in the storage before it is sent, and leaves it when it is written
 * or refused.
 */
export class WriteQueue {
  readonly #options: QueueOptions;
  readonly #entries: Entry[] = [];
  #restored: Promise<void> | undefined;
  #number = 0;
  /** Writes go one by one until this one, the last of those that were there when it broke, is through. */
  #oneByOneTo: Entry | undefined;
  #stopWaiting: (() => void) | undefined;
  #closed = false;
  /** Restored writes whose credential was refused: they wait for another. */
  #parked = false;

  constructor(options: QueueOptions) {
    this.#options = options;
  }

  /** Writes that are not yet written, those of earlier processes included once they are read. */
  get size(): number {
    return this.#entries.length;
  }

  /** Takes a write. Resolves when it is durable on the server; rejects when it is refused. */
  add(write: KeptWrite, signal?: AbortSignal): Promise<Receipt> {
    if (this.#closed) return Promise.reject(closed());
    return new Promise<Receipt>((resolve, reject) => {
      const key = `${this.#options.prefix}${this.#nextNumber()}-${freshName(this.#options.platform).slice(0, 8)}`;
      const entry: Entry = { write, key, resolve, reject, tries: 0, sending: false };
      void this.#take(entry, signal);
    });
  }

  async #take(entry: Entry, signal: AbortSignal | undefined): Promise<void> {
    const { storage } = this.#options;
    try {
      // Those of earlier processes come first.
      await this.restore();
      const text = new TextEncoder().encode(JSON.stringify(entry.write));
      // In line before it is kept, so that those which are kept sooner do not overtake it.
      entry.sending = true;
      this.#entries.push(entry);
      this.#options.onChange();
      await storage?.set(entry.key, text);
      entry.sending = false;
    } catch (error) {
      this.#drop(entry);
      entry.reject?.(error as Error);
      return;
    }
    signal?.addEventListener("abort", () => {
      if (entry.sending || !this.#entries.includes(entry)) return;
      this.#drop(entry);
      void storage?.delete(entry.key);
      entry.reject?.(signal.reason as Error);
    });
    this.#pump();
  }

  /** Reads what an earlier process kept. */
  restore(): Promise<void> {
    this.#restored ??= this.#read().catch((error: unknown) => {
      this.#restored = undefined;
      throw error;
    });
    return this.#restored;
  }

  async #read(): Promise<void> {
    const { storage, prefix } = this.#options;
    if (!storage) return;
    for (const key of await storage.keys(prefix)) {
      const bytes = await storage.get(key);
      if (!bytes) continue;
      const write = JSON.parse(new TextDecoder().decode(bytes)) as KeptWrite;
      this.#entries.push({ write, key, resolve: undefined, reject: undefined, tries: 0, sending: false });
      // The clock may have gone back since.
      this.#number = Math.max(this.#number, Number(/^\d+/.exec(key.slice(prefix.length))?.[0] ?? 0));
    }
    this.#oneByOneTo = this.#entries.at(-1);
    this.#options.onChange();
    this.#pump();
  }

  /** Tries at once what waits: the network is back, or there is another token. */
  wake(): void {
    this.#parked = false;
    this.#stopWaiting?.();
    this.#stopWaiting = undefined;
    if (!this.#closed) this.#pump();
  }

  /** Sends nothing more. What is kept in the storage stays there. */
  close(): void {
    this.#closed = true;
    this.#stopWaiting?.();
    for (const entry of this.#entries.splice(0)) entry.reject?.(closed());
    this.#options.onChange();
  }

  /** Numbers sort as texts. Another process that goes on later must not begin below: the clock leads. */
  #nextNumber(): string {
    this.#number = Math.max(this.#number + 1, this.#options.platform.now() * 1000);
    return String(this.#number).padStart(17, "0");
  }

  #pump(): void {
    if (this.#closed || this.#stopWaiting || this.#parked) return;
    const busy = new Set<string>();
    let sending = 0;
    for (const entry of this.#entries) {
      if (this.#oneByOneTo && entry !== this.#entries[0]) break;
      if (sending >= AT_ONCE) break;
      const free = entry.write.docs.every((doc) => !busy.has(doc));
      for (const doc of entry.write.docs) busy.add(doc);
      if (entry.sending) sending += 1;
      else if (free) {
        sending += 1;
        void this.#send(entry);
      }
    }
  }

  async #send(entry: Entry): Promise<void> {
    entry.sending = true;
    try {
      const receipt = await this.#options.send(entry.write);
      // What cannot be taken out is sent once more by the next process, and is a duplicate then.
      await this.#options.storage?.delete(entry.key).catch(() => undefined);
      this.#drop(entry);
      entry.resolve?.(receipt);
    } catch (error) {
      entry.sending = false;
      if (this.#closed) return;
      if (isPassing(error) || isBroken(error)) {
        entry.tries += 1;
        // An error of the server's own need not pass: it is tried a few times.
        const most = isBroken(error) ? Math.min(this.#options.retries, 5) : this.#options.retries;
        if (entry.tries <= most) {
          this.#wait(error as SkaldError, entry.tries);
          return;
        }
      }
      await this.#refused(entry, error as Error);
    }
    this.#pump();
  }

  async #refused(entry: Entry, error: Error): Promise<void> {
    const { storage, onRefused } = this.#options;
    if (!entry.reject && (error as Partial<SkaldError>).status === 401) {
      // Nobody is there to be told, and what somebody wrote offline is not lost because a token ran out.
      this.#parked = true;
      return;
    }
    await storage?.delete(entry.key).catch(() => undefined);
    this.#drop(entry);
    if (entry.reject) entry.reject(withId(error, entry.write));
    else if (isSkaldError(error)) onRefused?.(entry.write, error);
  }

  #wait(error: SkaldError, tries: number): void {
    this.#oneByOneTo = this.#entries.at(-1);
    if (this.#stopWaiting) return;
    const { platform } = this.#options;
    const asked = error.details["retry_after_ms"];
    const least = typeof asked === "number" ? asked : 0;
    this.#stopWaiting = platform.timer(Math.max(least, pauseBefore(platform, tries - 1)), () => {
      this.#stopWaiting = undefined;
      this.#pump();
    });
  }

  #drop(entry: Entry): void {
    const at = this.#entries.indexOf(entry);
    if (at >= 0) this.#entries.splice(at, 1);
    if (entry === this.#oneByOneTo) this.#oneByOneTo = undefined;
    this.#options.onChange();
  }
}

/** The server failed at it. Whether the write was made is unknown; sent again, it says. */
function isBroken(error: unknown): boolean {
  const { code, status } = error as { code?: unknown; status?: unknown };
  return status === 500 || status === 507 || code === "BAD_ANSWER";
}

function withId(error: Error, { id }: KeptWrite): Error {
  if (!isSkaldError(error)) return error;
  const { code, message, status, hint, details, cause } = error;
  return new SkaldError(code, message, { status, hint, details: { ...details, client_tx_id: id }, cause });
}

function closed(): SkaldError {
  return new SkaldError("CLOSED", "The client was closed.");
}
