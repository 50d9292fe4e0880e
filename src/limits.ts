import type { ErrorCode } from "./errors.ts";

/**
 * Every limit on what comes from outside: requests, sockets, changes, files, settings. All code takes its
 * numbers from here, specs/12-limits.md lists them, and test/limits.test.ts tries each one at its value
 * and one beyond. Why a number is as it is stands where it is used.
 */
export interface Limit {
  readonly value: number;
  readonly unit: "bytes" | "characters" | "items" | "levels" | "ms" | "number";
  readonly bounds: string;
  /** What happens beyond it. */
  readonly beyond: Beyond;
  /** The setting that changes it, as an environment variable. */
  readonly setting?: string;
}

/**
 * An error code; a close code of a WebSocket; `waits`, not read further until there is room; `closed`, the
 * connection ends; `ignored`, taken as if it were not there; `shorter`, the page ends early and says where
 * to go on; `replaced`, a thread is ended between jobs; `dropped`, what was used longest ago goes, and is made again when it is asked
 * for.
 */
export type Beyond =
  ErrorCode | "1007" | "1009" | "waits" | "closed" | "ignored" | "shorter" | "replaced" | "dropped";

const KIB = 1024;
const MIB = 1024 * KIB;

function limit(value: number, unit: Limit["unit"], beyond: Beyond, bounds: string, setting?: string): Limit {
  return { value, unit, bounds, beyond, ...(setting === undefined ? {} : { setting }) };
}

export const LIMITS = {
  http: {
    connections: limit(10_000, "items", "UNAVAILABLE", "connections of one server", "SKALD_CONNECTIONS"),
    headBytes: limit(16 * KIB, "bytes", "HEAD_TOO_LARGE", "URL, names and values of header fields together"),
    headers: limit(128, "items", "HEAD_TOO_LARGE", "header fields of a request"),
    urlBytes: limit(8 * KIB, "bytes", "URL_TOO_LONG", "path and query of a request"),
    headMs: limit(30_000, "ms", "REQUEST_TIMEOUT", "from a request's first byte to the end of its head"),
    requestMs: limit(300_000, "ms", "REQUEST_TIMEOUT", "from a request's first byte to its last"),
    idleMs: limit(65_000, "ms", "closed", "silence between two requests"),
    stalledMs: limit(60_000, "ms", "closed", "an answer of which its client takes nothing"),
    bodyBytes: limit(16 * MIB, "bytes", "TOO_LARGE", "body of a request"),
    importBytes: limit(64 * MIB, "bytes", "TOO_LARGE", "body of an import"),
    heldBytes: limit(
      512 * MIB,
      "bytes",
      "UNAVAILABLE",
      "bodies of requests and large answers held at once by one server",
    ),
    skippedBytes: limit(64 * KIB, "bytes", "closed", "refused body that is read to keep its connection"),
    requestsAtOnce: limit(10_000, "items", "UNAVAILABLE", "requests under way in one server"),
    jobsAtOnce: limit(16, "items", "WORK_BUSY", "verify, rebuild, compact and import under way"),
    jobsPerToken: limit(4, "items", "RATE_LIMITED", "verify, rebuild, compact and import of one token"),
    rateTotal: limit(
      1_200_000,
      "items",
      "RATE_LIMITED",
      "requests to one server in a minute, 0 for any number",
      "SKALD_RATE_TOTAL",
    ),
    rateToken: limit(
      600_000,
      "items",
      "RATE_LIMITED",
      "requests of one token or person in a minute; ten messages on a socket count as one",
      "SKALD_RATE_TOKEN",
    ),
    rateAddress: limit(
      600_000,
      "items",
      "RATE_LIMITED",
      "requests from one address in a minute",
      "SKALD_RATE_ADDRESS",
    ),
    rateRefused: limit(
      120,
      "items",
      "RATE_LIMITED",
      "credentials from one address in a minute that do not hold",
      "SKALD_RATE_REFUSED",
    ),
    rateSignIn: limit(
      300,
      "items",
      "RATE_LIMITED",
      "requests from one address in a minute to sign in",
      "SKALD_RATE_SIGN_IN",
    ),
    requestIdCharacters: limit(64, "characters", "ignored", "`X-Request-Id`"),
    authorizationCharacters: limit(8 * KIB, "characters", "UNAUTHENTICATED", "`Authorization`"),
  },
  names: {
    dbIdCharacters: limit(128, "characters", "NAME_INVALID", "db id"),
    collectionCharacters: limit(128, "characters", "NAME_INVALID", "collection"),
    keyBytes: limit(512, "bytes", "NAME_INVALID", "key of a document"),
    txIdCharacters: limit(128, "characters", "NAME_INVALID", "`client_tx_id`, `Idempotency-Key`"),
    statementCharacters: limit(128, "characters", "NAME_INVALID", "name of a stored statement"),
  },
  query: {
    pageItems: limit(1000, "items", "BAD_REQUEST", "`limit` of a page"),
    pointCharacters: limit(128, "characters", "BAD_REQUEST", "`at`, `since`, `from`, `to`, `branch`"),
    diffPointCharacters: limit(
      257,
      "characters",
      "BAD_REQUEST",
      "`from`, `to` of a diff of a db: a branch, `@` and a point",
    ),
    cursorCharacters: limit(2048, "characters", "BAD_REQUEST", "`cursor`"),
    prefixCharacters: limit(512, "characters", "BAD_REQUEST", "`prefix` of a list"),
    paths: limit(100, "items", "BAD_REQUEST", "`path`s of one read"),
    valuesCharacters: limit(
      8 * MIB,
      "characters",
      "shorter",
      "documents' JSON in one page of a list or one event of a feed",
    ),
    commitsBytes: limit(16 * MIB, "bytes", "shorter", "commits or events in one page"),
  },
  sql: {
    statementBytes: limit(64 * KIB, "bytes", "TOO_LARGE", "SQL statement"),
    args: limit(1000, "items", "TOO_LARGE", "`args` of a statement"),
    batchStatements: limit(100, "items", "TOO_LARGE", "statements of a batch"),
    batchRuns: limit(1000, "items", "TOO_LARGE", "`values` of all statements of a batch"),
    ms: limit(5000, "ms", "QUERY_LIMIT", "work of a statement"),
    rows: limit(5000, "items", "QUERY_LIMIT", "rows of an answer"),
    bytes: limit(MIB, "bytes", "QUERY_LIMIT", "rows of an answer, as JSON"),
    streamMs: limit(30_000, "ms", "QUERY_LIMIT", "work of a statement whose rows are streamed"),
    streamRows: limit(1_000_000, "items", "QUERY_LIMIT", "rows of an answer that is streamed"),
    streamBytes: limit(256 * MIB, "bytes", "QUERY_LIMIT", "rows of an answer that is streamed, as text"),
    memoryBytes: limit(256 * MIB, "bytes", "QUERY_LIMIT", "memory of a query process"),
    atOnce: limit(32, "items", "waits", "statements of one token in query processes at once"),
    streams: limit(4, "items", "QUERY_BUSY", "answers of one server that are read row by row at once"),
    waiting: limit(4096, "items", "QUERY_BUSY", "statements of one server that wait for a query process"),
    waitingPerToken: limit(
      512,
      "items",
      "QUERY_BUSY",
      "statements of one token that wait for a query process",
    ),
  },
  watch: {
    perDb: limit(16_384, "items", "UNAVAILABLE", "watches of one db that are open"),
    perToken: limit(4096, "items", "RATE_LIMITED", "watches of one token on one db"),
  },
  tx: {
    writes: limit(1000, "items", "TOO_LARGE", "writes of a transaction"),
    reads: limit(1000, "items", "TOO_LARGE", "`reads` of a transaction"),
    changes: limit(10_000, "items", "TOO_LARGE", "changes of one write, and of a PATCH"),
    heads: limit(1024, "items", "TOO_LARGE", "`base_heads` of a write, `heads` of a read"),
    messageCharacters: limit(4096, "characters", "BAD_REQUEST", "`message` of a transaction"),
  },
  schema: {
    statementBytes: limit(64 * KIB, "bytes", "TOO_LARGE", "SQL of a schema statement, of a stored statement"),
    statements: limit(1000, "items", "TOO_LARGE", "schema statements in force on a branch"),
    stored: limit(1000, "items", "TOO_LARGE", "stored statements of a db"),
    descriptionBytes: limit(4 * KIB, "bytes", "TOO_LARGE", "description of a stored statement"),
  },
  tables: {
    pointBytes: limit(
      256 * MIB,
      "bytes",
      "dropped",
      "files of tables of past states and branches that are kept of a db",
    ),
  },
  socket: {
    sockets: limit(2048, "items", "UNAVAILABLE", "sockets of one server"),
    socketsPerToken: limit(1024, "items", "RATE_LIMITED", "sockets of one token"),
    frameBytes: limit(16 * MIB, "bytes", "1009", "frame"),
    frameItems: limit(2048, "items", "1009", "transactions of a frame"),
    levels: limit(8, "levels", "1007", "nesting of a CBOR item"),
    mapEntries: limit(16, "items", "1007", "entries of a CBOR map"),
    // Taking these in holds every other request up, for 20 to 40 ms; a frame full of transactions has two thirds.
    cborItems: limit(
      2 ** 17,
      "items",
      "1007",
      "CBOR items of a frame; a map and each of its entries count as three more",
    ),
    inFlight: limit(2048, "items", "waits", "transactions that wait for their commit"),
    inFlightBytes: limit(32 * MIB, "bytes", "waits", "frames with such transactions"),
    unreadBytes: limit(MIB, "bytes", "waits", "answers that the client has not taken"),
    unreadMs: limit(60_000, "ms", "closed", "more answers than that, of which the client takes none"),
    closeMs: limit(3000, "ms", "closed", "from the decision to close to the end"),
  },
  syncMessage: {
    messageBytes: limit(16 * MIB, "bytes", "TOO_LARGE", "Automerge sync message"),
    heads: limit(4096, "items", "TOO_LARGE", "`heads` of a sync message, of its `have`, of a kept state"),
    need: limit(16_384, "items", "TOO_LARGE", "changes that a sync message asks for"),
    have: limit(16, "items", "TOO_LARGE", "filters of a sync message"),
    bloomBytes: limit(2 * MIB, "bytes", "TOO_LARGE", "filter of a sync message"),
    bloomProbes: limit(64, "items", "TOO_LARGE", "probes of a filter"),
    parts: limit(500_000, "items", "TOO_LARGE", "changes of a sync message"),
    capabilities: limit(64, "items", "TOO_LARGE", "capabilities of a sync message"),
    waiting: limit(10_000, "items", "TOO_LARGE", "changes of a peer that wait for what they build on"),
    waitingBytes: limit(16 * MIB, "bytes", "TOO_LARGE", "bytes of such changes"),
  },
  repo: {
    frameBytes: limit(32 * MIB, "bytes", "1009", "message of automerge-repo"),
    levels: limit(8, "levels", "1007", "nesting of such a message"),
    items: limit(4096, "items", "1007", "CBOR items of such a message"),
    idCharacters: limit(256, "characters", "1007", "ids of peers, sessions and storages"),
    storages: limit(64, "items", "ignored", "storages whose heads a peer follows, or tells of at once"),
    documents: limit(10_000, "items", "ignored", "documents that one socket has open or has asked for"),
    ephemeralBytes: limit(64 * KIB, "bytes", "ignored", "ephemeral message"),
    queued: limit(256, "items", "waits", "messages of a socket that are not worked off"),
    queuedBytes: limit(MIB, "bytes", "waits", "bytes of such messages"),
    unreadBytes: limit(MIB, "bytes", "waits", "what a peer has not taken; nothing is made for it beyond"),
    joinMs: limit(10_000, "ms", "closed", "from the socket's opening to `join`"),
    silentMs: limit(15_000, "ms", "closed", "a peer that answers no pings, one every third of this"),
  },
  capability: {
    characters: limit(8 * KIB, "characters", "CAPABILITY_INVALID", "one UCAN of a chain"),
    tokens: limit(16, "items", "CAPABILITY_INVALID", "UCANs of a chain, and that come with a request"),
    depth: limit(8, "levels", "CAPABILITY_INVALID", "UCANs from the owner's to the one that is shown"),
    uses: limit(64, "items", "CAPABILITY_INVALID", "capabilities that one UCAN names"),
    proofs: limit(8, "items", "CAPABILITY_INVALID", "proofs that one UCAN names"),
  },
  ticket: {
    onceSeconds: limit(300, "number", "BAD_REQUEST", "`expires_in` of a ticket of one use"),
    reusableSeconds: limit(30 * 86_400, "number", "BAD_REQUEST", "`expires_in` of a reusable ticket"),
  },
  feed: {
    streams: limit(8192, "items", "UNAVAILABLE", "feeds that wait or follow, of one server"),
    streamsPerToken: limit(4096, "items", "RATE_LIMITED", "feeds that wait or follow, of one token"),
    streamItems: limit(1_000_000, "items", "BAD_REQUEST", "`limit` of a feed that is streamed"),
    docs: limit(100, "items", "BAD_REQUEST", "`doc`s of one feed"),
    heartbeatMsMin: limit(100, "ms", "BAD_REQUEST", "`heartbeat`, at least"),
    heartbeatMsMax: limit(60_000, "ms", "BAD_REQUEST", "`heartbeat`, at most"),
    timeoutMs: limit(120_000, "ms", "BAD_REQUEST", "`timeout` of a long poll"),
    behindBytes: limit(256 * KIB, "bytes", "waits", "events that a follower has not taken"),
    behindMs: limit(30_000, "ms", "READER_SLOW", "more events than that, of which it takes none"),
    frameBytes: limit(4 * KIB, "bytes", "1009", "frame from a follower, who has nothing to say"),
  },
  document: {
    levels: limit(64, "levels", "VALUE_INVALID", "maps and lists of a value within each other"),
    patchOperations: limit(10_000, "items", "TOO_LARGE", "operations of a JSON patch"),
    copiedValues: limit(1_000_000, "items", "TOO_LARGE", "values that a JSON patch copies"),
    heads: limit(1024, "items", "DOC_TOO_LARGE", "heads of a document"),
    actors: limit(65_536, "items", "DOC_TOO_LARGE", "actors of a document"),
    jobMs: limit(10_000, "ms", "WORK_TIMEOUT", "Automerge work of a request on one document"),
    longJobMs: limit(60_000, "ms", "WORK_TIMEOUT", "taking an import apart; checking a document"),
    queuedJobs: limit(1000, "items", "WORK_BUSY", "jobs that wait for one thread"),
    threadBytes: limit(512 * MIB, "bytes", "replaced", "memory of a thread after a job"),
  },
  change: {
    changeBytes: limit(8 * MIB, "bytes", "CHANGE_TOO_LARGE", "change as sent"),
    inflatedBytes: limit(8 * MIB, "bytes", "CHANGE_TOO_LARGE", "change once inflated"),
    ops: limit(1_000_000, "items", "CHANGE_TOO_LARGE", "operations"),
    bareOps: limit(250_000, "items", "CHANGE_TOO_LARGE", "operations whose value has no bytes"),
    preds: limit(1_000_000, "items", "CHANGE_TOO_LARGE", "references to replaced operations"),
    deps: limit(1024, "items", "CHANGE_TOO_LARGE", "changes it builds on"),
    otherActors: limit(16_384, "items", "CHANGE_TOO_LARGE", "other actors that it names"),
    actorBytesMin: limit(16, "bytes", "CHANGE_MALFORMED", "actor id, at least"),
    actorBytesMax: limit(32, "bytes", "CHANGE_MALFORMED", "actor id, at most"),
    messageBytes: limit(64 * KIB, "bytes", "CHANGE_TOO_LARGE", "message"),
    keyBytes: limit(16 * KIB, "bytes", "CHANGE_TOO_LARGE", "map key, name of a mark"),
    depth: limit(100, "levels", "CHANGE_TOO_LARGE", "objects made within each other"),
    maxOp: limit(10_000_000, "number", "CHANGE_TOO_LARGE", "largest operation number"),
    maxSeq: limit(2 ** 31 - 1, "number", "CHANGE_TOO_LARGE", "number of an actor's change"),
  },
  saved: {
    fileBytes: limit(64 * MIB, "bytes", "CHANGE_TOO_LARGE", "Automerge file"),
    inflatedBytes: limit(128 * MIB, "bytes", "CHANGE_TOO_LARGE", "file once inflated"),
    ops: limit(4_000_000, "items", "CHANGE_TOO_LARGE", "operations"),
    changes: limit(500_000, "items", "CHANGE_TOO_LARGE", "changes"),
    references: limit(8_000_000, "items", "CHANGE_TOO_LARGE", "operations replaced, deps of changes"),
    actors: limit(65_536, "items", "CHANGE_TOO_LARGE", "actors"),
    heads: limit(1024, "items", "CHANGE_TOO_LARGE", "heads"),
  },
  sync: {
    places: limit(256, "items", "BAD_REQUEST", "commits that one comparison names"),
    pageBytes: limit(256 * MIB, "bytes", "TOO_LARGE", "body of a push, which holds one record at least"),
    urlCharacters: limit(2048, "characters", "BAD_REQUEST", "URL of the server that a copy was cloned from"),
  },
  archive: {
    headerBytes: limit(256, "bytes", "ARCHIVE_INVALID", "header of an archive"),
    blockBytes: limit(64 * MIB, "bytes", "ARCHIVE_INVALID", "block of an archive"),
  },
  snapshot: {
    nameCharacters: limit(128, "characters", "NAME_INVALID", "name of a snapshot"),
    perDb: limit(1000, "items", "SNAPSHOT_LIMIT", "named snapshots of a db"),
  },
  token: {
    labelCharacters: limit(128, "characters", "NAME_INVALID", "label, subject"),
    scopes: limit(256, "items", "SCOPE_INVALID", "scopes of a token"),
    prefixBytes: limit(1024, "bytes", "SCOPE_INVALID", "prefix of a scope"),
    expiresCharacters: limit(40, "characters", "BAD_REQUEST", "`expires`"),
    overlapSeconds: limit(90 * 86_400, "number", "BAD_REQUEST", "`overlap_seconds` of a rotation"),
  },
  person: {
    nameCharacters: limit(128, "characters", "shorter", "display name that a provider gives"),
    emailCharacters: limit(254, "characters", "ignored", "e-mail address that a provider gives"),
    providerCharacters: limit(1024, "characters", "BAD_REQUEST", "`iss` and `sub` of a login"),
  },
  invitation: {
    noteCharacters: limit(128, "characters", "NAME_INVALID", "note of an invitation"),
    expiresSeconds: limit(7_776_000, "number", "BAD_REQUEST", "`expires_in` of an invitation, in seconds"),
    uses: limit(1000, "number", "BAD_REQUEST", "people that may accept one invitation"),
    perDb: limit(100, "items", "INVITATION_LIMIT", "invitations of a db that can be accepted"),
  },
  session: {
    perPerson: limit(100, "items", "dropped", "sessions of one person or token"),
    agentCharacters: limit(200, "characters", "shorter", "`User-Agent` as it is kept with a session"),
  },
  signin: {
    nextCharacters: limit(1024, "characters", "BAD_REQUEST", "`next` of a login"),
    loginMs: limit(600_000, "ms", "LOGIN_EXPIRED", "from the start of a login to its end"),
    usedLogins: limit(10_000, "items", "dropped", "ended logins that are remembered, so that each ends once"),
    answerMs: limit(10_000, "ms", "PROVIDER_FAILED", "an answer of the identity provider"),
    answerBytes: limit(512 * KIB, "bytes", "PROVIDER_FAILED", "an answer of the identity provider"),
    keys: limit(100, "items", "PROVIDER_FAILED", "keys of the identity provider"),
  },
  db: {
    inUse: limit(4096, "items", "UNAVAILABLE", "dbs in use at once"),
  },
  subscription: {
    nameCharacters: limit(128, "characters", "NAME_INVALID", "name of a subscription, of a consumer"),
    perDb: limit(1000, "items", "SUBSCRIPTION_LIMIT", "subscriptions of a db"),
    docs: limit(1000, "items", "BAD_REQUEST", "`docs` of a subscription"),
    consumers: limit(256, "items", "SUBSCRIPTION_LIMIT", "consumers of a subscription"),
    unacked: limit(2048, "items", "BAD_REQUEST", "`max_unacked`: events that one consumer may have"),
    ackMsMin: limit(100, "ms", "BAD_REQUEST", "`ack_ms`, at least"),
    ackMsMax: limit(43_200_000, "ms", "BAD_REQUEST", "`ack_ms`, at most"),
    delayMs: limit(43_200_000, "ms", "BAD_REQUEST", "`delay_ms` of a nack"),
    attempts: limit(1000, "number", "BAD_REQUEST", "`max_attempts`"),
    open: limit(4096, "items", "waits", "events that are read and not acknowledged"),
    ahead: limit(8192, "items", "SUBSCRIPTION_LIMIT", "ranges acknowledged ahead of the position"),
    parked: limit(1000, "items", "ignored", "parked events; further ones are delivered again instead"),
    ids: limit(4096, "items", "TOO_LARGE", "`ids` of an ack, a nack, a retry or a drop"),
    frameBytes: limit(64 * KIB, "bytes", "1009", "frame of a subscription's socket"),
    queueBytes: limit(MIB, "bytes", "waits", "events that a consumer has not taken"),
  },
  graph: {
    linkDepth: limit(64, "levels", "BAD_REQUEST", "`max_link_depth`"),
    pathSteps: limit(256, "items", "BAD_REQUEST", "steps of `path`; a link with more leads nowhere"),
    queryCharacters: limit(6 * KIB, "characters", "BAD_REQUEST", "`q` of a graph watch"),
    schemaLevels: limit(64, "levels", "QUERY_LIMIT", "lists and maps of a schema within each other"),
    schemaCharacters: limit(256 * KIB, "characters", "QUERY_LIMIT", "JSON of a schema"),
    schemas: limit(2000, "items", "QUERY_LIMIT", "sub-schemas of a schema"),
    places: limit(50_000, "items", "QUERY_LIMIT", "places that a query looks at, each with each sub-schema"),
    documents: limit(5000, "items", "QUERY_LIMIT", "documents that a query looks into or misses"),
    readCharacters: limit(
      32 * MIB,
      "characters",
      "QUERY_LIMIT",
      "JSON of the documents that a query looks into",
    ),
    steps: limit(2_000_000, "number", "QUERY_LIMIT", "assertions tried, properties and values looked at"),
    timeMs: limit(5000, "ms", "QUERY_LIMIT", "one evaluation"),
    answerCharacters: limit(
      8 * MIB,
      "characters",
      "QUERY_LIMIT",
      "what was selected of the documents, and the places",
    ),
    touched: limit(10_000, "items", "shorter", "`touched` and `missing` of an answer, each"),
    reasons: limit(100, "items", "shorter", "`reasons` of an answer"),
    watchedPlaces: limit(1_000_000, "items", "QUERY_BUSY", "places that all graph watches of a server keep"),
  },
  cli: {
    recordBytes: limit(16 * MIB, "bytes", "TOO_LARGE", "record of an import, line of an answer"),
    fileBytes: limit(64 * MIB, "bytes", "TOO_LARGE", "Automerge file of an import"),
  },
  setting: {
    port: limit(65_535, "number", "BAD_REQUEST", "`--port`"),
    connections: limit(1_000_000, "number", "BAD_REQUEST", "`--connections`"),
    corsOrigin: limit(64, "items", "BAD_REQUEST", "`--cors-origin`"),
    audience: limit(16, "items", "BAD_REQUEST", "`--audience`"),
    workers: limit(64, "number", "BAD_REQUEST", "`--workers`"),
    openDbs: limit(4096, "number", "BAD_REQUEST", "`--open-dbs`"),
    cacheMb: limit(65_536, "number", "BAD_REQUEST", "`--cache-mb`"),
    reserveMb: limit(1_048_576, "number", "BAD_REQUEST", "`--reserve-mb`"),
    scrubDays: limit(3650, "number", "BAD_REQUEST", "`--scrub-days`"),
    queryProcesses: limit(64, "number", "BAD_REQUEST", "`--query-processes`"),
    sessionIdleHours: limit(8760, "number", "BAD_REQUEST", "`--session-idle-hours`"),
    sessionDays: limit(366, "number", "BAD_REQUEST", "`--session-days`"),
    trustProxy: limit(16, "number", "BAD_REQUEST", "`--trust-proxy`"),
    rateTotal: limit(100_000_000, "number", "BAD_REQUEST", "`--rate-total`"),
    rateToken: limit(100_000_000, "number", "BAD_REQUEST", "`--rate-token`"),
    rateAddress: limit(100_000_000, "number", "BAD_REQUEST", "`--rate-address`"),
    rateRefused: limit(1_000_000, "number", "BAD_REQUEST", "`--rate-refused`"),
    rateSignIn: limit(1_000_000, "number", "BAD_REQUEST", "`--rate-sign-in`"),
    queryMemoryMb: limit(65_536, "number", "BAD_REQUEST", "`--query-memory-mb`"),
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, Limit>>>>;

/** The numbers of a group by name. */
export function valuesOf<G extends Readonly<Record<string, Limit>>>(
  group: G,
): { -readonly [K in keyof G]: number } {
  return Object.fromEntries(Object.entries(group).map(([name, { value }]) => [name, value])) as {
    -readonly [K in keyof G]: number;
  };
}
