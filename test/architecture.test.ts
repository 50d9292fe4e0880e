import { readFileSync, readdirSync } from "node:fs";
import { builtinModules } from "node:module";
import path from "node:path";

/**
 * The folder list is the architecture: imports go one way, a package has one owner. Each rule below is
 * a function from a list of files to complaints, and each is shown a broken tree that it must complain
 * of, so that none of them passes by seeing nothing.
 */

interface SourceFile {
  /** Relative to src, such as `log/log.ts`. */
  readonly path: string;
  readonly text: string;
}

const SRC = path.resolve(import.meta.dirname, "../src");

/** What each folder may import beside itself. Top-level files go by their own name. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  limits: ["errors"],
  world: [],
  config: ["errors", "limits"],
  events: [],
  ids: ["errors", "limits"],
  protocol: ["errors", "limits", "ids"],
  store: ["errors", "world", "ids"],
  log: ["errors", "world", "limits", "ids", "store"],
  documents: ["errors", "world", "limits", "ids", "log"],
  projections: ["errors", "world", "ids", "store", "log"],
  db: ["errors", "world", "limits", "ids", "store", "log", "documents", "projections"],
  tables: ["errors", "world", "limits", "ids", "store", "log", "documents", "projections", "db"],
  query: ["errors", "world", "limits", "ids", "protocol", "store", "log", "documents", "db", "tables"],
  subscriptions: ["errors", "world", "limits", "ids", "store", "log", "db"],
  graph: ["errors", "world", "limits", "ids", "log", "documents", "db"],
  sync: ["errors", "world", "limits", "ids", "log", "documents", "db"],
  replication: ["errors", "world", "limits", "ids", "protocol", "store", "log", "db"],
  archive: ["errors", "world", "limits", "ids", "store", "log", "db"],
  auth: ["errors", "world", "limits", "ids", "store"],
  audit: ["errors", "world", "ids", "store", "log", "db", "auth"],
  backup: ["errors", "world", "limits", "ids", "store", "log", "db", "replication", "auth"],
  http: [
    "errors",
    "world",
    "limits",
    "ids",
    "protocol",
    "log",
    "documents",
    "db",
    "subscriptions",
    "graph",
    "sync",
    "replication",
    "archive",
    "auth",
    "audit",
    "backup",
    "query",
  ],
  client: ["errors", "ids", "protocol"],
  ui: ["ids", "protocol"],
  service: [
    "errors",
    "world",
    "config",
    "events",
    "store",
    "documents",
    "db",
    "subscriptions",
    "sync",
    "auth",
    "audit",
    "query",
    "http",
    "protocol",
  ],
  cli: [
    "errors",
    "limits",
    "config",
    "ids",
    "protocol",
    "store",
    "replication",
    "archive",
    "auth",
    "backup",
    "service",
  ],
  index: ["errors", "config", "log", "documents", "db", "auth", "service"],
};

/** Below the contract the log may not see which engine it is on. */
const STORE_FOR_LOG: readonly string[] = ["store/contract.ts"];

/** Third-party packages and the folders (or files) that may use them. */
const OWNERS: Readonly<Record<string, readonly string[]>> = {
  "better-sqlite3": ["store"],
  "@automerge/automerge": ["documents", "client"],
  "hash-wasm": ["ids"],
  "@noble/hashes": ["ids"],
  "@ipld/dag-cbor": ["ids"],
  multiformats: ["ids"],
  zod: ["protocol", "replication", "backup", "http", "cli"],
  "zod-openapi": ["http"],
  express: ["http"],
  ws: ["http"],
  cborg: ["ids"],
  passport: ["auth"],
  "passport-openidconnect": ["auth"],
  jose: ["auth"],
  "prom-client": ["events"],
  pino: ["events"],
  commander: ["cli"],
  "oidc-provider": ["cli"],
  "eventsource-parser": ["client", "ui"],
  react: ["client"],
  svelte: ["client", "ui"],
  uplot: ["ui"],
  "@codemirror/autocomplete": ["ui"],
  "@codemirror/commands": ["ui"],
  "@codemirror/lang-json": ["ui"],
  "@codemirror/lang-sql": ["ui"],
  "@codemirror/language": ["ui"],
  "@codemirror/lint": ["ui"],
  "@codemirror/search": ["ui"],
  "@codemirror/state": ["ui"],
  "@codemirror/view": ["ui"],
  "@lezer/highlight": ["ui"],
};

/** The world itself, the commands, a process of their own that waits for a server, and the dashboard, a page. */
const OUTSIDE_WORLD: ReadonlySet<string> = new Set(["world", "cli", "ui"]);
/** The client has a world of its own: it runs where there is no Node. */
const CLIENT_WORLD = "client/platform.ts";

/** What a server asks the machine for through `World` only. */
const MACHINE =
  /\bDate\.now\b|\bnew Date\(\)|\bperformance\.|\bhrtime\b|(?<![.\w])set(?:Timeout|Interval|Immediate)\b|\bAbortSignal\.timeout\b|node:timers|\brandom(?:Bytes|UUID|Int|Fill\w*)\b|\bgetRandomValues\b|\bMath\.random\b/g;
/** Numbers that look like limits and bound nothing that comes from outside, each with what it is for. */
const OWN_BUDGETS: Readonly<Record<string, string>> = {
  "http/rate-table.ts WINDOW_MS": "the minute that rates are of",
  "http/rate-table.ts HAIR_MS": "what sums of fractions are off by",
  "audit/audit.ts MOST_WRITES": "entries of one commit",
  "audit/audit.ts MOST_QUEUED": "entries that wait for a disk that hangs; beyond it they are counted",
  "audit/audit.ts MOST_SUMS": "addresses that are summed up each; beyond it together",
  "audit/audit.ts SUM_MS": "how long is summed up",
  "audit/audit.ts RETRY_MS": "pause before the log is tried again",
  "audit/entry.ts MOST_IN_A_MS": "number of a key",
  "audit/search.ts MOST_LOOKED_AT": "entries that are passed over for one page",
  "graph/walk.ts SLICE_MS": "work between two turns for others",
  "backup/restore.ts BATCH_BYTES": "records of one append",
  "backup/serve.ts PAGE_BYTES": "records read at once",
  "backup/serve.ts COPY_BYTES": "bytes read at once",
  "backup/take-db.ts PACK_BYTES": "commits of one file of a backup",
  "backup/take-db.ts MOST_PLACES": "places that a server is asked with; further back they are wider apart",
  "backup/take-db.ts MOST_TRIES": "tries without getting on",
  "backup/take-db.ts PAUSE_MS": "pause before a further try",
  "db/retention.ts PASS_MS": "pause between two passes over all dbs",
  "db/retention.ts DB_MS": "pause between two dbs of a pass",
  "replication/frames.ts ERASED_MOST": "documents that a page can name, which is bounded in bytes",
  "db/erasing.ts AGAIN_MS": "pause before what could not be removed is tried again",
  "log/removal.ts WAIT_MS": "pause for a reader of the file to end",
  "cli/import-record.ts MAX_LEVELS": "keeps the stack of the command line; the server takes fewer",
  "documents/json-patch.ts MAX_PATH": "how much of a path an error repeats",
  "documents/json-value.ts MAX_POINTER": "how much of a pointer an error repeats",
  "db/tending.ts LOOK_MS": "pause between two looks whether old commits are enough for a bundle",
  "log/log.ts BUNDLE_BYTES": "records of one bundle, roughly",
  "log/opened-bundles.ts OPENED_BYTES": "cache of opened bundles",
  "log/opened-bundles.ts ENTRY_BYTES": "what an entry of that cache is counted as",
  "ids/document-id.ts MAX_LETTERS": "four times what an id has; longer text is none",
  "archive/archive-import.ts BATCH_BYTES": "commits that share a sync",
  "db/prepare.ts SLICE_MS": "work between two turns for others",
  "documents/first-change.ts SURE_BYTES": "a larger change is shown to the guard, which has the limits",
  "db/compare.ts SLICE_MS": "work between two turns for others",
  "db/merge.ts CONFLICTS_MAX": "conflicts in one answer, which says when there are more",
  "log/branch-merge.ts MERGE_BYTES": "what goes into one commit of a merge; more goes into the next",
  "log/records.ts LARGE_BYTES": "commits of many documents that stay read for the next of them",
  "log/on-branches.ts FOUND_MAX": "documents as branches found them, kept so that they are worked out once",
  "auth/capabilities.ts KNOWN_MAX": "cache of checked capabilities",
  "auth/capabilities.ts REFUSED_MAX": "cache of refused ones",
  "auth/vigil.ts LOOK_MS": "pause between two looks at all that is open",
  "auth/tickets.ts MAX_CHARACTERS": "four times what a ticket has; longer text is none",
  "auth/tickets.ts USED_MAX": "tickets remembered as used until they run out; beyond it UNAVAILABLE",
  "sync/ephemeral-counts.ts SESSIONS_MAX":
    "memory of what one socket has sent; beyond it the oldest is forgotten",
  "ids/ed25519.ts KNOWN_MAX": "cache of public keys",
  "ids/portable-ids.ts MAX_LETTERS": "twice what a hash has; longer text is none",
  "auth/oidc-discovery.ts FRESH_MS": "how long what a provider says of itself is taken for true",
  "auth/oidc-discovery.ts REST_MS": "pause before a provider is asked again for what it did not have",
  "auth/sessions.ts KNOWN_MAX": "cache of sessions",
  "auth/sessions.ts USED_EVERY_MS": "pause between writes of when a session was used",
  "auth/signin.ts ID_TOKENS_MAX":
    "ID tokens kept for logging out at the provider, which asks once more without",
  "auth/signin.ts ID_TOKEN_CHARS": "a longer ID token is not kept for logging out",
  "auth/tokens.ts KNOWN_MAX": "cache of checked tokens",
  "auth/people.ts KNOWN_MAX": "cache of people's rights",
  "auth/tokens.ts USES_EVERY_MS": "pause between writes of when tokens were used",
  "cli/bench-run.ts BUSY_PAUSE_MS": "pause of the benchmark",
  "cli/changes-command.ts AGAIN_MS": "pause before a feed that broke off is asked for again",
  "cli/changes-command.ts LINE_BYTES":
    "keeps the memory of the command line; the server's events are smaller",
  "http/feed-query.ts TIMEOUT": "how long a long poll waits unless told",
  "log/records.ts RAW_BYTES": "bytes read at once",
  "cli/connection.ts PATIENCE_MS": "how long a command waits for the directory",
  "cli/dev-memory.ts KEPT_MAX": "memory of the provider of `serve --dev`; the oldest sign-in is forgotten",
  "cli/dev-provider.ts FORM_BYTES": "a click on the page of `serve --dev`; longer is no click",
  "cli/exported-folder.ts NAME_MAX": "where file names of an export are cut",
  "cli/progress.ts PLAIN_MS": "pause between lines of progress",
  "cli/progress.ts TERMINAL_MS": "pause between lines of progress",
  "db/proofs.ts REST_MS": "when a document counts as resting",
  "documents/documents.ts IDLE_MS": "when a thread without work ends",
  "db/quarantine.ts BUDGET_MS": "one round's share of the worker",
  "db/quarantine.ts MAX_TRIES": "tries against faster writers",
  "db/quarantine.ts MOST_AT_ONCE": "changes tried at once",
  "db/scrub-check.ts INSPECT_MAX": "files whose structure the scrub goes through",
  "db/scrub.ts DAY_MS": "a day",
  "db/scrub.ts LATE_MS": "when the scrub takes the process for busy",
  "db/scrub.ts LEAST_REST_MS": "pause between slices of the scrub",
  "db/scrub.ts MOST_PUT_OFF": "slices of the scrub that are put off",
  "db/scrub.ts MOST_REST_MS": "pause between slices of the scrub",
  "db/scrub.ts MOST_TIMER_MS": "what a timer of the machine can wait",
  "db/write.ts MAX_TRIES": "tries against faster writers",
  "documents/align.ts MAX_CELLS": "table of the aligner; beyond it the change is coarser, not refused",
  "documents/json-value.ts MAX_PROBLEMS": "problems told of one value",
  "documents/worker-pool.ts MAX_BATCH": "jobs of one message",
  "documents/worker-pool.ts MAX_BATCH_BYTES": "bytes of one message",
  "documents/thread.ts REPLY_AFTER_MS": "when a batch answers what it has so far",
  "http/answer.ts LINGER_MS": "how long the rest of a refused body is listened to",
  "http/upgrade.ts KEEP_ALIVE_MS": "pause between probes of the kernel",
  "ids/names.ts CHECKED_MAX": "cache of checked names",
  "log/archive.ts ARCHIVE_DEBT_MS": "work after which an archive is written",
  "log/bundle.ts META_MAX": "part of a bundle, which only compaction writes",
  "log/change-columns.ts MAX_RUN": "keeps a sum from overflowing; the guard's limits are far below",
  "log/change-pack-headers.ts HEAD_LIMIT": "numbers of the pack's format",
  "log/change-pack-headers.ts MAX_REMEMBERED": "memory of the pack's coder; part of its format",
  "log/change-pack-objects.ts MAX_STANDING": "memory of the pack's coder; part of its format",
  "log/change-pack-ops.ts SHAPE_LIMIT": "numbers of the pack's format",
  "log/change-pack-streams.ts MAX_STREAM": "stream of a pack, which only compaction writes",
  "log/change-pack-values.ts MAX_NUMBER": "numbers of the pack's format",
  "log/change-pack-values.ts MAX_OPS": "larger changes are packed as they are",
  "log/change-pack-values.ts MAX_PREDS": "larger changes are packed as they are",
  "log/change-pack.ts MAX_BYTES": "whole pack, which only compaction writes",
  "log/adopt.ts RUN_BYTES": "commits of one merge",
  "log/log.ts SLICE_MS": "what checking received records takes before it gives way",
  "replication/exchange.ts MOST_TRIES": "tries without getting on",
  "replication/exchange.ts PAGE_BYTES": "records of one push",
  "replication/exchange.ts PAUSE_MS": "pause before a further try",
  "replication/serve.ts PAGE_BYTES": "records read at once",
  "log/log.ts GROUP_BYTES": "writes that share an append",
  "log/log.ts GROUP_MAX": "writes that share an append",
  "log/document-reader.ts LEFT_MAX": "cache of documents' points",
  "log/reader.ts LOCATED_MAX": "cache of where addresses are",
  "log/records.ts EXPANDED_MAX": "cache of opened bundles",
  "log/records.ts RANGE_BYTES": "bytes read at once",
  "log/saved-document.ts CHANGE_MAX_OP": "number of a column",
  "log/unchanged.ts LOOKED_MAX":
    "commits looked at for what they changed; beyond it what was read is read again",
  "log/unchanged.ts KEPT_MAX": "cache of what commits touched",
  "query/schema.ts MAX_TRIES": "tries against others who change the schema",
  "query/writes.ts HOLD_MS": "how long other writers wait for one that kept losing to them",
  "store/sqlite-trial.ts BUSY_MS": "how long a trial waits for who was just ended",
  "log/transaction.ts WALK_MAX": "changes looked at for an actor's order; beyond it CHANGE_SEQ",
  "db/check-documents.ts BATCH_BYTES": "changes replayed in one go",
  "db/check-documents.ts FAULTS_OF_BYTES": "a set of codes",
  "db/check-replay.ts BUSY_MS": "how soon a check asks the workers again",
  "db/verify.ts SHOWN_MS": "how often a check tells how far it is",
  "log/walk.ts SLICE_BYTES": "what a walk reads before it gives way",
  "projections/documents.ts LAG_MS": "how far the projection may lag",
  "projections/documents.ts PAUSE_MS": "how long writers must pause",
  "query/binding.ts MOST_NUMBER": "SQLite's own",
  "query/bounded.ts MOST_INSTRUCTIONS": "programs that the server runs itself",
  "query/near.ts MOST_CHARACTERS": "statements that the server runs itself",
  "query/open-tables.ts DROPPED_MAX":
    "statements that nobody has any more, until a connection is opened anew",
  "query/processes.ts LOOK_MS": "how often what runs is looked at",
  "query/slot.ts LONG_MS": "when nobody waits behind a statement any more",
  "query/processes.ts SPARE_IDLE_MS": "when a process without work ends",
  "query/processes.ts IDLE_MS": "when a process without work ends",
  "query/processes.ts STARTING_MS": "when a process that does not come up is given up",
  "query/query-child.ts OWN_BYTES": "what a process needs without any statement",
  "query/rows-job.ts PAGE_CHARS": "a page of a long answer",
  "query/watch-clock.ts LOOK_MS": "how often those who watch are looked at",
  "query/watches.ts FOLLOW_MS": "pause between two batches that watches ask for",
  "query/watches.ts KEPT_BYTES": "results that are kept; what is let go of is evaluated again",
  "query/watches.ts PAUSE_MS": "pause before an evaluation that came to nothing is tried again",
  "query/watches.ts QUICK_MS": "what an evaluation may take without having to rest",
  "query/watches.ts REST_MS": "what a watch that is always behind rests at most",
  "http/watch-answer.ts RETRY_MS": "when a client comes back",
  "query/watchdog.ts GRACE_MS": "how long the server's own deadline comes first",
  "query/watchdog.ts LOOK_MS": "how often what runs is looked at",
  "service.ts LOCAL_REQUEST_MS": "a request of the operator's own",
  "service.ts DRAIN_MS": "a stop's share for requests under way",
  "http/subscription-socket.ts CHECK_MS": "how often a silent socket is looked at",
  "store/sqlite-subscriptions.ts TIDY_BYTES": "write-ahead log that is moved into its file",
  "sync/batch.ts PORTION_BYTES": "changes of one message to peers that take single ones",
  "sync/document-sync.ts MOST_ASKED": "times that the same is asked for",
  "sync/histories.ts HELD_BYTES": "memory of all histories of a db",
  "sync/histories.ts OWN_BYTES": "what a history is taken to weigh",
  "sync/history.ts SLICE_MS": "when long work gives way",
  "sync/log-history.ts MESSAGE_BYTES": "messages kept for others",
  "sync/log-history.ts PAST_BYTES": "commits of one document in memory",
  "sync/log-history.ts SAVED_BYTES": "saved forms kept for others",
  "tables/bring-point.ts SLICE_MS": "how long others wait for a turn",
  "tables/bring-point.ts BUSY_MS": "until room on the workers is looked for again",
  "tables/tables.ts PAUSE_MS": "how long writers must pause",
  "tables/tables.ts LAG_MS": "how far the tables may lag",
  "store/seal.ts SEAL_MAX": "derived files that are sealed",
  "store/sqlite.ts CHECK_MAX": "files gone through when they are opened",
};

function limitsIn(file: SourceFile): string[] {
  return [...file.text.matchAll(/^(?:export )?const ([A-Z][A-Z0-9_]*)\b[^=\n]*=/gm)]
    .map((match) => match[1] as string)
    .filter((name) => /(?:^|_)(?:MAX|MOST|LIMITS?|DEADLINE|TIMEOUT|CHARS|BYTES|MS)(?:_|$)/.test(name))
    .filter((name) => !/^(?:CHECK|CID)_BYTES$|^BUCKETS_MS$/.test(name))
    .filter((name) => !new RegExp(`const ${name}\\b[^;]*LIMITS`).test(file.text));
}

const roomOf = (file: string): string =>
  file.includes("/") ? file.slice(0, file.indexOf("/")) : file.replace(/\.ts$/, "");

function importsOf(file: SourceFile): string[] {
  return [
    ...file.text.matchAll(/(?:^|\n)\s*(?:(?:import|export)\b[^;"'=]*?\bfrom\s*|import\s*)["']([^"']+)["']/g),
  ].map((m) => m[1] as string);
}

function localTarget(file: SourceFile, specifier: string): string {
  return path.posix.normalize(path.posix.join(path.posix.dirname(file.path), specifier));
}

const rules: Readonly<Record<string, (files: readonly SourceFile[]) => string[]>> = {
  "imports between folders go down the list": (files) =>
    files.flatMap((file) => {
      const room = roomOf(file.path);
      const allowed = MAY_IMPORT[room];
      if (!allowed) return [`${file.path}: the folder ${room} is not on the list`];
      return importsOf(file)
        .filter((specifier) => specifier.startsWith("."))
        .map((specifier) => localTarget(file, specifier))
        .filter((target) => roomOf(target) !== room && !allowed.includes(roomOf(target)))
        .map((target) => `${file.path} imports ${target}`);
    }),
  "the log sees only the contract of its storage": (files) =>
    files
      .filter((file) => roomOf(file.path) === "log")
      .flatMap((file) =>
        importsOf(file)
          .filter((specifier) => specifier.startsWith("."))
          .map((specifier) => localTarget(file, specifier))
          .filter((target) => roomOf(target) === "store" && !STORE_FOR_LOG.includes(target))
          .map((target) => `${file.path} imports ${target}`),
      ),
  "a package is used by its owners only": (files) =>
    files.flatMap((file) =>
      importsOf(file)
        .filter((specifier) => !specifier.startsWith(".") && !specifier.startsWith("node:"))
        .map((specifier) =>
          specifier
            .split("/")
            .slice(0, specifier.startsWith("@") ? 2 : 1)
            .join("/"),
        )
        .filter((name) => !(OWNERS[name] ?? []).includes(roomOf(file.path)))
        .map((name) => `${file.path} imports ${name}`),
    ),
  "node's own modules are imported with node:": (files) =>
    files.flatMap((file) =>
      importsOf(file)
        .filter((specifier) => builtinModules.includes(specifier))
        .map((specifier) => `${file.path} imports ${specifier}`),
    ),
  "there are no cycles": (files) => {
    const known = new Map(files.map((file) => [file.path, file]));
    const state = new Map<string, "open" | "done">();
    const complaints: string[] = [];
    const visit = (file: SourceFile, trail: readonly string[]): void => {
      if (state.get(file.path) === "done") return;
      if (state.get(file.path) === "open") {
        complaints.push([...trail.slice(trail.indexOf(file.path)), file.path].join(" -> "));
        return;
      }
      state.set(file.path, "open");
      for (const specifier of importsOf(file).filter((s) => s.startsWith("."))) {
        const target = known.get(localTarget(file, specifier));
        if (target) visit(target, [...trail, file.path]);
      }
      state.set(file.path, "done");
    };
    for (const file of files) visit(file, []);
    return complaints;
  },
  "nobody inside imports the barrel": (files) =>
    files.flatMap((file) =>
      importsOf(file)
        .filter((specifier) => specifier.startsWith(".") && localTarget(file, specifier) === "index.ts")
        .map(() => `${file.path} imports the barrel`),
    ),
  "files are kebab-case and one folder deep": (files) =>
    files
      .map((file) => file.path)
      .filter(
        (name) =>
          !/^(?:[a-z0-9]+(?:-[a-z0-9]+)*\/)?[a-z0-9]+(?:-[a-z0-9]+)*\.ts$/.test(name) &&
          !/^ui\/(?:(?:pages|parts|strings)\/)?[a-z0-9]+(?:-[a-z0-9]+)*(?:\.svelte|\.d)?(?:\.ts|(?<=\.svelte))$/.test(
            name,
          ),
      ),
  "the dashboard puts no text into the page as markup": (files) =>
    files
      .filter((file) => roomOf(file.path) === "ui")
      .flatMap((file) =>
        [
          ...file.text.matchAll(
            /\{@html\b|\.(?:inner|outer)HTML\b|insertAdjacentHTML|document\.write\b|\sstyle="/g,
          ),
        ].map(([found]) => `${file.path} has ${found}`),
      ),
  "no file is a drawer for anything": (files) =>
    files
      .map((file) => file.path)
      .filter((name) => /(?:^|\/)(?:util|utils|helpers?|common|types|misc)\.ts$/.test(name)),
  "limits stand in limits.ts, and what only looks like one says what it is": (files) =>
    files
      .filter((file) => file.path !== "limits.ts" && roomOf(file.path) !== "ui")
      .flatMap((file) => limitsIn(file).map((name) => `${file.path} ${name}`))
      .filter((name) => OWN_BUDGETS[name] === undefined),
  "options that bound a request are not numbers of their own": (files) =>
    files
      .filter((file) => file.path !== "limits.ts")
      .flatMap((file) =>
        [
          ...file.text.matchAll(
            /\b(?:maxPayload|maxHeaderSize|requestTimeout|headersTimeout|keepAliveTimeout|deadlineMs|queueLimit|maxBytes): [\d_]+|\.max\([\d_]+\)/g,
          ),
        ].map(([found]) => `${file.path} ${found}`),
      ),
  "only config reads the environment": (files) =>
    files
      .filter((file) => file.path !== "config.ts" && /process\.env\b/.test(file.text))
      .map((file) => file.path),
  "only world touches clocks, timers and randomness": (files) =>
    files
      .filter((file) => !OUTSIDE_WORLD.has(roomOf(file.path)) && file.path !== CLIENT_WORLD)
      .flatMap((file) => [...file.text.matchAll(MACHINE)].map((found) => `${file.path} uses ${found[0]}`)),
};

/** For each rule a file that breaks it. */
const BROKEN: Readonly<Record<string, readonly SourceFile[]>> = {
  "imports between folders go down the list": [
    { path: "ids/x.ts", text: `import type { A } from "../http/server.ts";` },
  ],
  "the log sees only the contract of its storage": [
    { path: "log/x.ts", text: `import { a } from "../store/sqlite-log.ts";` },
  ],
  "a package is used by its owners only": [
    { path: "http/x.ts", text: `import Database from "better-sqlite3";` },
  ],
  "node's own modules are imported with node:": [{ path: "ids/x.ts", text: `import fs from "fs";` }],
  "there are no cycles": [
    { path: "ids/a.ts", text: `import { b } from "./b.ts";` },
    { path: "ids/b.ts", text: `export * from "./a.ts";` },
  ],
  "nobody inside imports the barrel": [{ path: "db/x.ts", text: `import { openDb } from "../index.ts";` }],
  "files are kebab-case and one folder deep": [{ path: "db/deep/fooBar.ts", text: "" }],
  "the dashboard puts no text into the page as markup": [
    { path: "ui/pages/x.svelte", text: "<p>{@html document.title}</p>" },
  ],
  "no file is a drawer for anything": [{ path: "db/utils.ts", text: "" }],
  "limits stand in limits.ts, and what only looks like one says what it is": [
    { path: "http/x.ts", text: "const MAX_DEPTH = 9;" },
  ],
  "options that bound a request are not numbers of their own": [
    { path: "http/x.ts", text: "z.string().max(128)" },
  ],
  "only config reads the environment": [{ path: "db/x.ts", text: "const a = process.env.HOME;" }],
  "only world touches clocks, timers and randomness": [{ path: "db/x.ts", text: "const a = Date.now();" }],
};

const files: readonly SourceFile[] = (readdirSync(SRC, { recursive: true }) as string[])
  .filter((name) => /\.(?:ts|svelte)$/.test(name))
  .map((name) => ({ path: name.replaceAll("\\", "/"), text: readFileSync(path.join(SRC, name), "utf8") }));

/** Each way to a clock, a timer or randomness, so that the rule misses none of them. */
const WAYS = [
  "Date.now()",
  "new Date()",
  "performance.now()",
  "process.hrtime.bigint()",
  "setTimeout(a, 1)",
  "setImmediate(a)",
  "setInterval(a, 1)",
  "AbortSignal.timeout(1)",
  'import { setTimeout as wait } from "node:timers/promises";',
  "randomBytes(1)",
  "randomUUID()",
  "crypto.getRandomValues(a)",
  "Math.random()",
];
test("every own budget is still there", () => {
  const there = files.flatMap((file) => limitsIn(file).map((name) => `${file.path} ${name}`));
  expect(Object.keys(OWN_BUDGETS).filter((name) => !there.includes(name))).toEqual([]);
});

describe("architecture", () => {
  test.each(WAYS)("the rule on the world sees %s", (text) => {
    const rule = rules["only world touches clocks, timers and randomness"];
    expect(rule?.([{ path: "db/x.ts", text }])).not.toEqual([]);
    expect(rule?.([{ path: "world.ts", text }])).toEqual([]);
  });
  test("there is something to look at", () => {
    expect(files.length).toBeGreaterThan(30);
  });
  test.each(Object.keys(rules))("%s", (name) => {
    expect(rules[name]?.(files)).toEqual([]);
  });
  test.each(Object.keys(rules))("the rule sees a breach: %s", (name) => {
    expect(rules[name]?.(BROKEN[name] ?? [])).not.toEqual([]);
  });
});
