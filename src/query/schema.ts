import type { Db } from "../db/db.ts";
import { writeEvents } from "../db/write-events.ts";
import { isSkaldError } from "../errors.ts";
import { cidToString } from "../ids/cid.ts";
import { SCHEMA_CHANGE } from "../log/schema-events.ts";
import type { Bounds } from "./job.ts";
import type { QueryProcesses } from "./processes.ts";
import type { SchemaJobRequest, SchemaJobValue } from "./schema-job.ts";
import { repeated, type WriteRequest, type Written } from "./writes.ts";

export type SchemaRequest = Omit<WriteRequest, "statements"> & { readonly sql: string };

/**
 * Makes one statement of a schema a commit of the branch. It is tried on the statements before it, and the log takes it
 * when there are no others by then. Throws what refuses the statement or the commit, SQL_CONFLICT when others kept
 * changing the schema.
 */
export async function changeSchema(
  processes: Pick<QueryProcesses, "run">,
  db: Db,
  request: SchemaRequest,
  bounds: Bounds,
  signal?: AbortSignal,
): Promise<Written> {
  const { sql, author, principal, branch, message, clientTxId, dryRun } = request;
  const earlier = repeated(db, { ...request, statements: [{ sql }] });
  if (earlier) return { ...earlier, affected: [0] };
  for (let tries = 1; ; tries += 1) {
    const { seq, cid } = db.log.head();
    const job: SchemaJobRequest = { before: db.log.schemaAt(branch, seq), sql };
    const tried = await processes.run<SchemaJobValue>(
      { kind: "schema", principal, request: job },
      bounds,
      signal,
    );
    const nothing = { duplicate: false, affected: [0], answers: "[null]" };
    if (!tried.changes) return { seq, commit: cid ? cidToString(cid) : null, ...nothing };
    try {
      const receipt = await writeEvents(db, {
        author,
        events: [{ type: SCHEMA_CHANGE, sql }],
        unchanged: { since: seq, collections: [] },
        ...(branch === undefined ? {} : { branch }),
        ...(message === undefined ? {} : { message }),
        ...(clientTxId === undefined ? {} : { clientTxId }),
        ...(dryRun === undefined ? {} : { dryRun }),
      });
      return { seq: receipt.seq, commit: receipt.commit, ...nothing, duplicate: receipt.duplicate };
    } catch (error) {
      if (!isSkaldError(error) || error.code !== "SQL_CONFLICT" || tries === MAX_TRIES) throw error;
    }
  }
}

/** Somebody else has to change the schema each time for one more try to be needed. */
const MAX_TRIES = 8;
