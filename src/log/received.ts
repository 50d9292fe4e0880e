import { SkaldError, isSkaldError } from "../errors.ts";
import { CODEC_DAG_CBOR, CODEC_RAW, cidCodec, cidFromDigest, cidOf, cidToString } from "../ids/cid.ts";
import { blake3 } from "../ids/hash.ts";
import { checkBranchName, checkTxId, parseDocName } from "../ids/names.ts";
import { LIMITS } from "../limits.ts";
import { readChange, type ChangeHeader } from "./change.ts";
import { AUTHORED_LIMITS } from "./guard.ts";
import { decodeCommit, type Commit, type CommitEntry } from "./commit.ts";
import { entriesIn, erasedBy, isStub } from "./erased.ts";
import { isMerge, mergedIn } from "./merged.ts";
import { decodeRecord } from "./record.ts";
import { tipsOf } from "./refusals.ts";
import type { StoredCommit } from "./stored-commit.ts";
import type { DocWrite } from "./transaction.ts";

/**
 * Records that another server sent. Nothing in them is trusted: a record counts once the commit in it comes
 * out of this server's own checks byte for byte, so it is what this server would have written itself.
 */

/** The error for a record that is not what it should be. `why` begins with "it" or "its". */
export function receivedInvalid(seq: number, why: string, cause?: unknown): SkaldError {
  const inner = isSkaldError(cause) ? { reason: cause.code, ...cause.details } : {};
  return new SkaldError("SYNC_INVALID", `The record of commit ${seq} is not to be had: ${why}.`, {
    details: { ...inner, seq },
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Reads a record as far as it can be checked alone: its form, its addresses, its texts. Throws SYNC_INVALID. */
export function openReceived(body: Uint8Array, seq: number): StoredCommit {
  try {
    const record = decodeRecord(body, seq);
    const digest = blake3(record.commit);
    if (Buffer.compare(digest, record.digest) !== 0)
      throw receivedInvalid(seq, "its commit does not hash to its address");
    const stored = {
      cid: cidFromDigest(CODEC_DAG_CBOR, digest),
      bytes: record.commit,
      commit: decodeCommit(record.commit),
      blocks: record.blocks,
      clientTxId: record.clientTxId,
    };
    checkBlocks(stored);
    checkOpened(stored, seq);
    return stored;
  } catch (error) {
    throw asInvalid(error, seq);
  }
}

/** The same for a commit whose bytes and blocks were compared with their addresses before. Throws SYNC_INVALID. */
export function checkReceived(stored: StoredCommit, seq: number): StoredCommit {
  try {
    checkOpened(stored, seq);
    return stored;
  } catch (error) {
    throw asInvalid(error, seq);
  }
}

function asInvalid(error: unknown, seq: number): unknown {
  if (isSkaldError(error) && error.code !== "SYNC_INVALID") return receivedInvalid(seq, error.message, error);
  return error;
}

function checkOpened(stored: StoredCommit, seq: number): void {
  const { commit, clientTxId } = stored;
  checkCommit(commit, seq);
  if (clientTxId !== "") checkTxId(clientTxId);
  if (!isMerge(commit) && commit.events.some((cid) => cidCodec(cid) === CODEC_DAG_CBOR))
    throw receivedInvalid(seq, "it holds commits and is no merge");
  // For its errors: what it reads is kept.
  mergedIn(stored);
}

const AUTHOR = new RegExp(`^[^\\p{Cc}]{1,${LIMITS.token.labelCharacters.value}}$`, "u");
/** The largest time that is one: beyond it nobody can write a date. */
const LAST_MOMENT = 8.64e15;

function checkCommit(commit: Commit, seq: number): void {
  const { author, branch, entries, message, time } = commit;
  if (commit.seq !== seq) throw receivedInvalid(seq, `it holds commit ${commit.seq}`);
  checkBranchName(branch);
  if (time > LAST_MOMENT) throw receivedInvalid(seq, "its time is none");
  if (!AUTHOR.test(author)) throw receivedInvalid(seq, "its author is no name");
  if ((message?.length ?? 0) > LIMITS.tx.messageCharacters.value)
    throw receivedInvalid(seq, "its message is too long");
  for (const { doc } of entries) parseDocName(doc);
  if (commit.parents.length > 2) throw receivedInvalid(seq, "it has more than two parents");
  if (new Set(entries.map(({ doc }) => doc)).size < entries.length)
    throw receivedInvalid(seq, "it writes a document twice");
}

function checkBlocks({ commit, blocks }: StoredCommit): void {
  const { seq } = commit;
  const changes = commit.entries.reduce((sum, entry) => sum + entry.changes.length, 0);
  const named = changes + commit.events.length;
  if (named !== blocks.length)
    throw receivedInvalid(seq, `it names ${named} blocks and holds ${blocks.length}`);
  let at = 0;
  const check = (cid: Uint8Array, codec: typeof CODEC_RAW | typeof CODEC_DAG_CBOR): void => {
    const block = blocks[at++] as Uint8Array;
    // Whether a change may lack its bytes is looked at with the document; an event never does.
    if (isStub(block) && at <= changes) return;
    if (Buffer.compare(cidOf(codec, block), cid) !== 0)
      throw receivedInvalid(seq, `its block ${cidToString(cid)} does not hash to its address`);
  };
  for (const entry of commit.entries) for (const cid of entry.changes) check(cid, CODEC_RAW);
  for (const cid of commit.events) check(cid, cidCodec(cid) === CODEC_DAG_CBOR ? CODEC_DAG_CBOR : CODEC_RAW);
}

/** What the commit wrote to all documents but some, as a transaction would ask for it. Throws what the guard throws. */
export function writesOf(stored: StoredCommit, but: { has(doc: string): boolean }): DocWrite[] {
  const erased = erasedBy(stored);
  return [...entriesIn(stored.commit)].flatMap(({ entry, from, to }): DocWrite[] => {
    const { doc, base, refused, heads } = entry;
    if (but.has(doc)) return [];
    if (erased.has(doc)) return [{ doc, changes: [], base, deleted: true, erase: {} }];
    return [
      {
        doc,
        changes: stored.blocks.slice(from, to).map(readReceived),
        base,
        deleted: entry.deleted === true,
        ...(refused ? { refused: { hashes: refused, heads } } : {}),
      },
    ];
  });
}

/**
 * That a commit which erases documents does that to each of them and nothing else; one that was erased before needs
 * no entry. Throws SYNC_INVALID.
 */
export function checkErases(seq: number, stored: StoredCommit, isErased: (doc: string) => boolean): void {
  for (const doc of erasedBy(stored)) {
    const entry = stored.commit.entries.find((candidate) => candidate.doc === doc);
    const ends = entry?.deleted === true && entry.changes.length === 0 && entry.refused === undefined;
    if (entry ? !ends : !isErased(doc))
      throw receivedInvalid(seq, `it erases ${doc} and has no entry that does`);
  }
}

/** A change is kept in one form only: another would have another address. */
export function readReceived(block: Uint8Array): ChangeHeader {
  const change = readChange(block, AUTHORED_LIMITS);
  if (change.bytes.length !== block.length)
    throw new SkaldError("CHANGE_MALFORMED", "The change is not in the form that is kept.");
  return change;
}

/**
 * That a set of changes may be set aside: each is in the document, nothing that is left builds on one, and the
 * heads are the tips of what is left. `changes` are all that count in the document. Throws SYNC_INVALID.
 */
export function checkSetAside(seq: number, entry: CommitEntry, changes: readonly ChangeHeader[]): void {
  const refused = new Set(entry.refused);
  const there = new Set(changes.map(({ hash }) => hash));
  const left = changes.filter(({ hash }) => !refused.has(hash));
  const whole =
    [...refused].every((hash) => there.has(hash)) &&
    left.every(({ deps }) => deps.every((dep) => !refused.has(dep))) &&
    tipsOf(left).join() === entry.heads.join();
  if (!whole)
    throw receivedInvalid(
      seq,
      `it sets changes of ${entry.doc} aside that others build on, or that are not there`,
    );
}
