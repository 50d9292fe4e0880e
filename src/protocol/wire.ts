import * as z from "zod";
import { LIMITS } from "../limits.ts";

/**
 * Shapes of the HTTP surface. The same schemas validate requests and make the OpenAPI document.
 * Objects are strict: an unknown field is a mistake somewhere, and the sender should hear of it.
 * Counts and names are checked where every way in meets, so that their codes are the same everywhere.
 */

export const Hash = z
  .string()
  .regex(/^[0-9a-f]{64}$/, "expected 64 hex digits")
  .meta({ id: "Hash", description: "An Automerge change hash: SHA-256 in lower-case hex." });
export const Heads = z
  .array(Hash)
  .meta({ id: "Heads", maxItems: LIMITS.tx.heads.value, description: "Tips of a document's change graph." });
export const DocRef = z
  .string()
  .meta({ id: "DocRef", description: "`collection/key`.", example: "notes/hello" });
export const Cid = z.string().meta({ id: "Cid", description: "CIDv1, blake3-256, multibase base32." });
export const Time = z.string().meta({ id: "Time", format: "date-time", description: "RFC 3339." });
export const CursorText = z.string().meta({ id: "Cursor", description: "Opaque place in the log." });

const Base64 = z.string().meta({ description: "Base64 of the bytes of one Automerge change." });

const base_heads = Heads.optional().meta({
  description: "Refuse with HEADS_CONFLICT unless the document is at these heads; leave out to merge.",
});

export const TxWrite = z
  .union([
    z.strictObject({
      doc: DocRef,
      base_heads,
      changes: z.array(Base64).min(1).meta({ maxItems: LIMITS.tx.changes.value }),
    }),
    z.strictObject({ doc: DocRef, base_heads, value: z.record(z.string(), z.unknown()) }),
    z.strictObject({ doc: DocRef, base_heads, patch: z.record(z.string(), z.unknown()) }),
    z.strictObject({ doc: DocRef, base_heads, delete: z.literal(true) }),
  ])
  .meta({
    id: "TxWrite",
    description: "One document's part of a transaction: changes, a value, a merge patch, or its deletion.",
  });

export const TxRequest = z
  .strictObject({
    client_tx_id: z
      .string()
      .optional()
      .meta({ maxLength: LIMITS.names.txIdCharacters.value, description: "Makes repeating safe." }),
    message: z.string().max(LIMITS.tx.messageCharacters.value).optional(),
    expect_seq: z
      .int()
      .min(0)
      .optional()
      .meta({ description: "Refuse with SEQ_CONFLICT unless the db is at this seq." }),
    reads: z
      .array(z.strictObject({ doc: DocRef, heads: Heads }))
      .meta({ maxItems: LIMITS.tx.reads.value })
      .optional(),
    writes: z.array(TxWrite).min(1).meta({ maxItems: LIMITS.tx.writes.value }),
    merge_of: z
      .array(
        z.strictObject({
          branch: z.string(),
          heads: z.array(Cid).length(1),
        }),
      )
      .length(1)
      .optional()
      .meta({
        description:
          "Makes it a merge: all that the branch has up to the commit named comes in as well, and the writes, which are changes, stand on top.",
      }),
  })
  .meta({ id: "TxRequest" });

export const RestoreRequest = z
  .strictObject({
    at: z
      .string()
      .max(LIMITS.query.pointCharacters.value)
      .meta({ description: "A seq, a commit's address, or an RFC 3339 time." }),
    documents: z.array(DocRef).meta({ maxItems: LIMITS.tx.writes.value }).optional(),
    collection: z.string().optional(),
    as: z
      .enum(["commits", "branch"])
      .optional()
      .meta({ description: "`branch` makes a branch at that point in the place of commits on `main`." }),
    branch: z.string().optional().meta({ description: "Name of that branch." }),
    message: z.string().max(LIMITS.tx.messageCharacters.value).optional(),
  })
  .meta({ id: "RestoreRequest" });

export const Receipt = z
  .object({
    commit: Cid,
    seq: z.int(),
    time: Time,
    heads: z.record(z.string(), Heads),
    duplicate: z.boolean().meta({ description: "All of it was in the log before." }),
    cursor: CursorText,
  })
  .meta({ id: "Receipt" });

export const TxOutcome = z.enum(["created", "changed", "deleted", "unchanged"]);

export const TxReceipt = Receipt.extend({
  outcomes: z
    .record(z.string(), TxOutcome)
    .optional()
    .meta({ description: "With `?outcomes=true`: what became of each document." }),
}).meta({ id: "TxReceipt" });

export const Problem = z
  .looseObject({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.string().meta({ description: "Stable; see /docs." }),
    detail: z.string(),
    hint: z.string(),
    request_id: z.string(),
    errors: z.array(z.object({ pointer: z.string(), message: z.string() })).optional(),
  })
  .meta({ id: "Problem", description: "RFC 9457 problem details." });

export const DbInfo = z
  .object({
    db: z.string(),
    uid: z.string(),
    created: Time,
    seq: z.int(),
    commit: Cid.nullable(),
    branches: z.array(z.string()),
    documents: z.int(),
    deleted: z.int(),
    bytes: z.int(),
    cursor: CursorText,
  })
  .meta({ id: "DbInfo" });

const Count = z.int().min(0);

export const DbSettings = z
  .strictObject({
    bundling: z
      .strictObject({ commits: Count.optional(), bytes: Count.optional(), age_ms: Count.optional() })
      .optional(),
  })
  .meta({ id: "DbSettings" });

export const DbList = z.object({
  dbs: z.array(z.object({ db: z.string(), created: Time })),
  cursor: z.string().nullable(),
});

const AutomergeUrl = z.string().meta({
  description: "Its name for Automerge clients: `repo.find` takes it.",
  example: "automerge:2akvof…",
});

export const DocSummary = z
  .object({
    doc: DocRef,
    collection: z.string(),
    key: z.string(),
    seq: z.int(),
    heads: Heads,
    automerge_url: AutomergeUrl,
    value: z.unknown().optional(),
  })
  .meta({ id: "DocSummary" });
export const DocNamed = z
  .object({
    doc: DocRef,
    collection: z.string(),
    key: z.string(),
    automerge_url: AutomergeUrl,
  })
  .meta({ id: "DocNamed" });
export const DocList = z.object({ docs: z.array(DocSummary), seq: z.int(), cursor: z.string().nullable() });

const Refused = z.array(Hash).meta({
  description: "Changes that Automerge does not take, set aside by this commit: they count no more.",
});

export const HistoryList = z.object({
  doc: DocRef,
  history: z.array(
    z.object({
      seq: z.int(),
      commit: Cid,
      time: Time,
      author: z.string(),
      message: z.string().optional(),
      heads: Heads,
      changes: z.int(),
      deleted: z.boolean(),
      refused: Refused.optional(),
    }),
  ),
  cursor: z.string().nullable(),
});

/** What `POST …/erase` takes. */
export const EraseRequest = z.strictObject({
  reason: z
    .string()
    .max(LIMITS.tx.messageCharacters.value)
    .optional()
    .meta({ description: "Stands in the log for ever: nothing of the person's." }),
  client_tx_id: z.string().optional(),
});

export const EraseAnswer = z.object({
  doc: DocRef,
  commit: Cid,
  seq: z.int(),
  time: Time,
  duplicate: z.boolean(),
  cursor: z.string(),
  /** False when the disk was full or a reader of the file was in the way: the server goes on trying. */
  removed: z.boolean(),
  blocks: z.int(),
  bytes: z.int(),
  /** What is not erased. */
  stays: z.string(),
});

export const ErasureList = z.object({
  erasures: z.array(z.object({ doc: DocRef, seq: z.int(), commit: Cid, time: Time })),
  cursor: z.string().nullable(),
});

/** Erasures as another server lists them; only the names are looked at. */
export const ErasureRequest = z.strictObject({
  erasures: z.array(z.looseObject({ doc: z.string() })).max(LIMITS.tx.writes.value),
});

export const ErasuresApplied = z.object({ erased: z.int() });

export const RetentionRequest = z.strictObject({
  max_age: z.int().min(1).meta({ description: "Seconds after which deleted documents are erased." }),
  expire: z
    .boolean()
    .optional()
    .meta({ description: "Also erase documents that are there and were not written for as long." }),
});

export const RetentionList = z.object({
  rules: z.array(z.object({ collection: z.string(), max_age: z.int(), expire: z.boolean() })),
});

export const RetentionSet = z.object({ commit: Cid, seq: z.int(), time: Time, cursor: z.string() });

export const RetentionApplied = z.object({
  documents: z.int(),
  commits: z.array(z.int()),
  removed: z.boolean(),
});

export const DiffAnswer = z.object({
  from: z.int(),
  to: z.int(),
  patch: z.array(z.looseObject({ op: z.string(), path: z.string() })),
});

const SignedJson = z.object({
  signer: z.string().meta({ description: "`did:key` of a server." }),
  signature: z.string().meta({ description: "Its Ed25519 signature, in base64." }),
});
const Point = z.object({ branch: z.string(), seq: z.int(), commit: Cid.nullable() });

export const DbDiff = z
  .object({
    from: Point,
    to: Point,
    counts: z
      .object({ added: z.int(), changed: z.int(), deleted: z.int() })
      .meta({ description: "Of all pages together." }),
    docs: z.array(
      z.object({
        doc: DocRef,
        change: z.enum(["added", "changed", "deleted"]),
        from_heads: Heads,
        to_heads: Heads,
        patch: z
          .array(z.looseObject({ op: z.string(), path: z.string() }))
          .optional()
          .meta({ description: "Unless `patches=false`; a document that is not there counts as {}." }),
        error: z.string().optional().meta({ description: "Code of what keeps the patch from being made." }),
      }),
    ),
    cursor: z.string().nullable(),
  })
  .meta({ id: "DbDiff", description: "What became of documents from one point to another, by name." });

export const CommitJson = z
  .object({
    cid: Cid,
    version: z.int(),
    db: z.string(),
    branch: z.string(),
    seq: z.int(),
    parents: z.array(Cid),
    line: Cid.optional().meta({
      description: "The commit with the seq before, when the first parent is another.",
    }),
    time: Time,
    author: z.string(),
    message: z.string().optional(),
    entries: z.array(
      z.object({
        doc: DocRef,
        base: Heads,
        changes: z.array(Cid),
        heads: Heads,
        deleted: z.boolean().optional(),
        refused: Refused.optional(),
      }),
    ),
    events: z.array(Cid),
    signed: SignedJson.optional(),
  })
  .meta({ id: "Commit" });
export const CommitList = z.object({ commits: z.array(CommitJson), seq: z.int(), cursor: CursorText });

export const BranchInfo = z
  .object({
    name: z.string(),
    id: z.int().meta({ description: "The seq of the commit that made it; 0 of `main`." }),
    state: z.enum(["open", "closed"]),
    from: z
      .object({ branch: z.string(), seq: z.int() })
      .nullable()
      .meta({ description: "The branch it was made from, and the last seq of that which it has." }),
    head: z.object({ seq: z.int(), commit: Cid.nullable() }),
    merged: z.array(z.object({ branch: z.string(), id: z.int(), up_to: z.int() })).meta({
      description: "What merges brought: of these branches everything up to a seq.",
    }),
    time: Time.nullable().meta({ description: "When it was made." }),
    author: z.string().nullable().meta({ description: "Who made it." }),
    message: z.string().optional(),
  })
  .meta({ id: "Branch" });
export const BranchDetail = BranchInfo.extend({
  lineage: z
    .array(z.object({ branch: z.string(), id: z.int(), up_to: z.int().nullable() }))
    .meta({ description: "What it stands on, itself first: of each branch the last seq that it has." }),
}).meta({ id: "BranchDetail" });
export const BranchList = z.object({ branches: z.array(BranchInfo), cursor: z.string().nullable() });
export const BranchRequest = z
  .strictObject({
    name: z.string(),
    from: z
      .strictObject({
        branch: z.string().optional().meta({ description: "`main` when left out." }),
        at: z
          .union([z.string(), z.int().min(0)])
          .optional()
          .meta({ description: "A seq, a commit's address or a time; the branch's head when left out." }),
      })
      .optional(),
    message: z.string().optional(),
    client_tx_id: z.string().optional(),
  })
  .meta({ id: "BranchRequest" });

const ConflictSide = z.object({
  value: z.unknown().optional().meta({ description: "Left out when this side has nothing there." }),
  author: z.string().meta({ description: "Who wrote this side's last change to it." }),
});

export const MergeConflict = z
  .object({
    doc: DocRef,
    path: z.string().meta({
      description: "JSON pointer; empty when one side deleted the document and the other changed it.",
    }),
    winner: z.enum(["into", "from"]).meta({ description: "Whose value the document shows." }),
    into: ConflictSide,
    from: ConflictSide,
  })
  .meta({ id: "MergeConflict", description: "What both sides changed to different values." });

export const MergeRequest = z
  .strictObject({
    into: z.string().meta({ description: "The branch that takes it in." }),
    dry_run: z.boolean().optional().meta({ description: "Answer as if merged and keep nothing." }),
    close: z.boolean().optional().meta({ description: "Close the merged branch in the same step." }),
    message: z.string().max(LIMITS.tx.messageCharacters.value).optional(),
    client_tx_id: z.string().optional(),
  })
  .meta({ id: "MergeRequest" });

export const MergeReceipt = Receipt.extend({
  fast_forward: z.boolean().meta({ description: "Nothing was written on the target meanwhile." }),
  documents: z.int().meta({ description: "Documents that were written." }),
  commits: z.int().meta({ description: "Commits it took: more than one for a very large merge." }),
  conflicts: z.array(MergeConflict),
  more_conflicts: z.boolean().meta({ description: "There are more of them than an answer takes." }),
  unchecked: z
    .array(z.object({ doc: DocRef, error: z.string() }))
    .meta({ description: "Documents that are merged and whose conflicts could not be worked out." }),
}).meta({ id: "MergeReceipt" });

export const HeadJson = z
  .object({
    db: z.string(),
    uid: z.string(),
    branch: z.string(),
    seq: z.int(),
    commit: Cid.nullable(),
    time: Time.nullable(),
    signed: SignedJson.nullable().meta({ description: "Null when this server has no key." }),
    checkpoint: z.string().meta({ description: "The same as a text, as `text/plain` gives it." }),
    cursor: CursorText,
  })
  .meta({ id: "Head" });

export const KeyInfo = z
  .object({
    did: z.string(),
    state: z.enum(["current", "next", "retired"]),
    created: Time,
    retired: Time.nullable(),
  })
  .meta({ id: "SigningKey" });
export const KeyList = z.object({ signs: z.boolean(), keys: z.array(KeyInfo) });
export const KeyRotated = z.object({ from: z.string(), to: z.string(), dbs: z.array(z.string()) });

export const ChangeEvent = z
  .object({
    seq: z.int(),
    cursor: CursorText,
    commit: Cid,
    time: Time,
    author: z.string(),
    branch: z.string(),
    docs: z.array(
      z.object({
        doc: DocRef,
        heads: Heads,
        deleted: z.boolean().optional(),
        erased: z.boolean().optional().meta({ description: "This commit erased it." }),
        refused: Refused.optional(),
        changes: z.array(Base64).optional().meta({ description: "With `include=changes`." }),
        value: z.unknown().optional().meta({ description: "With `include=json`: as of this commit." }),
        patch: z
          .array(z.looseObject({ op: z.string(), path: z.string() }))
          .optional()
          .meta({ description: "With `include=patch`: what this commit did." }),
        error: z
          .string()
          .optional()
          .meta({ description: "Code of what keeps the value or the patch from being read." }),
      }),
    ),
    message: z.string().optional(),
  })
  .meta({ id: "ChangeEvent", description: "A commit, as far as the reader may see it." });
export const ChangesPage = z
  .object({
    events: z.array(ChangeEvent),
    cursor: CursorText,
    seq: z.int().meta({ description: "Everything up to this commit was looked at." }),
    more: z.boolean().meta({ description: "There are later commits." }),
  })
  .meta({ id: "ChangesPage" });

export const VerifyLine = z
  .object({
    checked: z.int(),
    of: z.int(),
    stage: z
      .enum(["log", "feed", "catalog", "documents", "routes"])
      .optional()
      .meta({ description: "What is being checked; `checked` and `of` count commits or documents." }),
    verdict: z.enum(["sound", "damaged"]).optional(),
    stages: z.array(z.string()).optional().meta({ description: "What was checked." }),
    seq: z.int().optional(),
    commit: Cid.nullable().optional(),
    receipts: z.int().optional().meta({ description: "Receipts that were compared." }),
    signatures: z
      .object({
        commits: z.int().meta({ description: "Commits that are signed, those within merges included." }),
        signers: z.array(z.string()),
        rotations: z
          .array(z.object({ seq: z.int(), from: z.string(), to: z.string() }))
          .meta({ description: "Keys that another one follows, as the log says; oldest first." }),
      })
      .optional()
      .meta({ description: "When any commit is signed." }),
    problems: z
      .array(
        z.object({
          what: z.string().meta({ description: "Name of the invariant that does not hold." }),
          where: z.string(),
          means: z.string().meta({ description: "What should hold." }),
          heals: z
            .literal("rebuild")
            .optional()
            .meta({ description: "Only derived data is wrong; a rebuild puts it right." }),
        }),
      )
      .optional(),
  })
  .meta({ id: "VerifyLine", description: "Progress; the last line has the verdict." });

/** A line of what is held against a log: a receipt as it was answered, or these fields of it. */
export const HeldReceiptLine = z
  .looseObject({ db: z.string().optional(), seq: z.int().min(0), commit: Cid })
  .meta({ id: "HeldReceipt" });

export const Status = z
  .object({
    version: z.string(),
    node: z.string(),
    automerge: z.string(),
    uptime_seconds: z.number(),
    dbs: z.object({ known: z.int(), open: z.int() }),
    workers: z.looseObject({}),
    subscriptions: z
      .object({
        subscriptions: z.int(),
        consumers: z.int().meta({ description: "Connected now." }),
        lag: z.int().meta({ description: "Commits that are not acknowledged, summed." }),
        worst: z.int().meta({ description: "Of the one that is furthest behind." }),
        parked: z.int().meta({ description: "Events that came to nothing too often." }),
      })
      .meta({ description: "Durable subscriptions of dbs that were open since the start." }),
    memory: z.object({ rss: z.int() }),
    limits: z
      .record(z.string(), z.int())
      .meta({ description: "What to stay below; specs/12-limits.md has all of them." }),
    scrub: z
      .object({
        progress: z.number().meta({ description: "Of the pass under way, 0 to 1." }),
        findings: z.int().meta({ description: "Damage found in the last pass; the server's log names it." }),
        last_pass: Time.nullable().meta({ description: "When a pass was last ended." }),
      })
      .meta({ description: "The background check of everything that is stored." }),
  })
  .meta({ id: "Status" });

export const TicketRequest = z
  .strictObject({
    db_id: z.string().min(1),
    action: z.enum(["sync", "doc.read", "query.read", "query.run"]).meta({
      description:
        "`sync` is for sync sockets and gives what the token may read and write; `doc.read` is for feeds, `query.read` for watches, `query.run` for stored statements.",
    }),
    expires_in: z
      .int()
      .min(1)
      .optional()
      .meta({ description: "Seconds: 60 when left out, a day for a reusable one." }),
    reusable: z
      .boolean()
      .optional()
      .meta({ description: "For clients that connect again with the same URL; by default one use." }),
  })
  .meta({ id: "TicketRequest" });
export const TicketMade = z.object({ ticket: z.string(), expires_at: Time }).meta({ id: "TicketMade" });
export const ArchiveKindText = z.enum(["history", "state"]).meta({
  description:
    "`history`: every commit up to the point, under its address. `state`: the documents as they were there, each with its own history and nothing of the db's.",
});

const SnapshotName = z.string().meta({ description: "Letters, digits, `.`, `_` and `-`." });

export const SnapshotRequest = z
  .strictObject({
    name: SnapshotName.optional().meta({ description: "One is made up when left out." }),
    at: z
      .string()
      .max(LIMITS.query.pointCharacters.value)
      .optional()
      .meta({ description: "A seq, a commit's address, or an RFC 3339 time; the head when left out." }),
    kind: ArchiveKindText.default("history"),
    branch: z
      .string()
      .max(LIMITS.query.pointCharacters.value)
      .optional()
      .meta({ description: "Of a state: whose documents. A history has all branches." }),
    message: z.string().max(LIMITS.tx.messageCharacters.value).optional(),
  })
  .meta({ id: "SnapshotRequest" });

export const SnapshotRestoreRequest = RestoreRequest.omit({ at: true }).meta({
  id: "SnapshotRestoreRequest",
});

export const SnapshotInfo = z
  .object({
    name: z.string(),
    kind: ArchiveKindText,
    branch: z.string().nullable().meta({ description: "Of a state; null for a history." }),
    seq: z.int().meta({ description: "The point that it names; 0 is before the first commit." }),
    commit: Cid.nullable(),
    created: Time,
    message: z.string().nullable(),
  })
  .meta({ id: "SnapshotInfo", description: "A point of a db that was given a name." });
export const SnapshotList = z.object({ snapshots: z.array(SnapshotInfo), cursor: z.string().nullable() });

export const SnapshotVerifyLine = z
  .object({
    bytes: z.int(),
    blocks: z.int(),
    verdict: z.enum(["sound", "damaged"]).optional(),
    root: Cid.optional(),
    seq: z.int().optional(),
    commit: Cid.nullable().optional(),
    documents: z.int().optional(),
    problem: z
      .object({ code: z.string(), detail: z.string() })
      .optional()
      .meta({ description: "Of `damaged`: what is wrong, and where." }),
  })
  .meta({ id: "SnapshotVerifyLine", description: "How far it is; the last line has the verdict." });

export const ArchiveImported = z
  .object({
    db: z.string(),
    uid: z.string(),
    kind: ArchiveKindText,
    root: Cid,
    bytes: z.int(),
    seq: z.int().meta({ description: "The new db's last commit." }),
    commit: Cid.nullable(),
    documents: z.int().meta({ description: "That are there and not deleted." }),
  })
  .meta({ id: "ArchiveImported", description: "The db that was made of an archive." });

export const SyncPlace = z
  .strictObject({ seq: z.int().min(0), commit: Cid.nullable() })
  .meta({ id: "SyncPlace", description: "A commit of a line; seq 0 and null before the first." });

export const SyncCompareRequest = z
  .strictObject({
    have: z
      .array(SyncPlace)
      .max(LIMITS.sync.places.value)
      .default([])
      .meta({ description: "Commits of another copy: `common` is the newest of them that is on this line." }),
    between: z
      .strictObject({ low: z.int().min(0), high: z.int().min(0) })
      .optional()
      .meta({ description: "Asks for places strictly between two seqs instead of ever wider apart." }),
  })
  .meta({ id: "SyncCompareRequest" });

export const SyncCompare = z
  .object({
    db: z.string(),
    uid: z.string(),
    seq: z.int(),
    commit: Cid.nullable(),
    epoch: z.int(),
    common: SyncPlace,
    places: z.array(SyncPlace).meta({ description: "Of this copy, newest first." }),
    staged: SyncPlace.nullable().meta({
      description: "The last commit of another copy's line that is kept beside this one, to be merged.",
    }),
  })
  .meta({ id: "SyncCompare", description: "Where a copy of a db stands, and up to where another agrees." });

export const BackupRequest = z
  .strictObject({
    have: z.array(SyncPlace).max(LIMITS.sync.places.value).default([]).meta({
      description: "Commits that the backup has; what comes goes on from the newest that is on this line.",
    }),
    known: SyncPlace.optional().meta({
      description: "The head of an earlier backup: the answer says whether it is on this line.",
    }),
    all: z.boolean().optional().meta({ description: "From the first commit on, whatever the backup has." }),
  })
  .meta({ id: "BackupRequest" });

export const SyncPullRequest = z
  .strictObject({
    after: SyncPlace,
    up_to: z
      .int()
      .min(0)
      .optional()
      .meta({ description: "The last seq that is wanted; the head when left out." }),
  })
  .meta({ id: "SyncPullRequest", description: "Asks for every record after a commit that both have." });

export const SyncPushed = z
  .object({ seq: z.int(), commit: Cid.nullable(), cursor: CursorText })
  .meta({ id: "SyncPushed", description: "Where the db is now; all of it is durable." });

export const SyncMerged = z
  .object({
    seq: z.int(),
    commit: Cid,
    epoch: z.int(),
    common: z.int().meta({ description: "The last seq that both lines had." }),
    heads: z
      .array(SyncPlace)
      .meta({ description: "The two heads that there were: this copy's, the other's." }),
    cursor: CursorText,
  })
  .meta({ id: "SyncMerged", description: "Where the db is after a merge, in a new life." });

export const SyncRemote = z
  .strictObject({
    url: z
      .string()
      .max(LIMITS.sync.urlCharacters.value)
      .meta({ description: "Of the db on the other server, such as https://host/api/v1/db/shop." }),
  })
  .meta({ id: "SyncRemote", description: "Where a copy was cloned from." });

/** For who may not know how shapes are checked. */
export type SyncPlaceJson = z.infer<typeof SyncPlace>;
export type ErasureListJson = z.infer<typeof ErasureList>;
export type SyncCompareJson = z.infer<typeof SyncCompare>;
export type SyncPushedJson = z.infer<typeof SyncPushed>;
export type SyncMergedJson = z.infer<typeof SyncMerged>;
