/**
 * Every refusal Skald makes is a SkaldError with a code from the table below. Codes are part of the
 * public surface: they never change their meaning and are never reused.
 */

/** HTTP status and default hint of each stable code. Grouped by the folder that raises them. */
export const ERROR_CODES = {
  // requests
  BAD_REQUEST: { status: 400, hint: "Compare the request with the OpenAPI document at /api/openapi.json." },
  BAD_JSON: { status: 400, hint: "Send one JSON value in UTF-8." },
  BAD_CBOR: { status: 400, hint: "Send one map in CBOR, as specs/05-http.md describes." },
  NAME_INVALID: { status: 400, hint: "See specs/01-ids.md for what a name may hold." },
  POINT_INVALID: { status: 400, hint: "`at` takes a seq, a commit CID or an RFC 3339 time." },
  POINT_IN_FUTURE: { status: 400, hint: "The db has not got that far; its last seq is in `seq`." },
  PATH_INVALID: { status: 400, hint: "A path is a JSON pointer (RFC 6901), such as /a/b/0." },
  UNAUTHENTICATED: {
    status: 401,
    hint: "Send `Authorization: Bearer <token>`; `skald token create` makes one.",
  },
  CAPABILITY_INVALID: {
    status: 401,
    hint: "`reason` says what is wrong with it; see specs/30-capabilities.md.",
  },
  TICKET_INVALID: { status: 401, hint: "POST /api/v1/tickets gives a fresh one." },
  TOKEN_IN_URL: {
    status: 400,
    hint: "Send it as `Authorization: Bearer`, or put a ticket of POST /api/v1/tickets into `?ticket=`.",
  },
  FORBIDDEN: { status: 403, hint: "The token lacks the action for this db or resource." },
  NOT_FOUND: { status: 404, hint: "GET /docs lists the routes." },
  METHOD_NOT_ALLOWED: { status: 405, hint: "The `Allow` header lists the methods of this route." },
  NOT_ACCEPTABLE: { status: 406, hint: "The detail lists the media types this route can answer with." },
  PRECONDITION_FAILED: { status: 412, hint: "The document changed; read it again and repeat with its ETag." },
  REQUEST_TIMEOUT: {
    status: 408,
    hint: "Send the whole request within the time that specs/12-limits.md names.",
  },
  URL_TOO_LONG: { status: 414, hint: "The detail names the limit; ask for less at once." },
  HEAD_TOO_LARGE: { status: 431, hint: "The detail names the limit; send fewer or shorter header fields." },
  TOO_LARGE: { status: 413, hint: "The detail names the limit; split the request." },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, hint: "The detail lists the media types this route takes." },
  RATE_LIMITED: { status: 429, hint: "Wait for the seconds in Retry-After." },
  INTERNAL: { status: 500, hint: "The log has the cause under the request id." },
  UNAVAILABLE: { status: 503, hint: "Try again in a moment." },
  // dbs
  DB_NOT_FOUND: {
    status: 404,
    hint: "PUT /api/v1/db/<db_id> creates it; GET /api/v1/db lists those you may see.",
  },
  DB_EXISTS: { status: 409, hint: "Choose another id, or delete the db first." },
  DB_CONFIRM: { status: 400, hint: "Deleting a db needs ?confirm=<its id>." },
  DB_MISSING: {
    status: 503,
    hint: "The db is registered but its file is gone; put the file back or delete the db.",
  },
  DB_FOREIGN: { status: 503, hint: "The file was not written by Skald; nothing in it was touched." },
  DB_NEWER: { status: 503, hint: "A newer Skald wrote this file; start that version." },
  DB_DAMAGED: { status: 503, hint: "Run `skald verify` to see what is wrong, then restore from a backup." },
  DERIVED_DAMAGED: {
    status: 503,
    hint: "What is derived from the log is dropped and made anew on the next use; the log is not touched.",
  },
  DIR_IN_USE: {
    status: 503,
    hint: "Another Skald runs on this directory; stop it, or give --dir another path.",
  },
  STORAGE_FULL: {
    status: 507,
    hint: "Free space on the disk; nothing was kept of this write and no restart is needed.",
  },
  STORAGE_FAILED: {
    status: 503,
    hint: "The disk reported an error; the outcome of this write is unknown until the restart: repeat it with the same client_tx_id.",
  },
  // documents
  DOC_NOT_FOUND: { status: 404, hint: "PUT creates it." },
  DOC_TOO_LARGE: { status: 413, hint: "Split the document; the detail names the limit." },
  DOC_UNREADABLE: {
    status: 500,
    hint: "Its changes do not load; `skald verify` names the one that is wrong.",
  },
  VALUE_INVALID: {
    status: 422,
    hint: "The pointer in `errors` says where; see specs/04-documents.md for what a value may hold.",
  },
  PATCH_INVALID: { status: 400, hint: "See RFC 6902 (json-patch) or RFC 7396 (merge-patch)." },
  PATCH_FAILED: { status: 409, hint: "The patch does not apply to the document as it is; read it again." },
  WORK_TIMEOUT: { status: 422, hint: "The document took longer than its time limit; send less at once." },
  WORK_FAILED: { status: 422, hint: "The document's worker ended on this input; nothing of it was kept." },
  WORK_BUSY: { status: 503, hint: "Too much document work is waiting; try again in a moment." },
  // changes
  CHANGE_MALFORMED: {
    status: 400,
    hint: "Send Automerge changes as A.getLastLocalChange or A.getChanges give them.",
  },
  CHANGE_CHECKSUM: { status: 400, hint: "The bytes do not match their checksum; send them again." },
  CHANGE_TOO_LARGE: { status: 413, hint: "The detail names the limit; make smaller changes." },
  CHANGE_DEPS_MISSING: {
    status: 422,
    hint: "Send the changes named in `missing` first or in the same request.",
  },
  CHANGE_SEQ: {
    status: 422,
    hint: "An actor's changes count 1, 2, 3 without gaps, each built on the one before; `expected` is the next.",
  },
  CHANGE_START_OP: {
    status: 422,
    hint: "startOp is one more than the largest op the change builds on; `expected` has it.",
  },
  CHANGE_EQUIVOCATION: {
    status: 422,
    hint: "This actor already has another change with this seq; give each copy of a document its own actor id.",
  },
  CHANGE_ACTOR: { status: 403, hint: "The actor id belongs to another principal; use one of your own." },
  CHANGE_REFUSED: {
    status: 422,
    hint: "Automerge refuses the change on this document; nothing of it was kept.",
  },
  // sync
  SYNC_MALFORMED: {
    status: 400,
    hint: "Send messages as Automerge's generateSyncMessage makes them; see specs/16-sync.md.",
  },
  // writes
  HEADS_CONFLICT: { status: 409, hint: "The document moved on; `current_heads` has where it is." },
  SEQ_CONFLICT: { status: 409, hint: "The db moved on; `seq` has where it is." },
  TX_EMPTY: { status: 400, hint: "A transaction needs at least one write." },
  TX_ID_REUSED: {
    status: 409,
    hint: "This client_tx_id was used for a different request; choose a fresh one.",
  },
  BRANCH_NOT_FOUND: { status: 404, hint: "GET …/branches lists those there are." },
  BRANCH_EXISTS: { status: 409, hint: "Choose another name, or delete that branch first." },
  BRANCH_CLOSED: { status: 423, hint: "It takes no more writes; make a branch from it and write there." },
  POINT_OTHER_BRANCH: {
    status: 400,
    hint: "Name a point of that branch or of what it stands on, or another `branch`.",
  },
  // log
  COMMIT_NOT_FOUND: { status: 404, hint: "GET …/commits lists them." },
  ERASED: {
    status: 410,
    hint: "Its bytes are gone for good, and its name stays taken; `commits` and `history` still say who wrote it when.",
  },
  BLOCK_NOT_FOUND: { status: 404, hint: "No block of this db has that address." },
  CID_INVALID: { status: 400, hint: "An address is a CIDv1 in base32 with a blake3-256 multihash." },
  CURSOR_INVALID: { status: 400, hint: "Use the cursor as the server gave it." },
  CURSOR_FUTURE: {
    status: 409,
    hint: "The db is not the one that got that far: compare its uid, and begin at `seq` or from the start.",
  },
  CURSOR_TOO_OLD: {
    status: 410,
    hint: "Read the documents as they are and go on from `cursor`; what came before `oldest_seq` is not kept.",
  },
  READER_SLOW: {
    status: 408,
    hint: "Go on from `cursor`; take events as they come, or read pages at a pace of your own.",
  },
  EPOCH_CHANGED: {
    status: 410,
    hint: "The db began a new life: it was restored, or took over another copy's line. Both agree up to `last_common_seq`: go on from `cursor`, which is there.",
  },
  // replication
  SYNC_OTHER_DB: {
    status: 409,
    hint: "Two dbs of one name: give the copy another name with --as, or delete the one that is not meant.",
  },
  SYNC_DIVERGED: {
    status: 409,
    hint: "Both sides have commits that the other lacks: `skald pull` merges them, then push again.",
  },
  SYNC_INVALID: {
    status: 422,
    hint: "The other server's log is damaged or made up; `skald verify` there says which. Nothing of it was kept.",
  },
  SYNC_EQUIVOCATION: {
    status: 409,
    hint: "An actor has two different changes under one number, so the copies can never agree; delete one and clone it again.",
  },
  // archives and snapshots
  ARCHIVE_INVALID: {
    status: 422,
    hint: "The file is damaged, cut off or made up, from the block named on; export it anew. Nothing of it was kept.",
  },
  SNAPSHOT_NOT_FOUND: { status: 404, hint: "GET …/snapshots lists them." },
  SNAPSHOT_EXISTS: { status: 409, hint: "Choose another name, or delete that snapshot first." },
  SNAPSHOT_LIMIT: { status: 409, hint: "The detail names the limit; delete some first." },
  RANGE_INVALID: { status: 416, hint: "`Content-Range` has how many bytes there are." },
  SYNC_BRANCHES: {
    status: 409,
    hint: "Both copies went on by themselves, and one of them on a branch. Merge what the branches hold into `main` on one of them, or clone the db again.",
  },
  // signed history
  KEY_EXISTS: { status: 409, hint: "`skald key rotate` has another one follow it." },
  KEY_MISSING: {
    status: 409,
    hint: "`skald key create` makes a key; a server started with --sign never uses none.",
  },
  KEY_NOT_CURRENT: { status: 409, hint: "`skald key list` shows which key signs." },
  KEYS_DAMAGED: {
    status: 503,
    hint: "Put the file back from a backup; or move it away to go on without a key, and make a new one.",
  },
  CHECKPOINT_INVALID: {
    status: 422,
    hint: "It was changed on its way, or is of another db or key; `skald checkpoint` writes one.",
  },
  HISTORY_REWRITTEN: {
    status: 409,
    hint: "This history does not go on from the one that the checkpoint names: keep both, they are proof.",
  },
  HISTORY_SHORTER: {
    status: 409,
    hint: "This is an older copy, or its end was lost; `skald pull` brings what a copy lacks.",
  },
  // people
  PERSON_NOT_FOUND: {
    status: 404,
    hint: "`skald people list` shows who has logged in; a person is named by its id.",
  },
  PERSON_DISABLED: { status: 403, hint: "An administrator of this server has disabled this account." },
  ADMIN_FIXED: {
    status: 409,
    hint: "The server's settings or the provider's claim decide this: change it there, it holds from the next login or start on.",
  },
  LAST_ADMIN: { status: 409, hint: "Make somebody else an administrator first." },
  INVITATION_NOT_FOUND: { status: 404, hint: "Ask whoever sent the link for a new one." },
  INVITATION_OVER: { status: 410, hint: "Ask whoever sent the link for a new one." },
  INVITATION_LIMIT: { status: 409, hint: "The detail names the limit; revoke some first." },
  PERSON_NEEDED: {
    status: 403,
    hint: "Log in with the browser: an invitation is for a person, not for a token.",
  },
  // backup
  BACKUP_NOT_FOUND: {
    status: 404,
    hint: "`skald backup <folder>` makes one; `skald backup list <folder>` shows those there are.",
  },
  BACKUP_DAMAGED: {
    status: 422,
    hint: "`skald backup verify` names everything that is wrong; `skald restore --at` takes an earlier one. Nothing was put in place.",
  },
  DIR_NOT_EMPTY: { status: 409, hint: "Name an empty folder, or one that is not there yet." },
  RESTORE_UNFINISHED: {
    status: 503,
    hint: "Give the same `skald restore` again: it begins anew. Or empty the directory.",
  },
  // import
  IMPORT_INVALID: { status: 422, hint: "The detail says which record; nothing after it was read." },
  // subscriptions
  SUBSCRIPTION_NOT_FOUND: {
    status: 404,
    hint: "PUT …/subscriptions/<name> makes it; GET …/subscriptions lists them.",
  },
  SUBSCRIPTION_EXISTS: {
    status: 409,
    hint: "One of this name is there and is another; choose a name of its own, or delete that one first.",
  },
  SUBSCRIPTION_TAKEN: {
    status: 409,
    hint: "A newer consumer has the subscription; come again to take it back.",
  },
  SUBSCRIPTION_DELETED: { status: 410, hint: "The subscription was deleted while you were consuming it." },
  SUBSCRIPTION_LIMIT: {
    status: 409,
    hint: "The detail names the limit; delete, acknowledge or leave something first.",
  },
  SUBSCRIPTION_DIVERGED: {
    status: 409,
    hint: "Its position is of another life of this db. Delete it and make it anew from a cursor that you trust.",
  },
  SUBSCRIPTIONS_DAMAGED: {
    status: 503,
    hint: "Put the file back from a backup, or move it away and make the subscriptions anew from cursors that you know. Documents are not concerned.",
  },
  // SQL
  SQL_ERROR: { status: 400, hint: "The detail has SQLite's words; `offset` says where in the statement." },
  SQL_NOT_ALLOWED: {
    status: 403,
    hint: "See specs/25-query.md for what a statement may do and which tables it may read.",
  },
  SQL_CONSTRAINT: {
    status: 409,
    hint: "The detail names the constraint; nothing of the statement was kept.",
  },
  SQL_CONFLICT: { status: 409, hint: "Others kept writing what the statement read; try it again." },
  SCHEMA_INVALID: { status: 422, hint: "See specs/24-tables.md for what a table of a collection may be." },
  QUERY_LIMIT: { status: 422, hint: "The detail names the limit; ask for less at once." },
  QUERY_BUSY: { status: 429, hint: "Too many statements are running; try again in a moment." },
  JSON_SCHEMA_INVALID: {
    status: 422,
    hint: "`pointer` says where; specs/26-graph.md has the keywords that a graph query takes.",
  },
  STATEMENT_NOT_FOUND: { status: 404, hint: "GET …/query lists the stored statements." },
  WATCH_ENDED: { status: 410, hint: "Ask for the watch again; `seq` has how far it got." },
  // signing in
  CSRF_REFUSED: {
    status: 403,
    hint: "A session's cookie is taken from pages of this server only; programs send a token in `Authorization`.",
  },
  LOGIN_EXPIRED: {
    status: 400,
    hint: "Begin again at /auth/oidc/login, in the browser in which you end it.",
  },
  LOGIN_REFUSED: {
    status: 403,
    hint: "The detail says what did not hold. Nobody was signed in; try again, or ask whoever runs the identity provider.",
  },
  LOGIN_UNAVAILABLE: {
    status: 404,
    hint: "Whoever runs the server sets SKALD_OIDC_ISSUER and the client; until then an admin token opens the dashboard.",
  },
  PUBLIC_URL_MISSING: {
    status: 503,
    hint: "Whoever runs the server gives --public-url the address that browsers have.",
  },
  PROVIDER_FAILED: {
    status: 502,
    hint: "The identity provider cannot be reached, or its answer makes no sense; the server's log says more.",
  },
  // tokens
  TOKEN_ENDED: {
    status: 409,
    hint: "Make a new token: what was revoked or has run out, or has a successor already, gets no other.",
  },
  TOKEN_NOT_FOUND: { status: 404, hint: "`skald token list` shows the ids." },
  SCOPE_INVALID: { status: 400, hint: "A scope is db:action[:prefix]; see specs/07-auth.md." },
} as const satisfies Record<string, { status: number; hint: string }>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** What the reader of an error needs to act: merged into the problem document as it is. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

export class SkaldError extends Error {
  override readonly name = "SkaldError";
  readonly code: ErrorCode;
  readonly hint: string;
  readonly details: ErrorDetails;

  constructor(
    code: ErrorCode,
    message: string,
    options: { hint?: string; details?: ErrorDetails; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint ?? ERROR_CODES[code].hint;
    this.details = options.details ?? {};
  }

  get status(): number {
    return ERROR_CODES[this.code].status;
  }
}

/** Realms differ under test runners and across threads, so the name decides, never `instanceof`. */
export function isSkaldError(error: unknown): error is SkaldError {
  return typeof error === "object" && error !== null && (error as { name?: unknown }).name === "SkaldError";
}
