import * as z from "zod";
import type { Db } from "../db/db.ts";
import { checkNotAfter, resolvePoint, resolveSeq } from "../db/point.ts";
import { SkaldError } from "../errors.ts";
import { CODEC_DAG_CBOR, cidCodec, cidFromString, cidToString } from "../ids/cid.ts";
import { LIMITS } from "../limits.ts";
import { toHex } from "../ids/hash.ts";
import type { StoredCommit } from "../log/log.ts";
import { mergedIn } from "../log/merged.ts";
import { commitTest, EVERY_BRANCH, type CommitTest } from "../subscriptions/feed-filter.ts";
import { CommitJson, CommitList } from "../protocol/wire.ts";
import { notModified } from "./etag.ts";
import {
  branchIn,
  cursorAt,
  iso,
  nextLink,
  onBranch,
  pageQuery,
  pointHeaders,
  pointQuery,
  pointText,
  seqOfCursor,
} from "./point.ts";
import { json, type Answer, type Call, type Route } from "./route.ts";

const DAG_CBOR = "application/vnd.ipld.dag-cbor";
const RAW = "application/vnd.ipld.raw";
const tag = "log";
/** Commits read before their bytes are looked at. */
const STEP = 50;
/** Commits passed over for one page that other branches made. */
const LOOKED_AT = 16_384;
/** Content never changes under its address, but who may see it does, so only the client's own cache keeps it. */
const IMMUTABLE = "private, max-age=31536000, immutable";

export const logRoutes: readonly Route[] = [
  {
    method: "GET",
    path: "/db/:db/commits",
    summary: "Commits after a seq, oldest first",
    tag,
    access: "doc.read",
    query: z.strictObject({
      ...pageQuery,
      branch: pointQuery.branch,
      at: pointText.optional().meta({ description: "The last commit listed; the head when left out." }),
      since: pointText.optional().meta({ description: "A seq, commit address or time; 0 when left out." }),
    }),
    answers: { 200: { description: "A page.", types: { "application/json": CommitList } } },
    handle: (call) =>
      call.db(async (db) => {
        await db.locate(call.query["since"] as string | undefined);
        await db.locate(call.query["at"] as string | undefined);
        return listCommits(call, db);
      }),
  },
  {
    method: "GET",
    path: "/db/:db/commits/:cid",
    summary: "One commit",
    tag,
    access: "doc.read",
    answers: {
      200: { description: "The commit.", types: { "application/json": CommitJson, [DAG_CBOR]: "raw" } },
      304: { description: "Still what If-None-Match names." },
    },
    handle: (call) =>
      call.db(async (db) => {
        const text = call.params["cid"] as string;
        await db.locate(text);
        const stored = findCommit(db, text);
        const bytes = (call.header("accept") ?? "").toLowerCase().includes(DAG_CBOR);
        // Two forms of one commit are not the same bytes (RFC 9110 section 8.8.3).
        const etag = `"${cidToString(stored.cid)}${bytes ? "" : ";json"}"`;
        const headers = { etag, "cache-control": IMMUTABLE, vary: "accept" };
        if (notModified(call.header("if-none-match"), etag)) return { status: 304, headers };
        if (bytes) {
          return { status: 200, headers: { ...headers, "content-type": DAG_CBOR }, body: stored.bytes };
        }
        return json(200, commitJson(stored), headers);
      }),
  },
  {
    method: "GET",
    path: "/db/:db/blocks/:cid",
    summary: "The bytes behind an address",
    tag,
    access: "doc.read",
    answers: {
      200: {
        description: "Exactly the bytes that hash to the address.",
        types: { [RAW]: "raw", [DAG_CBOR]: "raw" },
      },
      304: { description: "Still what If-None-Match names." },
    },
    handle: (call) =>
      call.db(async (db) => {
        const text = call.params["cid"] as string;
        await db.locate(text);
        const cid = cidFromString(text);
        const bytes = db.log.block(cid);
        if (!bytes) throw new SkaldError("BLOCK_NOT_FOUND", `No block of this db has the address ${text}.`);
        const type = cidCodec(cid) === CODEC_DAG_CBOR ? DAG_CBOR : RAW;
        const headers = { etag: `"${cidToString(cid)}"`, "cache-control": IMMUTABLE };
        if (notModified(call.header("if-none-match"), headers.etag)) return { status: 304, headers };
        return { status: 200, headers: { "content-type": type, ...headers }, body: bytes };
      }),
  },
];

function listCommits(call: Call, db: Db): Answer {
  const branch = branchIn(call);
  const { limit, cursor, since, at } = call.query as {
    limit: number;
    cursor?: string;
    since?: string;
    at?: string;
  };
  const upTo = branch === EVERY_BRANCH ? resolveSeq(db.log, at) : resolvePoint(db.log, at, branch);
  const after = checkNotAfter(
    upTo,
    cursor === undefined ? resolveSeq(db.log, since ?? "0") : seqOfCursor(db, cursor),
  );
  const test = commitTest(db.log, onBranch(branch));
  const { commits, last } = commitsFrom(db, after, upTo, limit, test);
  const more = last < upTo;
  return json(
    200,
    { commits: commits.map(commitJson), seq: upTo, cursor: cursorAt(db, last) },
    {
      ...pointHeaders(db, upTo),
      ...nextLink(
        `/api/v1/db/${call.params["db"]}/commits`,
        { limit, at, branch },
        more ? cursorAt(db, last) : null,
      ),
    },
  );
}

/**
 * At most `limit` commits up to `upTo`, and fewer when they are large: at least one when there is any, unless those of
 * other branches are many. `last` is the one looked at last.
 */
function commitsFrom(
  db: Db,
  after: number,
  upTo: number,
  limit: number,
  test: CommitTest | undefined,
): { commits: StoredCommit[]; last: number } {
  const commits: StoredCommit[] = [];
  let last = after;
  let bytes = 0;
  while (commits.length < limit && last < upTo && last - after < LOOKED_AT) {
    const most = test ? STEP : Math.min(STEP, limit - commits.length);
    const some = db.log.commits(last + 1, Math.min(most, upTo - last));
    for (const stored of some) {
      if (test?.(stored.commit.branch, stored.commit.seq) !== false) {
        if (commits.length === limit) return { commits, last };
        bytes += stored.bytes.length;
        if (bytes > LIMITS.query.commitsBytes.value && commits.length > 0) return { commits, last };
        commits.push(stored);
      }
      last = stored.commit.seq;
    }
    // Fewer than asked for only says that a bundle ends there.
    if (some.length === 0) break;
  }
  return { commits, last };
}

function findCommit(db: Db, text: string): StoredCommit {
  const cid = cidFromString(text);
  const seq = db.log.findCommit(cid);
  const stored = seq === undefined ? undefined : db.log.commit(seq);
  if (stored && Buffer.compare(stored.cid, cid) === 0) return stored;
  // The log also finds the merge that holds it, and the commit that holds a change of this address.
  const within = stored && mergedIn(stored).find((merged) => Buffer.compare(merged.cid, cid) === 0);
  if (!within) throw new SkaldError("COMMIT_NOT_FOUND", `No commit of this db has the address ${text}.`);
  return { ...within, blocks: [] };
}

export function commitJson({ cid, commit }: StoredCommit): z.infer<typeof CommitJson> {
  return {
    cid: cidToString(cid),
    version: commit.version,
    db: toHex(commit.db),
    branch: commit.branch,
    seq: commit.seq,
    parents: commit.parents.map(cidToString),
    time: iso(commit.time),
    author: commit.author,
    ...(commit.line === undefined ? {} : { line: cidToString(commit.line) }),
    ...(commit.message === undefined ? {} : { message: commit.message }),
    entries: commit.entries.map((entry) => ({
      doc: entry.doc,
      base: [...entry.base],
      changes: entry.changes.map(cidToString),
      heads: [...entry.heads],
      ...(entry.deleted ? { deleted: true } : {}),
      ...(entry.refused ? { refused: [...entry.refused] } : {}),
    })),
    events: commit.events.map(cidToString),
    ...(commit.signed
      ? {
          signed: {
            signer: commit.signed.signer,
            signature: Buffer.from(commit.signed.signature).toString("base64"),
          },
        }
      : {}),
  };
}
