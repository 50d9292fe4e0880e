import type { Db } from "../db/db.ts";
import type { Edit } from "../documents/documents.ts";
import { isSkaldError, SkaldError } from "../errors.ts";
import { cidToString } from "../ids/cid.ts";
import { checkTxId } from "../ids/names.ts";
import { LIMITS } from "../limits.ts";
import type { Receipt, Unchanged } from "../log/log.ts";
import { wireArgs, type Args } from "./args.ts";
import type { WireArgs } from "./binding.ts";
import type { Bounds } from "./job.ts";
import type { DocumentEdit } from "./pending.ts";
import type { QueryProcesses } from "./processes.ts";
import type { HeldPlace, Place } from "./queries.ts";
import type { WriteJobRequest, WriteJobValue } from "./write-job.ts";

/** A statement of a batch. `values` are the arguments of each time that it is run, instead of `args` of one. */
export interface BatchStatement {
  readonly sql: string;
  readonly args?: Args;
  readonly values?: readonly Args[];
}

export interface WriteRequest {
  readonly statements: readonly BatchStatement[];
  /** The commit's. */
  readonly author: string;
  /** Whose bounds count: a token's id. */
  readonly principal: string;
  /** `main` when absent. */
  readonly branch?: string;
  readonly message?: string;
  /** Makes repeating safe: a second request with it is answered with the first one's commit, without rows. */
  readonly clientTxId?: string;
  /** Answer as if written, keep nothing. */
  readonly dryRun?: boolean;
}

/** What statements came to. */
export interface Written {
  /** The commit, or what the statements were run at when they changed nothing. */
  readonly seq: number;
  /** Of the commit at `seq`; null before the first. */
  readonly commit: string | null;
  /** It was written before, under the same client_tx_id; `affected` are then its documents, and there are no rows. */
  readonly duplicate: boolean;
  /** Rows that each statement changed. */
  readonly affected: readonly number[];
  /** JSON text, `[{"columns","types","rows","row_count"} or null, …]`: the rows that each statement gave. */
  readonly answers: string;
}

/** The tables of `main` to write on. */
export interface TablesToWrite {
  /** Runs work while nothing else writes to the file, which holds all but the last `behind` commits, none if absent. */
  alone<T>(work: (place: Place) => Promise<T>, behind?: number): Promise<T>;
}

export interface WritesOptions {
  readonly processes: Pick<QueryProcesses, "run">;
  readonly tables: (db: Db) => TablesToWrite;
  /** The file of another branch's head. */
  readonly at: (db: Db, point: { branch: string }) => Promise<HeldPlace>;
}

/**
 * Statements that write. They are tried in a process of their own on the tables as they are, in a transaction that is
 * undone; what they would have changed becomes edits of documents, all in one commit. The log takes it when nothing
 * that they looked at has changed since; else they are tried again. So every statement is as if it had been run alone
 * at the seq of its commit.
 */
export class Writes {
  readonly #options: WritesOptions;
  /** The last trial on each file of a branch. */
  readonly #busy = new Map<string, Promise<unknown>>();

  constructor(options: WritesOptions) {
    this.#options = options;
  }

  /**
   * Runs statements in one commit, all of them or none. Throws what refuses a statement or the commit, SQL_CONFLICT
   * when others kept changing what they look at, QUERY_LIMIT.
   */
  async run(db: Db, request: WriteRequest, bounds: Bounds, signal?: AbortSignal): Promise<Written> {
    const earlier = repeated(db, request);
    if (earlier) return earlier;
    const statements = runsOf(request.statements);
    const { world } = db.log;
    const attempt = async (tx: Db["tx"], behind = 0): Promise<Written | SkaldError> => {
      const job: WriteJobRequest = {
        file: "",
        statements,
        now: world.now(),
        random: Buffer.from(world.random(10)).toString("base64"),
        documents: LIMITS.tx.writes.value,
      };
      const { value, answers } = await this.#try(db, request, job, bounds, signal, behind);
      // What changes nothing is told as of now.
      if (behind > 0 && value.edits.length === 0) return again(value.seq);
      return commit(db, tx, request, value, answers);
    };
    let last: SkaldError | undefined;
    let shortest = Infinity;
    if ((request.branch ?? MAIN) === MAIN && statements.every(({ sql }) => PLAIN_INSERT.test(sql))) {
      // On what the file has: a load in many commits would wait for it to follow each of them, which is a third of
      // the time. What it lacks is found by the commit's condition; then, and whatever refuses it, it is tried as ever.
      const done = await attempt((tx) => db.tx(tx), BEHIND).catch((error: unknown) => forWhatItLacks(error));
      if (!isSkaldError(done)) return done;
    }
    for (let tries = 0; tries < FREE_TRIES; tries += 1) {
      const began = world.monotonic();
      const done = await attempt((tx) => db.tx(tx));
      if (!isSkaldError(done)) return done;
      last = done;
      shortest = Math.min(shortest, world.monotonic() - began);
    }
    // What takes long would hold everybody up, and lose all the same.
    if (shortest <= HOLD_MS / 2) {
      const done = await db.inTurn(HOLD_MS, async (tx) => {
        for (let tries = 0; ; tries += 1) {
          const tried = await attempt(tx);
          if (!isSkaldError(tried) || tries === HELD_TRIES) return tried;
        }
      });
      if (!isSkaldError(done)) return done;
      last = done;
    }
    throw last as SkaldError;
  }

  async #try(
    db: Db,
    { branch = MAIN, principal }: WriteRequest,
    job: WriteJobRequest,
    bounds: Bounds,
    signal: AbortSignal | undefined,
    behind: number,
  ): Promise<{ value: WriteJobValue; answers: string }> {
    const on = async ({ file }: Place): Promise<{ value: WriteJobValue; answers: string }> => {
      const { body, ...value } = await this.#options.processes.run<WriteJobValue>(
        { kind: "write", principal, request: { ...job, file } },
        bounds,
        signal,
      );
      return { value, answers: body.toString() };
    };
    if (branch === MAIN) return this.#options.tables(db).alone(on, behind);
    const place = await this.#options.at(db, { branch });
    const before = this.#busy.get(place.file);
    const turn = (before ?? Promise.resolve()).then(() => on(place));
    const settled = turn.catch(() => {});
    this.#busy.set(place.file, settled);
    try {
      return await turn;
    } finally {
      if (this.#busy.get(place.file) === settled) this.#busy.delete(place.file);
      place.release?.();
    }
  }
}

/** Commits what statements came to; gives the conflict when what they looked at has changed. */
async function commit(
  db: Db,
  tx: Db["tx"],
  request: WriteRequest,
  { seq, edits, collections, affected }: WriteJobValue,
  answers: string,
): Promise<Written | SkaldError> {
  const { author, branch, message, clientTxId, dryRun } = request;
  const unchanged: Unchanged = {
    since: seq,
    collections,
    ...(collections === "all" ? {} : { docs: docsBeside(edits, collections) }),
  };
  if (edits.length === 0) {
    const at = db.log.commit(seq);
    const address = at ? cidToString(at.cid) : null;
    return { seq, commit: address, duplicate: false, affected, answers };
  }
  let receipt: Receipt;
  try {
    receipt = await tx({
      author,
      unchanged,
      writes: edits.map((edit) => writeOf(edit)),
      ...(branch === undefined ? {} : { branch }),
      ...(message === undefined ? {} : { message }),
      ...(clientTxId === undefined ? {} : { clientTxId }),
      ...(dryRun === undefined ? {} : { dryRun }),
    });
  } catch (error) {
    // Whatever else it was refused for may be for what others did meanwhile.
    return conflictIn(db, unchanged, branch) ?? asConflict(error);
  }
  if (receipt.duplicate) {
    const earlier = repeated(db, request);
    if (earlier) return earlier;
  }
  return { seq: receipt.seq, commit: receipt.commit, duplicate: false, affected, answers };
}

function again(seq: number): SkaldError {
  return new SkaldError("SQL_CONFLICT", `At seq ${seq} it changed nothing.`, { details: { since: seq } });
}

/** What a statement may be refused with for what its file lacks. */
function forWhatItLacks(error: unknown): SkaldError {
  if (isSkaldError(error) && /^SQL_(?:CONSTRAINT|CONFLICT|ERROR)$/.test(error.code)) return error;
  throw error;
}

function asConflict(error: unknown): SkaldError {
  if (isSkaldError(error) && error.code === "SQL_CONFLICT") return error;
  throw error;
}

function conflictIn(db: Db, unchanged: Unchanged, branch: string | undefined): SkaldError | undefined {
  try {
    db.log.checkUnchanged(unchanged, branch);
    return undefined;
  } catch (error) {
    return isSkaldError(error) && error.code === "SQL_CONFLICT" ? error : undefined;
  }
}

/** The documents that are written outside of collections that were looked at as a whole. */
function docsBeside(edits: readonly DocumentEdit[], collections: readonly string[]): string[] {
  const whole = new Set(collections);
  return edits.map(([doc]) => doc).filter((doc) => !whole.has(doc.slice(0, doc.indexOf("/"))));
}

type TxWrites = Parameters<Db["tx"]>[0]["writes"];

function writeOf([doc, kind, text]: DocumentEdit): TxWrites[number] {
  if (kind === "delete") return { doc, delete: true };
  const edit: Edit = kind === "put" ? { kind, value: text } : { kind, patch: text };
  return { doc, edit };
}

/** The answer of a request that was written before. Throws TX_ID_REUSED, NAME_INVALID. */
export function repeated(
  db: Db,
  { author, clientTxId, branch = MAIN, statements }: WriteRequest,
): Written | undefined {
  if (clientTxId === undefined) return undefined;
  const seq = db.log.answers.receipt(author, checkTxId(clientTxId));
  const stored = seq === undefined ? undefined : db.log.commit(seq);
  if (seq === undefined || !stored) return undefined;
  const { commit: written, cid } = stored;
  if (written.branch !== branch)
    throw new SkaldError("TX_ID_REUSED", `The client_tx_id ${clientTxId} was used for something else.`, {
      details: { seq, commit: cidToString(cid) },
    });
  const answers = JSON.stringify(statements.map(() => null));
  return { seq, commit: cidToString(cid), duplicate: true, affected: [written.entries.length], answers };
}

/** The statements as they go to the process. Throws TOO_LARGE, BAD_REQUEST. */
export function runsOf(statements: readonly BatchStatement[]): WriteJobRequest["statements"] {
  const { batchStatements, batchRuns } = LIMITS.sql;
  if (statements.length === 0) throw new SkaldError("BAD_REQUEST", "There is no statement.");
  checkMost("statements of a batch", statements.length, batchStatements.value);
  const runs = statements.reduce((sum, { values }) => sum + (values?.length ?? 1), 0);
  checkMost("runs of a batch's statements", runs, batchRuns.value);
  return statements.map(({ sql, args, values }) => {
    if (args !== undefined && values !== undefined)
      throw new SkaldError("BAD_REQUEST", "A statement has `args` or `values`, not both.");
    return { sql, runs: values ? values.map((one): WireArgs => wireArgs(one)) : [wireArgs(args)] };
  });
}

function checkMost(what: string, count: number, max: number): void {
  if (count <= max) return;
  throw new SkaldError("TOO_LARGE", `At most ${max} ${what}, not ${count}.`, { details: { max } });
}

const MAIN = "main";
/** Of values alone, as far as its words tell; one that is more than that is refused by the commit's condition. */
const PLAIN_INSERT = /^\s*INSERT\s+INTO\b(?![^]*\bSELECT\b)/i;
/** Commits that a file may lack for such a trial; each is looked at for what it touched. */
const BEHIND = 64;
/** Tries while others go on. */
const FREE_TRIES = 5;
/** Further tries while others are held off: they lose only to who had begun before. */
const HELD_TRIES = 3;
/** How long others are held off at most. */
const HOLD_MS = 2000;
