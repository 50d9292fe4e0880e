import { SeqWindow } from "./seq-window.ts";
import type { Commit, Touch } from "./timeline.ts";

/** `get` of `api.ts`, handed in so that this can be tried against a server without a page. */
export type Get = <T>(path: string, options?: { readonly signal?: AbortSignal | undefined }) => Promise<T>;

/**
 * The commits of a db by their number, of all branches, so that there are no gaps: row `seq - 1` is the commit `seq`.
 * A page of the API ends early when its commits are large; then the rest is asked for.
 */
export function commitsOf(get: Get, db: string): SeqWindow<Commit> {
  const base = `db/${encodeURIComponent(db)}/commits?branch=*`;
  return new SeqWindow<Commit>(async (first, count, signal) => {
    const rows: Commit[] = [];
    while (rows.length < count) {
      const since = first + rows.length;
      const { commits } = await get<{ commits: Commit[] }>(
        `${base}&since=${since}&limit=${count - rows.length}`,
        {
          signal,
        },
      );
      rows.push(...commits);
      if (commits.length === 0) break;
    }
    return rows;
  });
}

const PAGE = 500;

/** The commits that touched a document, newest first, loaded from the newest on as far as somebody looks. */
export class Touches {
  readonly #get: Get;
  readonly #path: string;
  readonly rows: Touch[] = [];
  #cursor: string | null | undefined;
  #loading: Promise<void> | undefined;

  /** `doc` is `collection/key`. */
  constructor(get: Get, db: string, doc: string, branch: string | undefined) {
    const slash = doc.indexOf("/");
    const [collection, key] = [doc.slice(0, slash), doc.slice(slash + 1)].map(encodeURIComponent);
    const on = branch === undefined ? "" : `&branch=${encodeURIComponent(branch)}`;
    this.#get = get;
    this.#path = `db/${encodeURIComponent(db)}/docs/${collection}/${key}/history?limit=${PAGE}${on}`;
  }

  /** Whether there are older ones than are loaded. */
  get more(): boolean {
    return this.#cursor !== null;
  }

  /** Loads one page more. Those who ask at the same time share it. */
  load(signal?: AbortSignal): Promise<void> {
    this.#loading ??= this.#next(signal).finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }

  async #next(signal: AbortSignal | undefined): Promise<void> {
    if (this.#cursor === null) return;
    const from = this.#cursor === undefined ? "" : `&cursor=${encodeURIComponent(this.#cursor)}`;
    const page = await this.#get<{ history: Touch[]; cursor: string | null }>(this.#path + from, { signal });
    this.rows.push(...page.history);
    this.#cursor = page.cursor;
  }
}
