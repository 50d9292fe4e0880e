import * as A from "@automerge/automerge/slim";
import { isSkaldError } from "./error.ts";

type Doc = A.Doc<Record<string, unknown>>;

interface Copy {
  doc: Doc;
  /** Of the answer that it was last like; undefined when it has more. */
  etag: string | undefined;
  /** Changes are made one after the other. */
  last: Promise<unknown>;
}

export interface CopySource {
  /** The document's bytes; `same` when it is what `etag` names; undefined when there is none. */
  readonly fetch: (doc: string, etag: string | undefined) => Promise<Fetched | "same" | undefined>;
  /** The copy that somebody else here has of it. */
  readonly nearby: (doc: string) => Uint8Array | undefined;
}

export interface Fetched {
  readonly bytes: Uint8Array;
  readonly etag: string | undefined;
}

/** Copies that are kept for the next change. */
const KEPT = 32;

/** Copies of documents to author changes on, each with an actor of its own. */
export class DocumentCopies {
  readonly #source: CopySource;
  readonly #copies = new Map<string, Copy>();

  constructor(source: CopySource) {
    this.#source = source;
  }

  /** Makes a change on the document as it is now; gives its bytes, or undefined when `fn` changed nothing. */
  async change(
    doc: string,
    fn: (draft: never) => void,
    message: string | undefined,
  ): Promise<Uint8Array | undefined> {
    const copy = this.#copyOf(doc);
    const turn = copy.last.then(async () => {
      await this.#refresh(doc, copy);
      const before = A.getHeads(copy.doc);
      const options = message === undefined ? {} : { message };
      copy.doc = A.change(copy.doc, options, fn as A.ChangeFn<Record<string, unknown>>);
      if (before.join() === A.getHeads(copy.doc).join()) return undefined;
      copy.etag = undefined;
      return A.getLastLocalChange(copy.doc);
    });
    copy.last = turn.catch(() => undefined);
    return turn;
  }

  /** The server has the document at these heads now. */
  written(doc: string, heads: readonly string[]): void {
    const copy = this.#copies.get(doc);
    if (!copy) return;
    const own = A.getHeads(copy.doc);
    if (own.length === heads.length && own.every((head) => heads.includes(head)) && heads.length <= 64) {
      copy.etag = `"${heads.join(".")};automerge"`;
    }
  }

  /** A change of it was refused: what builds on that would be refused as well. */
  forget(doc: string): void {
    this.#copies.delete(doc);
  }

  #copyOf(doc: string): Copy {
    const known = this.#copies.get(doc);
    const copy = known ?? { doc: A.init(), etag: undefined, last: Promise.resolve() };
    this.#copies.delete(doc);
    this.#copies.set(doc, copy);
    const oldest = this.#copies.keys().next().value as string;
    if (this.#copies.size > KEPT) this.#copies.delete(oldest);
    return copy;
  }

  async #refresh(doc: string, copy: Copy): Promise<void> {
    const live = this.#source.nearby(doc);
    if (live) copy.doc = A.loadIncremental(copy.doc, live);
    try {
      const fetched = await this.#source.fetch(doc, copy.etag);
      if (fetched === undefined || fetched === "same") return;
      copy.doc = A.loadIncremental(copy.doc, fetched.bytes);
      copy.etag = fetched.etag;
    } catch (error) {
      // Offline, a change goes on what is here; of a document never seen there is nothing to go on.
      const known = A.getHeads(copy.doc).length > 0;
      if (!known || !isSkaldError(error) || error.code !== "OFFLINE") throw error;
    }
  }
}
