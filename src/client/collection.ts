import type {
  DocRead,
  Documents,
  HistoryEntry,
  ListOptions,
  Listed,
  ReadOptions,
  WriteOptions,
} from "./documents.ts";
import type { LiveDocument, OpenOptions } from "./live-document.ts";
import type { Receipt } from "./write-queue.ts";

/** The documents of one collection: what the client does, by key and with their type. */
export class Collection<T extends object> {
  readonly name: string;
  readonly #client: Documents;

  constructor(client: Documents, name: string) {
    this.#client = client;
    this.name = name;
  }

  get(key: string, options?: ReadOptions): Promise<T | undefined> {
    return this.#client.get<T>(this.doc(key), options);
  }

  at(key: string, point: string | number): Promise<T | undefined> {
    return this.#client.at<T>(this.doc(key), point);
  }

  read(key: string, options?: ReadOptions): Promise<DocRead<T> | undefined> {
    return this.#client.read<T>(this.doc(key), options);
  }

  put(key: string, value: T, options?: WriteOptions): Promise<Receipt> {
    return this.#client.put(this.doc(key), value, options);
  }

  patch(key: string, patch: object, options?: WriteOptions): Promise<Receipt> {
    return this.#client.patch(this.doc(key), patch, options);
  }

  delete(key: string, options?: WriteOptions): Promise<Receipt> {
    return this.#client.delete(this.doc(key), options);
  }

  change(
    key: string,
    fn: (draft: T) => void,
    options?: Omit<WriteOptions, "ifHeads">,
  ): Promise<Receipt | undefined> {
    return this.#client.change<T>(this.doc(key), fn, options);
  }

  open(key: string, options?: OpenOptions): LiveDocument<T> {
    return this.#client.open<T>(this.doc(key), options);
  }

  list(options: Omit<ListOptions, "collection"> = {}): AsyncGenerator<Listed<T>> {
    return this.#client.list<T>({ ...options, collection: this.name });
  }

  history(key: string): AsyncGenerator<HistoryEntry> {
    return this.#client.history(this.doc(key));
  }

  /** The name of a document, as the client takes it. */
  doc(key: string): string {
    return `${this.name}/${key}`;
  }
}
