import { automergeReady, type AutomergeWasm } from "./automerge.ts";
import { Collection } from "./collection.ts";
import type {
  DbInfo,
  DocRead,
  Documents,
  HistoryEntry,
  Listed,
  ListOptions,
  ReadOptions,
  TxWrite,
  WriteOptions,
} from "./documents.ts";
import { DocumentCopies } from "./document-copies.ts";
import { parseName } from "./document-name.ts";
import { SkaldError, isSkaldError } from "./error.ts";
import { changesOf, type ChangeEvent, type ChangesOptions } from "./feed.ts";
import { LiveDocument, type OpenOptions } from "./live-document.ts";
import type { Status } from "./live-core.ts";
import {
  Closing,
  freshName,
  platformOf,
  withoutUndefined,
  type FetchLike,
  type Platform,
  type SocketConstructor,
} from "./platform.ts";
import { Requests } from "./request.ts";
import { toBase64, type ClientStorage } from "./storage.ts";
import {
  execute,
  executeBatch,
  type SqlArgs,
  type SqlBatchResult,
  type SqlReadOptions,
  type SqlRows,
  type SqlStatement,
  type SqlValue,
  type SqlWriteOptions,
  type SqlWritten,
} from "./sql.ts";
import { Subscription, type SubscriptionOptions } from "./subscription.ts";
import { Sync } from "./sync.ts";
import { SqlWatch, watchOf, type WatchOptions } from "./watch.ts";
import { WriteQueue, type KeptWrite, type Receipt } from "./write-queue.ts";

export interface ClientOptions {
  /** Where the server is, such as `https://data.example.com`. */
  readonly url: string;
  readonly db: string;
  readonly token?: string;
  /** Gives a token, called when there is none and when the server refused the last one. */
  readonly getToken?: () => Promise<string> | string;
  readonly fetch?: FetchLike;
  readonly WebSocket?: SocketConstructor;
  /** Where writes and live documents are kept that the server does not have; without it, in memory only. */
  readonly storage?: ClientStorage;
  /** Of the keys in the storage: another one for each user of the same machine. */
  readonly storagePrefix?: string;
  /** `keep` (the default) holds writes until the server takes them; `fail` gives them up after `retries`. */
  readonly offline?: "keep" | "fail";
  /** Tries after the first, of reads and of writes that are not kept. 4 when left out. */
  readonly retries?: number;
  /** Automerge's WebAssembly, for pages that would rather fetch it as a file than as a module. */
  readonly wasm?: AutomergeWasm;
  /** Told of a write that an earlier page or process kept and that the server refused. */
  readonly onRefused?: (write: KeptWrite, error: SkaldError) => void;
  /** Clocks, timers and randomness others than the machine's. */
  readonly platform?: Partial<Platform>;
}

/**
 * A db of a Skald server, as a browser or a Node program uses it. Reads and writes go over HTTP, live documents
 * over one WebSocket. Everything rejects with `SkaldError`.
 */
export class SkaldClient implements Documents {
  readonly url: string;
  readonly db: string;
  readonly #platform: Platform;
  readonly #storage: ClientStorage | undefined;
  readonly #prefix: string;
  readonly #requests: Requests;
  readonly #queue: WriteQueue;
  readonly #sync: Sync;
  readonly #copies: DocumentCopies;
  readonly #wasm: AutomergeWasm | undefined;
  readonly #listeners = new Set<() => void>();
  readonly #endNetwork: () => void;
  #uid: Promise<string> | undefined;
  #reached: boolean | undefined;
  #closed = false;
  readonly #closing = new Closing();

  constructor(options: ClientOptions) {
    this.url = options.url.replace(/\/+$/, "");
    this.db = options.db;
    this.#platform = platformOf({
      ...options.platform,
      ...withoutUndefined({ fetch: options.fetch, WebSocket: options.WebSocket }),
    });
    this.#storage = options.storage;
    this.#prefix = options.storagePrefix ?? `skald/${encodeURIComponent(this.url)}/${this.db}/`;
    this.#wasm = options.wasm;
    const retries = options.retries ?? 4;
    this.#requests = new Requests({
      url: this.url,
      platform: this.#platform,
      token: options.token,
      getToken: options.getToken,
      retries,
      onReach: (reached) => this.#reach(reached),
      closing: this.#closing,
    });
    this.#queue = new WriteQueue({
      platform: this.#platform,
      storage: this.#storage,
      prefix: `${this.#prefix}write/`,
      send: (write) => this.#sendWrite(write),
      retries: options.offline === "fail" ? retries : Infinity,
      onRefused: options.onRefused,
      onChange: () => this.#tell(),
    });
    this.#sync = new Sync({
      platform: this.#platform,
      storage: this.#storage,
      prefix: this.#prefix,
      wasm: this.#wasm,
      url: () => this.#syncUrl(),
      uid: () => this.#uidOf(),
      make: async (doc, changes) => {
        const receipt = await this.#sendWrite(this.#txOf(freshName(this.#platform), [{ doc, changes }], {}));
        return receipt.heads[doc] ?? [];
      },
      onChange: () => this.#tell(),
    });
    this.#copies = new DocumentCopies({
      fetch: async (doc, etag) => {
        const response = await this.#requests.send({
          method: "GET",
          path: this.#docPath(doc),
          headers: {
            accept: "application/automerge",
            ...(etag === undefined ? {} : { "if-none-match": etag }),
          },
          also: [304, 404],
          retries: 0,
        });
        if (response.status === 404) return undefined;
        if (response.status === 304) return "same";
        const bytes = await this.#requests.bytes(response);
        return { bytes, etag: response.headers.get("etag") ?? undefined };
      },
      nearby: (doc) => this.#sync.saveOf(doc),
    });
    this.#endNetwork = this.#platform.onNetwork((online) => {
      this.#sync.network(online);
      if (online) this.#queue.wake();
      else this.#reach(false);
    });
    if (this.#storage) {
      // What cannot be read now is tried again by the first write.
      this.#queue.restore().catch(() => undefined);
      this.#sync.resume().catch(() => undefined);
    }
  }

  /** Of a connection and everything on its way: see `Status`. */
  get status(): Status {
    const live = this.#sync.status;
    if (live !== undefined) return live === "saved" && this.#queue.size > 0 ? "live" : live;
    if (this.#reached === undefined) return "connecting";
    if (!this.#reached) return "offline";
    return this.#queue.size > 0 ? "live" : "saved";
  }

  /** Writes and changes of live documents that the server is not known to have on its disk. */
  get unsaved(): number {
    return this.#queue.size + this.#sync.unsaved;
  }

  /** Calls `listener` whenever `status` or `unsaved` may have changed. */
  subscribe(listener: () => void): () => void {
    const own = (): void => listener();
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }

  /** Uses another token from now on, and sends what waited for one. */
  setToken(token: string): void {
    this.#requests.token = token;
    this.#queue.wake();
    this.#sync.network(true);
  }

  /** The document's value; undefined when it is not there. */
  async get<T extends object = Record<string, unknown>>(
    doc: string,
    options: ReadOptions = {},
  ): Promise<T | undefined> {
    return (await this.read<T>(doc, options))?.value;
  }

  /** The value as it was at a point in the past. */
  at<T extends object = Record<string, unknown>>(
    doc: string,
    point: string | number,
  ): Promise<T | undefined> {
    return this.get<T>(doc, { at: point });
  }

  /** The document with its heads and the point it was read at; undefined when it is not there. */
  async read<T extends object = Record<string, unknown>>(
    doc: string,
    { at, signal }: ReadOptions = {},
  ): Promise<DocRead<T> | undefined> {
    try {
      const response = await this.#requests.send({
        method: "GET",
        path: this.#docPath(doc),
        query: { at },
        headers: { accept: "application/json" },
        signal,
      });
      const { headers } = response;
      const tag = /^"([0-9a-f.]*)"$/.exec(headers.get("etag") ?? "")?.[1] ?? "";
      const heads = tag.split(".");
      return {
        value: JSON.parse(new TextDecoder().decode(await this.#requests.bytes(response))) as T,
        heads: heads.every((head) => head.length === 64) ? heads : undefined,
        seq: Number(headers.get("skald-seq")),
        commit: headers.get("skald-commit") ?? undefined,
        cursor: headers.get("skald-cursor") ?? "",
        url: headers.get("automerge-url") ?? "",
      };
    } catch (error) {
      if (isSkaldError(error) && error.code === "DOC_NOT_FOUND") return undefined;
      throw error;
    }
  }

  /** Replaces the document, or makes it. Only what differs is changed. */
  put(doc: string, value: object, options?: WriteOptions): Promise<Receipt> {
    return this.#write([{ doc, value, ...heads(options) }], options);
  }

  /** Changes the document by a merge patch (an object, RFC 7396) or a JSON patch (an array, RFC 6902). */
  patch(doc: string, patch: object, options: WriteOptions = {}): Promise<Receipt> {
    if (!Array.isArray(patch)) return this.#write([{ doc, patch, ...heads(options) }], options);
    if (options.ifHeads) {
      return Promise.reject(
        new SkaldError("BAD_REQUEST", "A JSON patch takes no ifHeads.", {
          hint: "Put a `test` operation into the patch.",
        }),
      );
    }
    return this.#keep(options, [doc], (id) => ({
      id,
      docs: [doc],
      method: "PATCH",
      path: this.#docPath(doc),
      type: "application/json-patch+json",
      body: JSON.stringify(patch),
    }));
  }

  /** Deletes the document. Its history stays, and `put` brings it back. */
  delete(doc: string, options?: WriteOptions): Promise<Receipt> {
    return this.#write([{ doc, delete: true, ...heads(options) }], options);
  }

  /** Writes several documents in one commit: all of it or nothing. */
  tx(writes: readonly TxWrite[], options?: WriteOptions): Promise<Receipt> {
    return this.#write(writes, options);
  }

  /**
   * Changes the document as Automerge does, on a copy here: `fn` writes into what it is given, and what it did
   * is merged with what others write meanwhile. Undefined when it changed nothing.
   */
  async change<T extends object = Record<string, unknown>>(
    doc: string,
    fn: (draft: T) => void,
    options: Omit<WriteOptions, "ifHeads"> = {},
  ): Promise<Receipt | undefined> {
    await automergeReady(this.#wasm);
    const bytes = await this.#copies.change(doc, fn as (draft: never) => void, options.message);
    if (!bytes) return undefined;
    try {
      const receipt = await this.#write([{ doc, changes: [bytes] }], options);
      this.#copies.written(doc, receipt.heads[doc] ?? []);
      return receipt;
    } catch (error) {
      this.#copies.forget(doc);
      throw error;
    }
  }

  /** Opens a document that follows the server: see `LiveDocument`. */
  open<T extends object = Record<string, unknown>>(doc: string, options: OpenOptions = {}): LiveDocument<T> {
    if (!doc.startsWith("automerge:")) this.#docPath(doc);
    return new LiveDocument<T>(this.#sync, this.#sync.hold(doc, options.initial));
  }

  /** Documents in the order of their names, all as they were at one moment. */
  async *list<T extends object = Record<string, unknown>>(
    options: ListOptions = {},
  ): AsyncGenerator<Listed<T>> {
    const { collection, prefix, values, at, page, signal } = options;
    let cursor: string | null = null;
    do {
      const answer: { docs: Listed<T>[]; cursor: string | null } = await this.#requests.json({
        method: "GET",
        path: `${this.#path}/docs`,
        query: {
          collection,
          prefix,
          ...(values ? { values: true } : {}),
          at,
          limit: page,
          ...(cursor === null ? {} : { cursor }),
        },
        signal,
      });
      yield* answer.docs;
      cursor = answer.cursor;
    } while (cursor !== null);
  }

  /** Commits that touched the document, newest first. */
  async *history(doc: string, options: { signal?: AbortSignal } = {}): AsyncGenerator<HistoryEntry> {
    let cursor: string | null = null;
    do {
      const answer: { history: HistoryEntry[]; cursor: string | null } = await this.#requests.json({
        method: "GET",
        path: `${this.#docPath(doc)}/history`,
        query: cursor === null ? {} : { cursor },
        signal: options.signal,
      });
      yield* answer.history;
      cursor = answer.cursor;
    } while (cursor !== null);
  }

  /** The documents of one collection, by their keys and with their type. */
  collection<T extends object = Record<string, unknown>>(name: string): Collection<T> {
    return new Collection<T>(this, name);
  }

  /** The db's commits in order, as they come; goes on by itself after whatever cut. */
  changes(options: ChangesOptions = {}): AsyncGenerator<ChangeEvent> {
    return changesOf(this.#requests, this.#platform, this.db, options, this.#closing);
  }

  /**
   * A durable subscription of this db. With options it is made when it is first consumed; without, it must be
   * there.
   */
  subscription(name: string, options?: SubscriptionOptions): Subscription {
    return new Subscription(name, this.db, this.#requests, this.#platform, options, this.#closing);
  }

  /** The rows of a statement that reads. `?` takes `args` in their order, `:name` by name. */
  query<T extends object = Record<string, SqlValue>>(
    sql: string,
    args?: SqlArgs,
    options: SqlReadOptions = {},
  ): Promise<SqlRows<T>> {
    // One that writes after all is written once, however often it is sent.
    return execute<T>(this.#requests, this.#path, sql, args, { ...options, txId: freshName(this.#platform) });
  }

  /**
   * The rows of a statement that reads, live: `for await (const { rows } of client.watch(…))`, or `subscribe`. Goes on
   * by itself after whatever cut.
   */
  watch<T extends object = Record<string, SqlValue>>(
    sql: string,
    args?: SqlArgs,
    options: WatchOptions = {},
  ): SqlWatch<T> {
    return new SqlWatch<T>(
      (signal) =>
        watchOf<T>(
          this.#requests,
          this.#platform,
          this.#path,
          sql,
          args,
          { ...options, ...(signal && { signal }) },
          this.#closing,
        ),
      options.signal,
    );
  }

  /** Runs a statement that writes, as one commit; `rows` are those of RETURNING. Is not kept while offline. */
  exec<T extends object = Record<string, SqlValue>>(
    sql: string,
    args?: SqlArgs,
    options: SqlWriteOptions = {},
  ): Promise<SqlWritten<T>> {
    return execute<T>(this.#requests, this.#path, sql, args, { txId: freshName(this.#platform), ...options });
  }

  /** Runs several statements as one commit: all of it or nothing. Is not kept while offline. */
  batch(statements: readonly SqlStatement[], options: SqlWriteOptions = {}): Promise<SqlBatchResult> {
    return executeBatch(this.#requests, this.#path, statements, {
      txId: freshName(this.#platform),
      ...options,
    });
  }

  info(options: { signal?: AbortSignal } = {}): Promise<DbInfo> {
    return this.#requests.json({ method: "GET", path: this.#path, signal: options.signal });
  }

  /** Ends everything. Writes that are kept in a storage are sent by the next client that has it. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#endNetwork();
    this.#closing.close(new SkaldError("CLOSED", "The client was closed."));
    this.#queue.close();
    this.#sync.close();
  }

  get #path(): string {
    return `/db/${encodeURIComponent(this.db)}`;
  }

  #docPath(doc: string): string {
    const name = parseName(doc);
    if (name.documentId !== undefined || name.key === "." || name.key === "..") {
      throw new SkaldError("NAME_INVALID", `"${doc.slice(0, 80)}" cannot stand in a path.`, {
        hint: "Over HTTP a document is named collection/key; keys of dots alone only in tx, list and open.",
      });
    }
    return `${this.#path}/docs/${encodeURIComponent(name.collection)}/${encodeURIComponent(name.key)}`;
  }

  #write(writes: readonly TxWrite[], options: WriteOptions = {}): Promise<Receipt> {
    const docs = writes.map(({ doc }) => doc);
    return this.#keep(options, docs, (id) => this.#txOf(id, writes, options));
  }

  #txOf(id: string, writes: readonly TxWrite[], { message }: WriteOptions): KeptWrite {
    return {
      id,
      docs: writes.map(({ doc }) => doc),
      method: "POST",
      path: `${this.#path}/branches/main/tx`,
      type: "application/json",
      body: JSON.stringify({
        client_tx_id: id,
        ...(message === undefined ? {} : { message }),
        writes: writes.map(({ ifHeads, ...write }) => ({
          ...write,
          ...("changes" in write ? { changes: write.changes.map(toBase64) } : {}),
          ...(ifHeads === undefined ? {} : { base_heads: ifHeads }),
        })),
      }),
    };
  }

  async #keep(
    { txId, signal }: WriteOptions,
    docs: readonly string[],
    write: (id: string) => KeptWrite,
  ): Promise<Receipt> {
    for (const doc of docs) parseName(doc);
    return this.#queue.add(write(txId ?? freshName(this.#platform)), signal);
  }

  #sendWrite({ id, method, path, type, body }: KeptWrite): Promise<Receipt> {
    return this.#requests.json({
      method,
      path,
      headers: { "content-type": type, "idempotency-key": id },
      body,
      retries: 0,
    });
  }

  async #syncUrl(): Promise<string> {
    let ticket = "";
    if (this.#requests.known) {
      // A page cannot put a token on a socket, and one in a URL would be written down everywhere.
      const made = await this.#requests.json<{ ticket: string }>({
        method: "POST",
        path: "/tickets",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ db_id: this.db, action: "sync" }),
        retries: 0,
      });
      ticket = `?ticket=${encodeURIComponent(made.ticket)}`;
    }
    return `${this.#requests.base.replace(/^http/, "ws")}${this.#path}/sync${ticket}`;
  }

  /** Does not change in the life of a db, so it is known offline too. */
  #uidOf(): Promise<string> {
    this.#uid ??= this.#readUid().catch((error: unknown) => {
      this.#uid = undefined;
      throw error;
    });
    return this.#uid;
  }

  async #readUid(): Promise<string> {
    const key = `${this.#prefix}uid`;
    const kept = await this.#storage?.get(key);
    if (kept) return new TextDecoder().decode(kept);
    const { uid } = await this.#requests.json<DbInfo>({ method: "GET", path: this.#path, retries: 0 });
    await this.#storage?.set(key, new TextEncoder().encode(uid));
    return uid;
  }

  #reach(reached: boolean): void {
    if (this.#reached === reached) return;
    const back = this.#reached === false && reached;
    this.#reached = reached;
    if (back) {
      this.#queue.wake();
      this.#sync.network(true);
    }
    this.#tell();
  }

  #tell(): void {
    // Listeners come and go while they are told.
    for (const listener of Array.from(this.#listeners)) listener();
  }
}

function heads(options: WriteOptions | undefined): { ifHeads?: readonly string[] } {
  return options?.ifHeads === undefined ? {} : { ifHeads: options.ifHeads };
}
