import { ask, get, path, query } from "./api.ts";

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
  /** Called with every page that came. */
  readonly onPage: (rows: DocRows) => void;
}

const PAGE = 1000;

/**
 * Documents by name, read page by page as far as anybody looks; all of one point in time. Whoever asks for a row
 * far down waits for the pages before it, which are asked for one after the other and only once.
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

  constructor(options: DocRowsOptions) {
    this.#options = options;
  }

  /** Rejects as the request did. */
  async row(i: number): Promise<DocRow | undefined> {
    this.#wanted = Math.max(this.#wanted, i + 1);
    while (!this.done && this.rows.length <= i) {
      this.#reading ??= this.#read().finally(() => (this.#reading = undefined));
      await this.#reading;
    }
    return this.rows[i];
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
        sql: "SELECT count(*) FROM documents WHERE collection = ?1 AND key >= ?2 AND key < ?2 || char(1114111)",
        args: [collection, prefix],
        ...(at === undefined ? {} : { at }),
      },
      signal,
    },
  );
  return value.rows[0]?.[0] ?? 0;
}
