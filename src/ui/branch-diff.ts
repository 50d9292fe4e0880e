import { get, path, query } from "./api.ts";

/** Two points: `branch@point`, or `branch@` for its head. */
export interface Between {
  readonly from: string;
  readonly to: string;
  readonly collection: string;
}

export interface ChangedDoc {
  readonly doc: string;
  readonly change: "added" | "changed" | "deleted";
  readonly patch?: readonly { readonly op: string; readonly path: string; readonly value?: unknown }[];
  readonly error?: string;
}

interface Page {
  readonly from: { readonly branch: string; readonly seq: number };
  readonly to: { readonly branch: string; readonly seq: number };
  readonly counts: { readonly added: number; readonly changed: number; readonly deleted: number };
  readonly docs: readonly ChangedDoc[];
  readonly cursor: string | null;
}

/** A branch and what was written behind it as a point; a name that looks like one is told apart by its `@`. */
export function pointOf(branch: string, at: string): string {
  return `${branch}@${at.trim()}`;
}

/** Names that differ between two points, read page by page as far as somebody looks. */
export class BranchDiff {
  readonly first: Page;
  readonly #db: string;
  readonly #between: Between;
  readonly #docs: ChangedDoc[];
  #cursor: string | null;
  #reading: Promise<void> | undefined;

  constructor(db: string, between: Between, first: Page) {
    this.#db = db;
    this.#between = between;
    this.first = first;
    this.#docs = [...first.docs];
    this.#cursor = first.cursor;
  }

  static async open(db: string, between: Between, signal: AbortSignal): Promise<BranchDiff> {
    return new BranchDiff(db, between, await get<Page>(pageUrl(db, between, { patches: false }), { signal }));
  }

  get count(): number {
    const { added, changed, deleted } = this.first.counts;
    return added + changed + deleted;
  }

  row(i: number): ChangedDoc | undefined | Promise<ChangedDoc | undefined> {
    return this.#docs[i] ?? this.#readTo(i);
  }

  /** One document with its patch, between the points that the list is of. */
  async patchOf({ doc }: ChangedDoc): Promise<ChangedDoc | undefined> {
    const slash = doc.indexOf("/");
    const { from, to } = this.first;
    const between = {
      from: pointOf(from.branch, String(from.seq)),
      to: pointOf(to.branch, String(to.seq)),
      collection: doc.slice(0, slash),
    };
    // Of the names that begin so, the name itself is the first.
    const page = await get<Page>(pageUrl(this.#db, between, { prefix: doc.slice(slash + 1), limit: 1 }));
    return page.docs.find((found) => found.doc === doc);
  }

  async #readTo(i: number): Promise<ChangedDoc | undefined> {
    while (this.#docs[i] === undefined && this.#cursor !== null) {
      this.#reading ??= this.#read(this.#cursor).finally(() => (this.#reading = undefined));
      await this.#reading;
    }
    return this.#docs[i];
  }

  async #read(cursor: string): Promise<void> {
    const page = await get<Page>(pageUrl(this.#db, this.#between, { patches: false, cursor }));
    this.#docs.push(...page.docs);
    this.#cursor = page.cursor;
  }
}

function pageUrl(
  db: string,
  { from, to, collection }: Between,
  more: Readonly<Record<string, string | number | boolean>>,
): string {
  return `${path("db", db)}/diff${query({ from, to, collection: collection || undefined, limit: 1000, ...more })}`;
}
