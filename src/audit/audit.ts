import type { Engine } from "../db/engine.ts";
import { SkaldError } from "../errors.ts";
import { AUDIT_DB } from "../ids/names.ts";
import { nextTurn, type World } from "../world.ts";
import { documentOf, ENTRIES, entryNames, type AuditEntry, type Named } from "./entry.ts";
import { Waiting } from "./waiting.ts";

export type { AuditDocument, AuditEntry } from "./entry.ts";

export interface AuditOptions {
  readonly engine: Pick<Engine, "has" | "use" | "writeOwn">;
  /** The service file. */
  readonly file: string;
  readonly world: World;
  /** Addresses that are summed up each; further ones are together. Default 10,000. */
  readonly sums?: number;
  /** Told when an entry could not be put into the log. */
  readonly onError: (error: unknown) => void;
}

/**
 * The audit log: who did what to which db, when and from where. Its entries are documents of the db `_audit`, which
 * is made with the first of them and which nobody else writes: see specs/29-audit.md.
 *
 * Invariants: entries that come in together are one commit; an entry is durable before its `note` resolves, in the
 * log or, when that takes none, in the service file, from where it gets into the log later, once; what cannot be noted
 * stops nothing but what asked for it with `must`.
 */
export class Audit {
  readonly #options: AuditOptions;
  readonly #world: World;
  readonly #waiting: Waiting;
  readonly #name: (time: number) => string;
  #queue: Queued[] = [];
  #running: Promise<void> | undefined;
  #closed = false;
  #lost = 0;
  readonly #sums = new Map<string, Sum>();
  #endSums: (() => void) | undefined;
  #endRetry: (() => void) | undefined;

  /** Throws as `openSqlite` does. */
  constructor(options: AuditOptions) {
    this.#options = options;
    this.#world = options.world;
    this.#waiting = new Waiting(options.file);
    this.#name = entryNames(options.world);
  }

  /** Brings in what waits since before this start; the log is not made for nothing. */
  start(): void {
    this.#running ??= this.#run();
  }

  /**
   * Notes that something was done. Resolves when the entry is durable: wait for it before answering what people must
   * be able to rely on, such as a token's making. Never rejects; false when the entry is nowhere but in the server's
   * own log lines.
   */
  note(entry: AuditEntry): Promise<boolean> {
    return this.#put(documentOf(entry, this.#world.now()));
  }

  /** The same for what must not happen unnoted. Throws STORAGE_FAILED. */
  async must(entry: AuditEntry): Promise<void> {
    if (await this.note(entry)) return;
    throw new SkaldError("STORAGE_FAILED", "What was done cannot be written into the audit log.");
  }

  /**
   * Notes what may happen a thousand times a second, such as a refused credential: the first at once, the others of the
   * same who, what and where together, with their number, at the end of the minute.
   */
  count(entry: AuditEntry): void {
    const { principal, action, db, address } = entry;
    const who = typeof principal === "string" ? principal : principal.id;
    let key = JSON.stringify([who, action, db, address]);
    if (!this.#sums.has(key) && this.#sums.size >= (this.#options.sums ?? MOST_SUMS)) key = action;
    const sum = this.#sums.get(key);
    if (sum) {
      sum.count += 1;
      return;
    }
    const { request_id: _, detail: __, ...rest } = entry;
    // Under a key of its own it stands for many addresses.
    this.#sums.set(key, {
      entry: key === action ? { principal: "several", action } : rest,
      count: key === action ? 1 : 0,
    });
    this.#endSums ??= this.#world.timer(SUM_MS, () => this.#noteSums());
    if (key !== action) void this.note(entry);
  }

  /** Resolves when everything noted until now is durable. */
  async flush(): Promise<void> {
    this.#noteSums();
    while (this.#running) await this.#running;
  }

  /** Writes what is left. Before the engine closes. */
  async close(): Promise<void> {
    if (this.#closed) return;
    await this.flush();
    this.abandon();
  }

  /** Lets go of the file and of what is not written, as the end of a process does. */
  abandon(): void {
    this.#closed = true;
    this.#endSums?.();
    this.#endRetry?.();
    this.#waiting.close();
  }

  #noteSums(): void {
    this.#endSums?.();
    this.#endSums = undefined;
    const sums = [...this.#sums.values()];
    this.#sums.clear();
    for (const { entry, count } of sums)
      if (count > 0) void this.#put(documentOf(entry, this.#world.now(), count));
  }

  #put(document: Named["document"]): Promise<boolean> {
    if (this.#closed || this.#queue.length >= MOST_QUEUED) {
      this.#lost += 1;
      return Promise.resolve(false);
    }
    const key = this.#name(Date.parse(document.time));
    return new Promise((resolve) => {
      this.#queue.push({ key, document, resolve });
      this.#running ??= this.#run();
    });
  }

  async #run(): Promise<void> {
    // What comes in the same turn belongs into one commit, as does what comes while the one before is written.
    await nextTurn(this.#world);
    try {
      do {
        const batch = this.#queue.splice(0, MOST_WRITES);
        if (batch.length > 0) await this.#write(batch);
      } while (this.#queue.length > 0);
      await this.#carry();
    } catch (error) {
      this.#options.onError(error);
      this.#retry();
    } finally {
      this.#running = this.#queue.length > 0 ? this.#run() : undefined;
    }
  }

  async #write(batch: readonly Queued[]): Promise<void> {
    const lost = this.#lost;
    const told: Named[] = [...batch];
    if (lost > 0) {
      const now = this.#world.now();
      const document = documentOf({ principal: "server", action: "audit.lost" }, now, lost);
      told.push({ key: this.#name(now), document });
    }
    let done = true;
    try {
      await this.#append(told);
    } catch (error) {
      done = this.#keep(told, error);
    }
    this.#lost += done ? -lost : batch.length;
    for (const { resolve } of batch) resolve(done);
  }

  #append(entries: readonly Named[]): Promise<void> {
    return this.#options.engine.writeOwn(
      AUDIT_DB,
      entries.map(({ key, document }) => ({
        doc: `${ENTRIES}/${key}`,
        edit: { kind: "put", value: JSON.stringify(document) },
      })),
    );
  }

  /** In the service file, when the log does not take them: it needs no more room than what was done itself. */
  #keep(entries: readonly Named[], cause: unknown): boolean {
    this.#options.onError(cause);
    try {
      this.#waiting.keep(entries);
    } catch (error) {
      this.#options.onError(error);
      return false;
    }
    this.#retry();
    return true;
  }

  /** What waits goes into the log. One that broke off before its rows were removed finds them there. */
  async #carry(): Promise<void> {
    for (;;) {
      const rows = this.#waiting.page(MOST_WRITES);
      if (rows.length === 0) return;
      const { engine } = this.#options;
      const fresh = engine.has(AUDIT_DB)
        ? await engine.use(AUDIT_DB, ({ log }) =>
            rows.filter(({ key }) => log.state(`${ENTRIES}/${key}`) === undefined),
          )
        : rows;
      if (fresh.length > 0) await this.#append(fresh);
      this.#waiting.remove(rows.map(({ id }) => id));
    }
  }

  #retry(): void {
    this.#endRetry ??= this.#world.timer(RETRY_MS, () => {
      this.#endRetry = undefined;
      if (!this.#closed) this.start();
    });
  }
}

interface Queued extends Named {
  readonly resolve: (durable: boolean) => void;
}

interface Sum {
  readonly entry: AuditEntry;
  count: number;
}

/** Of one commit: some hundred kilobytes. */
const MOST_WRITES = 500;
/** Entries that nobody has waited for; with those that requests wait for, of which there are as many as requests. */
const MOST_QUEUED = 50_000;
const MOST_SUMS = 10_000;
const SUM_MS = 60_000;
const RETRY_MS = 30_000;
