import type { Db } from "../db/db.ts";
import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Place } from "../tables/tables.ts";
import { wireArgs, type Args } from "./args.ts";
import type { Bounds } from "./job.ts";
import type { Names, NamesRequest } from "./names-job.ts";
import { Near } from "./near.ts";
import type { HeldProcess, QueryProcesses } from "./processes.ts";
import type { ReadRequest, ReadValue } from "./read-job.ts";
import type { RowsRequest, RowsValue } from "./rows-job.ts";
import { classify, type Classified, type StatementKind } from "./statement.ts";

export type { Place } from "../tables/tables.ts";

/** A place that is kept until it is released. */
export interface HeldPlace extends Place {
  /** Whether the file may go on to a later seq before it is read. */
  readonly moves?: boolean;
  release?(): void;
  /** Told when the file cannot be read. */
  broken?(): void;
}

/** What a statement is run against, of one db. */
export interface TablesToRead {
  /** That of `main`, with everything that was in the log at the call. */
  current(): Promise<HeldPlace>;
}

export interface Statement {
  readonly sql: string;
  /** For its parameters: a list, or by name. */
  readonly args?: Args;
  /** Another state than that of `main` now: as everywhere, a branch, and on it a seq, a commit or a time. */
  readonly branch?: string;
  readonly at?: string;
  readonly author: string;
  /** Whose bounds count: a token's id. */
  readonly principal: string;
  readonly message?: string;
  /** Of a write: makes repeating safe, see `WriteRequest`. */
  readonly clientTxId?: string;
  /** Of a write: answer as if written, keep nothing. */
  readonly dryRun?: boolean;
  readonly bounds?: Partial<Bounds>;
}

export interface Executed {
  readonly kind: StatementKind;
  readonly seq: number;
  /** The whole answer as JSON text, made where the statement ran. */
  readonly json: Uint8Array | string;
}

export interface StreamedRows {
  readonly seq: number;
  readonly columns: readonly string[];
  /** Text in the format that was asked for, CSV with its head. Ending it early ends the work. */
  readonly pages: AsyncIterable<Uint8Array>;
}

/** How a statement that changes something is carried out. */
export type Carry = (
  db: Db,
  statement: Statement,
  classified: Classified,
  bounds: Bounds,
  signal: AbortSignal | undefined,
) => Promise<{ readonly seq: number; readonly json: Uint8Array | string }>;

export interface QueriesOptions {
  readonly processes: QueryProcesses;
  readonly tables: (db: Db) => TablesToRead;
  /** The file of another state than the present one of `main`. */
  readonly at: (
    db: Db,
    point: { branch?: string; at?: string },
    options?: { readonly exact?: boolean },
  ) => Promise<HeldPlace>;
  readonly write: Carry;
  readonly schema: Carry;
}

/** Statements of others on a db: classified here, run elsewhere. */
export class Queries {
  readonly #options: QueriesOptions;
  /** Kinds of statements that were seen, so that a repeated one is not taken apart again. */
  readonly #seen = new Map<string, Classified>();
  readonly #near = new Near();
  readonly #closers = new WeakSet<Db>();

  constructor(options: QueriesOptions) {
    this.#options = options;
  }

  /** What a statement wants, before anything is asked of a db. Throws as `classify` does. */
  classify(sql: string): Classified {
    const known = this.#seen.get(sql);
    if (known !== undefined) return known;
    const classified = classify(sql);
    if (this.#seen.size >= SEEN) {
      const [oldest] = this.#seen.keys();
      this.#seen.delete(oldest as string);
    }
    this.#seen.set(sql, classified);
    return classified;
  }

  /** Runs one statement. Throws SQL_ERROR, SQL_NOT_ALLOWED, QUERY_LIMIT, QUERY_BUSY, and what writing throws. */
  async exec(db: Db, statement: Statement, gone?: Gone): Promise<Executed> {
    const classified = this.classify(statement.sql);
    const { kind } = classified;
    const bounds = boundsOf(statement.bounds);
    if (kind === "write" || kind === "schema") {
      if (statement.at !== undefined)
        throw new SkaldError(
          "SQL_NOT_ALLOWED",
          "A past state is only read: leave `at` out, or make a branch there.",
        );
      const carry = kind === "write" ? this.#options.write : this.#options.schema;
      return { kind, ...(await carry(db, statement, classified, bounds, signalOf(gone))) };
    }
    const args = wireArgs(statement.args);
    const { sql, principal } = statement;
    return this.#reading(db, statement, async ({ file, life }) => {
      const request: ReadRequest = { file, sql, args };
      const here = kind === "read" && isPresent(statement);
      const near = here ? this.#near.read(request, life, bounds) : undefined;
      if (near !== undefined) return { kind, seq: near.seq, json: near.body };
      const { seq, body, bounded } = await this.#options.processes.run<ReadValue>(
        { kind: "read", principal, request },
        bounds,
        signalOf(gone),
      );
      if (here && bounded) this.#learn(db, file, sql);
      return { kind, seq, json: body };
    });
  }

  /** From now on the server answers it, with a connection for as long as the db is open. */
  #learn(db: Db, file: string, sql: string): void {
    this.#near.learn(sql);
    if (this.#closers.has(db)) return;
    this.#closers.add(db);
    db.onClose(() => this.#near.release(file));
  }

  /** Ends what is open here; the processes are closed by themselves. */
  close(): void {
    this.#near.close();
  }

  /**
   * The rows of a statement that reads as they come, in one state however long that takes. Its bounds are those that
   * are given: a long answer has its own. Throws what refuses the statement; the pages throw what comes later.
   */
  async stream(
    db: Db,
    statement: Statement & { readonly format: "csv" | "ndjson" },
    signal?: AbortSignal,
  ): Promise<StreamedRows> {
    const { kind } = this.classify(statement.sql);
    if (kind === "write" || kind === "schema")
      throw new SkaldError("SQL_NOT_ALLOWED", "Only a statement that reads is answered row by row.");
    const { sql, principal, format } = statement;
    const args = wireArgs(statement.args);
    const bounds = boundsOf(statement.bounds);
    return this.#reading(
      db,
      statement,
      async ({ file }) => {
        const held = this.#options.processes.hold(bounds, signal);
        try {
          const request: RowsRequest = { file, sql, args, format };
          const first = await held.run<RowsValue>({ kind: "rows", principal, request });
          return { seq: first.seq, columns: first.columns, pages: pagesOf(held, principal, first) };
        } catch (error) {
          held.release(false);
          throw error;
        }
      },
      statement.at !== undefined,
    );
  }

  /** Tables, views, columns and indexes that a statement can name, as they are now. */
  names(db: Db, principal: string, point: Pick<Statement, "branch" | "at"> = {}): Promise<Names> {
    return this.#reading(db, point, async ({ file }) => {
      const request: NamesRequest = { file };
      const { seq, tables } = await this.#options.processes.run<Names>(
        { kind: "names", principal, request },
        boundsOf(),
      );
      return { seq, tables };
    });
  }

  /**
   * The file may be replaced between finding and opening it: then it is asked for again, once. Who names a point is
   * answered from exactly that, also when it is where `main` was a moment ago; `exact` asks for that at once.
   */
  async #reading<T extends { readonly seq: number }>(
    db: Db,
    statement: Pick<Statement, "branch" | "at">,
    work: (place: HeldPlace) => Promise<T>,
    exact = false,
  ): Promise<T> {
    for (let tries = 0; ; tries += 1) {
      const place = await this.#place(db, statement, exact);
      try {
        const done = await work(place);
        if (statement.at === undefined || place.moves !== true || done.seq === place.seq) return done;
        exact = true;
      } catch (error) {
        if (tries > 0 || (error as { code?: unknown }).code !== "DERIVED_DAMAGED") throw error;
        place.broken?.();
      } finally {
        place.release?.();
      }
    }
  }

  #place(db: Db, { branch, at }: Pick<Statement, "branch" | "at">, exact: boolean): Promise<HeldPlace> {
    if (isPresent({ branch, at })) return this.#options.tables(db).current();
    const point = { ...(branch === undefined ? {} : { branch }), ...(at === undefined ? {} : { at }) };
    return this.#options.at(db, point, { exact });
  }
}

/**
 * Tells when nobody waits for the answer any more. A caller gives what has the signal, where making one costs
 * something: it is asked for when the work goes to a process.
 */
export type Gone = AbortSignal | { readonly signal: AbortSignal };

function signalOf(gone: Gone | undefined): AbortSignal | undefined {
  return gone && "signal" in gone ? gone.signal : gone;
}

/** Whether it reads the state that `main` has now. */
function isPresent({ branch, at }: { branch?: string | undefined; at?: string | undefined }): boolean {
  return (branch === undefined || branch === "main") && at === undefined;
}

/** Statements that are remembered, each with its tokens. */
const SEEN = 500;

export function boundsOf(asked: Partial<Bounds> = {}): Bounds {
  const { ms, rows, bytes } = LIMITS.sql;
  return {
    ms: asked.ms ?? ms.value,
    rows: asked.rows ?? rows.value,
    bytes: asked.bytes ?? bytes.value,
  };
}

async function* pagesOf(
  held: HeldProcess,
  principal: string,
  first: RowsValue & { body: Buffer },
): AsyncGenerator<Uint8Array> {
  let page = first;
  try {
    yield page.body;
    while (!page.done) {
      page = await held.run<RowsValue>({
        kind: "rows",
        principal,
        request: { next: true } satisfies RowsRequest,
      });
      yield page.body;
    }
  } finally {
    held.release(page.done);
  }
}
