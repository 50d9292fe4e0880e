import { SkaldError } from "../errors.ts";
import { checkTxId } from "../ids/names.ts";
import { LIMITS } from "../limits.ts";
import { encodeSchemaEvent, QUERY_SAVE, SCHEMA_CHANGE, type SchemaEvent } from "../log/schema-events.ts";
import type { Receipt, Unchanged } from "../log/log.ts";
import type { Db } from "./db.ts";
import { checkCount } from "./write.ts";

export type { SchemaEvent } from "../log/schema-events.ts";

export interface EventsRequest {
  readonly author: string;
  readonly events: readonly SchemaEvent[];
  /** The branch whose schema changes; `main` when absent. Stored statements are the db's, whichever branch it is. */
  readonly branch?: string;
  readonly message?: string;
  readonly clientTxId?: string;
  readonly expectSeq?: number;
  /** Refuse with SQL_CONFLICT when what the statements were tried on has changed. */
  readonly unchanged?: Unchanged;
  /** Answer as if written, keep nothing. */
  readonly dryRun?: boolean;
}

/**
 * Writes statements of the schema and stored statements: one commit that has nothing else. The SQL is not looked at.
 * Throws NAME_INVALID, BAD_REQUEST, TOO_LARGE beyond the limits, and what `Log.write` throws.
 */
export async function writeEvents(db: Db, request: EventsRequest): Promise<Receipt> {
  const { author, branch, message, clientTxId = "", expectSeq, unchanged, dryRun } = request;
  if (clientTxId !== "") checkTxId(clientTxId);
  if (request.events.length === 0) throw new SkaldError("TX_EMPTY", "The commit has no events.");
  if ((message?.length ?? 0) > LIMITS.tx.messageCharacters.value)
    throw new SkaldError(
      "BAD_REQUEST",
      `A message has at most ${LIMITS.tx.messageCharacters.value} characters.`,
    );
  // Of one that was written already the log gives the first receipt, however many there are by now.
  const isRepeat = clientTxId !== "" && db.log.answers.receipt(author, clientTxId) !== undefined;
  const tx = {
    author,
    clientTxId,
    writes: [],
    events: isRepeat ? request.events.map(encodeSchemaEvent) : schemaEventBytes(db, request.events, branch),
    ...(branch === undefined ? {} : { branch }),
    ...(message === undefined ? {} : { message }),
    ...(expectSeq === undefined ? {} : { expectSeq }),
    ...(unchanged === undefined ? {} : { unchanged }),
  };
  return dryRun ? db.log.dryRun(tx) : await db.log.write(tx);
}

/**
 * The bytes of events, for whoever writes them together with documents. A branch takes so many statements and the db so
 * many stored ones as the limits say; whoever counts on an exact number holds the head with `expectSeq`, since others may
 * write meanwhile, and what comes beyond the limit does not count. Throws as `writeEvents`.
 */
export function schemaEventBytes(db: Db, events: readonly SchemaEvent[], branch?: string): Uint8Array[] {
  const { statements, stored } = LIMITS.schema;
  const changes = events.filter(({ type }) => type === SCHEMA_CHANGE).length;
  if (changes > 0) {
    const there = db.log.schemaAt(branch, db.log.head().seq).length;
    checkCount("schema statements of a branch", there + changes, statements.value);
  }
  const saved = events.filter((event) => event.type === QUERY_SAVE).map(({ name }) => name);
  if (saved.length > 0) {
    const names = new Set([...db.log.statements().map(({ name }) => name), ...saved]);
    checkCount("stored statements of a db", names.size, stored.value);
  }
  return events.map(encodeSchemaEvent);
}
