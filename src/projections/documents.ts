import { isSkaldError } from "../errors.ts";
import { MAIN } from "../log/branches.ts";
import type { Log } from "../log/log.ts";
import type { DocumentRow, Views } from "../store/sqlite-views.ts";
import { nextTurn } from "../world.ts";
import { severalAtOnce } from "./several.ts";

/**
 * The `documents` projection: every document's JSON as of one seq of the log.
 *
 * It follows the log in batches: however many commits touched a document since the last batch, it is
 * read once. A row is a function of the log alone, so dropping the table and following the log from
 * the start gives the same rows. The rows and the seq they hold for are written together.
 */
export class DocumentsProjection {
  readonly #log: Log;
  readonly #views: Views;
  readonly #source: DocumentsSource;
  #running: Promise<void> | undefined;
  #stopTimer: (() => void) | undefined;
  #waitingSince = 0;
  /** New documents since the last batch began of which the JSON is at hand. */
  #fresh = 0;
  #closed = false;

  constructor(log: Log, views: Views, source: DocumentsSource) {
    this.#log = log;
    this.#views = views;
    this.#source = source;
  }

  /** The seq up to which every commit is in. */
  head(): number {
    return this.#views.head();
  }

  /** Counts a new document, the JSON of which is known for now. */
  noteFresh(): void {
    this.#fresh += 1;
  }

  /**
   * Follows the log before long: once writers have paused, or after LAG_MS. Writers
   * come first, because a burst of commits to one document costs one read of it however late. But documents that are
   * new are read once anyway, and many of them while that costs nothing.
   */
  schedule(): void {
    if (this.#closed || this.#running) return;
    const { world } = this.#log;
    const now = world.monotonic();
    if (!this.#stopTimer) this.#waitingSince = now;
    else if (now - this.#waitingSince > LAG_MS) return;
    else this.#stopTimer();
    this.#stopTimer = world.timer(this.#fresh >= FRESH_DOCS ? 0 : PAUSE_MS, () => {
      this.#stopTimer = undefined;
      this.catchUp().catch(this.#source.onError);
    });
  }

  /** Resolves when the projection holds at least everything that was in the log at the call. */
  async catchUp(onProgress?: (seq: number, of: number) => void): Promise<void> {
    const target = this.#log.head().seq;
    while (!this.#closed && this.head() < target) {
      this.#running ??= this.#batch().finally(() => {
        this.#running = undefined;
        if (this.head() < this.#log.head().seq) this.schedule();
      });
      await this.#running;
      onProgress?.(this.head(), target);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stopTimer?.();
    await this.#running?.catch(() => {});
  }

  async #batch(): Promise<void> {
    this.#fresh = 0;
    const from = this.head() + 1;
    const { docs, upTo } = this.#few(from) ?? (await this.#scan(from));
    // One commit may write more documents than the threads may have waiting.
    const read = await severalAtOnce(
      [...docs],
      READ_AT_ONCE,
      async (doc) => this.#known(doc, upTo) ?? this.#row(doc, upTo),
    );
    // One that was erased while it was read.
    const rows = read.map((row) => (this.#isErased(row.name) ? withoutValue(row) : row));
    if (!this.#closed) this.#views.write(rows, upTo);
  }

  /** The documents touched from `from` to the head, when they are few: the catalog knows them without reading the log. */
  #few(from: number): { docs: Iterable<string>; upTo: number } | undefined {
    const docs = this.#log.touchedSince(from, BATCH_DOCS + 1);
    return docs.length > BATCH_DOCS ? undefined : { docs, upTo: this.#log.head().seq };
  }

  /** Else as many commits from `from` on as touch a batch of documents. */
  async #scan(from: number): Promise<{ docs: Iterable<string>; upTo: number }> {
    const docs = new Set<string>();
    let upTo = from - 1;
    // A batch ends between commits: the rows of one commit are never split.
    scan: for (let size = FIRST_PAGE; ; size = Math.min(2 * size, PAGE)) {
      const page = this.#log.commits(upTo + 1, size);
      if (page.length === 0) break;
      for (const { commit } of page) {
        if (docs.size >= BATCH_DOCS) break scan;
        if (commit.branch === MAIN) for (const entry of commit.entries) docs.add(entry.doc);
        upTo = commit.seq;
      }
      await nextTurn(this.#log.world);
    }
    return { docs, upTo };
  }

  #isErased(doc: string): boolean {
    return this.#log.erasedAt(doc) !== undefined;
  }

  /** The row of a document that nothing has to be read for. */
  #known(doc: string, upTo: number): DocumentRow | undefined {
    const known = this.#source.known(doc);
    if (!known || known.seq > upTo) return undefined;
    return { name: doc, seq: known.seq, deleted: false, json: known.json, problem: undefined };
  }

  async #row(doc: string, upTo: number): Promise<DocumentRow> {
    const seen = await this.#source.look(doc);
    const point = this.#log.stateAt(doc, upTo);
    if (!point) throw new Error(`${doc} was touched at or before ${upTo} but has no state there`);
    const { seq } = point;
    const deleted = point.deleted || this.#isErased(doc);
    if (deleted) return { name: doc, seq, deleted, json: undefined, problem: undefined };
    if (seen.seq === seq && seen.json !== undefined)
      return { name: doc, seq, deleted, json: seen.json, problem: undefined };
    for (let tries = 1; ; tries += 1) {
      try {
        return { name: doc, seq, deleted, json: await this.#source.read(doc, point), problem: undefined };
      } catch (error) {
        if (isSkaldError(error) && error.code === "ERASED")
          return { name: doc, seq, deleted: true, json: undefined, problem: undefined };
        // Only what the document itself is to blame for becomes part of the projection.
        if (!isSkaldError(error) || !UNREADABLE.has(error.code)) throw error;
        // A thread may also end or stand still for no fault of what it was at.
        if (error.code !== "DOC_UNREADABLE" && tries === 1) continue;
        return { name: doc, seq, deleted, json: undefined, problem: error.code };
      }
    }
  }
}

function withoutValue({ name, seq }: DocumentRow): DocumentRow {
  return { name, seq, deleted: true, json: undefined, problem: undefined };
}

/** Where the projection has documents from. */
export interface DocumentsSource {
  /** The newest JSON of a document and its commit, when both are at hand and there is no reason to look at it. */
  readonly known: (doc: string) => { readonly seq: number; readonly json: string } | undefined;
  /**
   * Called before a document is read: it may set changes of it aside, and read it on the way. `json` is then the
   * document as it was after commit `seq`.
   */
  readonly look: (doc: string) => Promise<{ readonly seq?: number; readonly json?: string }>;
  readonly read: (doc: string, point: { seq: number; heads: readonly string[] }) => Promise<string>;
  readonly onError: (error: unknown) => void;
}

const UNREADABLE: ReadonlySet<string> = new Set(["DOC_UNREADABLE", "WORK_TIMEOUT", "WORK_FAILED"]);
const BATCH_DOCS = 200;
const PAGE = 500;
/** Commits read at first: they may be of a thousand documents each. */
const FIRST_PAGE = 16;
const READ_AT_ONCE = 64;
/** New documents after which a batch does not wait for a pause. */
const FRESH_DOCS = 4096;
const PAUSE_MS = 150;
const LAG_MS = 10_000;
