import { ask, get, path, query, sleep } from "./api.ts";

/** Of `GET …/docs`. */
export interface DocRow {
  readonly doc: string;
  readonly collection: string;
  readonly key: string;
  readonly seq: number;
  readonly heads: readonly string[];
}

interface Page {
  readonly docs: readonly DocRow[];
  readonly seq: number;
  readonly cursor: string | null;
}

export interface DocRowsOptions {
  readonly db: string;
  readonly collection: string;
  readonly prefix: string;
  readonly at: string | undefined;
  readonly signal: AbortSignal;
  /** SQL may be asked, which can begin anywhere in a collection. */
  readonly bySql: boolean;
  /** Called with every page that came. */
  readonly onPage: (rows: DocRows) => void;
}

const PAGE = 1000;
/** So far beyond what was read a list is read on; further down it is begun anew, by SQL. */
const NEAR = 2000;
const FAR_PAGE = 200;
const FAR_PAGES = 20;
/** Whoever scrolls past in less does not want it. */
const PASSING = 80;

/**
 * Documents by name, read page by page as far as anybody looks; all of one point in time. Rows far down are read
 * where they are, as they are now, when SQL may be asked; otherwise whoever wants one waits for the pages before it,
 * which are asked for one after the other and only once.
 */
export class DocRows {
  readonly rows: DocRow[] = [];
  /** All of them are here. */
  done = false;
  /** Where the list stands in the feed. */
  since: string | null = null;
  readonly #options: DocRowsOptions;
  #cursor: string | undefined;
  #wanted = 0;
  #reading: Promise<void> | undefined;
  readonly #far = new Map<number, Promise<readonly DocRow[]>>();
  readonly #farRows = new Map<number, DocRow>();
  #seen: readonly [first: number, end: number] = [0, 0];

  constructor(options: DocRowsOptions) {
    this.#options = options;
  }

  /** What is in sight: only that is worth reading far down. */
  seen(first: number, end: number): void {
    this.#seen = [first, end];
  }

  /** A row that was read already. */
  at(i: number): DocRow | undefined {
    return this.rows[i] ?? this.#farRows.get(i);
  }

  /** Undefined for one that is not there, or was scrolled past. Rejects as the request did. */
  async row(i: number): Promise<DocRow | undefined> {
    const { bySql, collection, at } = this.#options;
    if (bySql && collection !== "" && at === undefined && !this.done && i >= this.rows.length + NEAR)
      return this.#rowFar(i);
    this.#wanted = Math.max(this.#wanted, i + 1);
    while (!this.done && this.rows.length <= i) {
      this.#reading ??= this.#read().finally(() => (this.#reading = undefined));
      await this.#reading;
    }
    return this.rows[i];
  }

  async #rowFar(i: number): Promise<DocRow | undefined> {
    const page = Math.floor(i / FAR_PAGE);
    if (!this.#far.has(page)) {
      await sleep(PASSING, this.#options.signal);
      const [first, end] = this.#seen;
      if (i < first || i >= end) return undefined;
    }
    let reading = this.#far.get(page);
    if (!reading) {
      reading = this.#readFar(page);
      this.#far.set(page, reading);
      reading.catch(() => this.#far.delete(page));
      const [oldest] = this.#far.keys();
      if (this.#far.size > FAR_PAGES && oldest !== undefined) this.#forget(oldest);
    }
    return (await reading)[i - page * FAR_PAGE];
  }

  #forget(page: number): void {
    this.#far.delete(page);
    for (let i = page * FAR_PAGE; i < (page + 1) * FAR_PAGE; i += 1) this.#farRows.delete(i);
  }

  async #readFar(page: number): Promise<readonly DocRow[]> {
    const { db, collection, prefix, signal } = this.#options;
    const { value } = await ask<{ rows: readonly (readonly [string, number])[] }>(
      "POST",
      `${path("db", db)}/query/exec`,
      {
        body: {
          sql: `SELECT key, seq FROM documents WHERE ${IN_PREFIX} ORDER BY key LIMIT ?3 OFFSET ?4`,
          args: [collection, prefix, FAR_PAGE, page * FAR_PAGE],
        },
        signal,
      },
    );
    const rows = value.rows.map(([key, seq]) => ({
      doc: `${collection}/${key}`,
      collection,
      key,
      seq,
      heads: [],
    }));
    rows.forEach((row, i) => this.#farRows.set(page * FAR_PAGE + i, row));
    return rows;
  }

  async #read(): Promise<void> {
    const { db, collection, prefix, at, signal, onPage } = this.#options;
    while (!this.done && (this.rows.length < this.#wanted || this.rows.length === 0)) {
      const { value, headers } = await ask<Page>(
        "GET",
        `${path("db", db, "docs")}${query({
          collection: collection || undefined,
          prefix: prefix || undefined,
          at,
          limit: PAGE,
          cursor: this.#cursor,
        })}`,
        { signal },
      );
      this.rows.push(...value.docs);
      this.since ??= headers.get("skald-cursor");
      this.#cursor = value.cursor ?? undefined;
      this.done = value.cursor === null;
      onPage(this);
    }
  }
}

const IN_PREFIX = "collection = ?1 AND key >= ?2 AND key < ?2 || char(1114111)";

export interface Collection {
  readonly name: string;
  readonly documents: number;
}

/**
 * Collections with how many documents each has, by SQL where that may be read. Otherwise those of the first
 * thousand documents, without numbers.
 */
export async function collectionsOf(
  db: string,
  { bySql, at, signal }: { bySql: boolean; at: string | undefined; signal: AbortSignal },
): Promise<readonly Collection[]> {
  if (bySql) {
    const { value } = await ask<{ rows: readonly (readonly [string, number])[] }>(
      "POST",
      `${path("db", db)}/query/exec`,
      {
        body: {
          sql: "SELECT collection, count(*) FROM documents GROUP BY collection ORDER BY collection LIMIT 500",
          args: [],
          ...(at === undefined ? {} : { at }),
        },
        signal,
      },
    );
    return value.rows.map(([name, documents]) => ({ name, documents }));
  }
  const { docs } = await get<Page>(`${path("db", db, "docs")}${query({ limit: PAGE, at })}`, { signal });
  return [...new Set(docs.map(({ collection }) => collection))].map((name) => ({ name, documents: -1 }));
}

/** How many keys of a collection start with `prefix`. */
export async function countOf(
  db: string,
  { collection, prefix, at, signal }: Pick<DocRowsOptions, "collection" | "prefix" | "at" | "signal">,
): Promise<number> {
  const { value } = await ask<{ rows: readonly (readonly [number])[] }>(
    "POST",
    `${path("db", db)}/query/exec`,
    {
      body: {
        sql: `SELECT count(*) FROM documents WHERE ${IN_PREFIX}`,
        args: [collection, prefix],
        ...(at === undefined ? {} : { at }),
      },
      signal,
    },
  );
  return value.rows[0]?.[0] ?? 0;
}
