import { SkaldError } from "../errors.ts";
import { CODEC_DAG_CBOR, CODEC_RAW, cidDigest, cidFromDigest, cidOf, cidToString } from "../ids/cid.ts";
import { blake3, toHex } from "../ids/hash.ts";
import { encodeMergeEvent, mergeEventIn, type MergeEvent } from "./branch-events.ts";
import {
  checkApart,
  isFastForward,
  MERGE_BYTES,
  missingCommits,
  planMerge,
  type BranchMerge,
} from "./branch-merge.ts";
import { branchNotFound, openBranch, otherBranch } from "./branch-steps.ts";
import { isInPast, MAIN, type Branch } from "./branches.ts";
import { prefixOf } from "./address-map.ts";
import { encodeCommit, type CommitEntry } from "./commit.ts";
import { broughtBy, planBrought } from "./merge-plan.ts";
import { stageFacts } from "./facts.ts";
import { eventsOf, stageMerged } from "./merged.ts";
import { writeRecord } from "./record.ts";
import { SchemaFold } from "./schema-fold.ts";
import type { StoredCommit } from "./stored-commit.ts";
import { expectHeads, planTransaction, stageWrites, type PlannedWrite } from "./transaction.ts";
import type { Added, MergedBranch } from "./receipt.ts";
import { WritingGroup } from "./group-write.ts";

/** Merges: of another line, and of a branch. */
export class MergingGroup extends WritingGroup {
  /**
   * Puts a run of commits of another line into one merge commit. `deleted` says of a document whether it is, by
   * what that line says, `isErased` whether that line erased it. Throws SYNC_EQUIVOCATION, DOC_TOO_LARGE; then the
   * group is no good any more.
   */
  merge(
    run: readonly StoredCommit[],
    author: string,
    deleted: (doc: string, there: boolean) => boolean,
    isErased: (doc: string) => boolean = () => false,
  ): void {
    const seq = this.head.seq + 1;
    const planned: PlannedWrite[] = [];
    for (const brought of broughtBy(run)) {
      // What was written before it was erased stays out, also where that comes with a later run.
      if (!brought.erased && isErased(brought.doc)) continue;
      const gone = deleted(brought.doc, brought.deleted);
      const write = planBrought(
        brought,
        () => gone,
        this.stage,
        this.lookup(0),
        (doc) => this.counting(doc, 0),
      );
      if (write) planned.push(write);
    }
    const entries = stageWrites(planned, author, seq, this.stage);
    const { cids, blocks } = eventsOf(run);
    const commit = this.signed({
      version: 1,
      db: this.identity.uid,
      branch: MAIN,
      seq,
      parents: [this.headOf(MAIN) as Uint8Array, (run.at(-1) as StoredCommit).cid],
      ...this.line(this.headOf(MAIN)),
      time: Math.max(this.world.now(), this.head.time),
      author,
      entries,
      events: cids,
      message: `merged ${run.length} commit${run.length === 1 ? "" : "s"}`,
    });
    const bytes = encodeCommit(commit);
    const digest = blake3(bytes);
    const cid = cidFromDigest(CODEC_DAG_CBOR, digest);
    const changes = planned.flatMap((write) => write.fresh.map((change) => change.bytes));
    const record = writeRecord({ digest, commit: bytes, blocks: [...changes, ...blocks], clientTxId: "" });
    const stored = { cid, bytes, commit, blocks: record.blocks, clientTxId: "" };
    this.stage.addresses.add(prefixOf(toHex(digest)), seq);
    stageMerged(stored, this.stage);
    this.signer = undefined;
    stageFacts(stored, this.stage);
    this.keep(stored, record.body);
  }

  /**
   * Merges a branch into another. Yields now and then; nothing else may be added meanwhile. Throws BRANCH_NOT_FOUND,
   * BRANCH_CLOSED, and what `add` throws; then the group is no good any more.
   */
  *mergeBranch(request: BranchMerge): Generator<void, MergedBranch> {
    const { author, clientTxId, writes = [], reads, expectSeq, message } = request;
    if (clientTxId !== "") {
      const seq = this.stage.receipt(author, clientTxId);
      if (seq !== undefined) {
        // With nothing to merge it was a write like any other.
        if (writes.length === 0 || mergeEventIn(this.commitAt(seq))) return this.#repeatMerge(request, seq);
        return { ...this.#plain(request), commits: [], from: 0, fastForward: false };
      }
    }
    const into = openBranch(request.into, this.stage.branches);
    const from = this.stage.branches.named(request.from);
    if (!from) throw branchNotFound(request.from);
    checkApart(from, into);
    const upTo = this.#mergedUpTo(request, from);
    const stage = this.on.stage(into.id);
    const lookup = this.lookup(into.id);
    // For what it says of reads, the seq and texts.
    const asked = { author, clientTxId: "", writes: [], ...(reads ? { reads } : {}) };
    planTransaction(
      {
        ...asked,
        ...(expectSeq === undefined ? {} : { expectSeq }),
        ...(message === undefined ? {} : { message }),
      },
      stage,
      lookup,
    );
    for (const { doc, base } of writes) if (base) expectHeads(doc, base, stage.doc(doc), this.identity.uid);
    const fastForward = isFastForward(this.ground(), from, into);
    const before = this.headOf(into.name);
    if (!before) {
      throw new SkaldError(
        "BAD_REQUEST",
        `The branch ${into.name} has no commit yet, and a merge follows one.`,
        {
          hint: "Write something there first.",
        },
      );
    }
    const commits: StoredCommit[] = [];
    const seqs = missingCommits(this.ground(), from, upTo, into);
    // It has all of that branch, so this is a write like any other.
    const plain = seqs.length === 0 && writes.length > 0 ? this.#plain(request) : undefined;
    for (let i = 0; i < seqs.length;) {
      const { run, next } = this.#runAt(seqs, i);
      i = next;
      yield;
      const planned = yield* planMerge(this.ground(), run, from, into);
      const isLast = i >= seqs.length;
      const more = isLast && (writes.length > 0 || commits.length > 0);
      if (planned.length > 0 || more || this.#addsSchema(run, into))
        commits.push(this.#mergeRun(request, into, run, planned, commits.length, isLast));
    }
    if (request.close && from.closed === 0)
      this.add({ author, clientTxId: "", writes: [], branch: from.name, step: { kind: "close" } });
    if (plain) return { ...plain, commits, from: upTo, fastForward };
    const made = commits.at(-1);
    const entries = commits.flatMap(({ commit }) => commit.entries);
    const bytes = this.records.reduce((sum, { body }) => sum + body.length, 0);
    const found = { entries, commits, from: upTo, fastForward, bytes };
    if (made)
      return { ...found, cid: made.cid, seq: made.commit.seq, time: made.commit.time, duplicate: false };
    const at = this.stage.branches.get(into.id)?.head ?? 0;
    const time = at > 0 ? this.commitAt(at).commit.time : this.head.time;
    return { ...found, cid: before, seq: at, time, duplicate: true };
  }

  /** Whether what a run of commits of another branch ends with has a statement of a schema that a branch lacks. */
  #addsSchema(run: readonly StoredCommit[], into: Branch): boolean {
    const steps = this.stage.schemaSteps();
    const last = run.at(-1)?.commit;
    if (steps.length === 0 || !last) return false;
    const { branches } = this.stage;
    const fold = new SchemaFold();
    for (const step of steps) fold.take(step, branches);
    return fold.adds(branches, branches.idOf(last.branch, last.seq) ?? 0, last.seq, into.id);
  }

  #plain({ author, clientTxId, into, writes = [], message, anyActor }: BranchMerge): Added {
    return this.add({
      author,
      clientTxId,
      branch: into,
      writes,
      ...(message === undefined ? {} : { message }),
      ...(anyActor === undefined ? {} : { anyActor }),
    });
  }

  #mergedUpTo({ at }: BranchMerge, from: Branch): number {
    if (at === undefined) return from.head;
    const branchAt = this.before().branchAt(at);
    if (at < 1 || at > this.head.seq || !isInPast(this.stage.branches, from.id, at, branchAt))
      throw otherBranch(String(at), from.name);
    return at;
  }

  /** As many of these commits as make one merge, at least one. */
  #runAt(seqs: readonly number[], start: number): { run: StoredCommit[]; next: number } {
    const run: StoredCommit[] = [];
    let bytes = 0;
    let next = start;
    for (; next < seqs.length; next += 1) {
      const stored = this.commitAt(seqs[next] as number);
      bytes += stored.bytes.length + stored.blocks.reduce((sum, block) => sum + block.length, 0);
      if (run.length > 0 && bytes > MERGE_BYTES) break;
      run.push(stored);
    }
    return { run, next };
  }

  /** One commit of a merge: what a run of commits brings and, at its end, what the caller has on top. */
  #mergeRun(
    request: BranchMerge,
    into: Branch,
    run: readonly StoredCommit[],
    planned: readonly PlannedWrite[],
    continues: number,
    isLast: boolean,
  ): StoredCommit {
    const { author, message, anyActor } = request;
    const stage = this.on.stage(into.id);
    const seq = this.head.seq + 1;
    const entries = new Map<string, { entry: CommitEntry; blocks: Uint8Array[] }>();
    const put = (writes: readonly PlannedWrite[]): void => {
      stageWrites(writes, author, seq, stage).forEach((entry, i) => {
        const blocks = (writes[i] as PlannedWrite).fresh.map(({ bytes }) => bytes);
        const first = entries.get(entry.doc);
        entries.set(entry.doc, first ? onTop(first, entry, blocks) : { entry, blocks });
      });
    };
    put(planned);
    if (isLast) {
      const writes = (request.writes ?? []).map(({ base: _base, ...write }) => write);
      const tx = { author, clientTxId: "", writes, ...(anyActor === undefined ? {} : { anyActor }) };
      put(planTransaction(tx, stage, this.lookup(into.id)));
    }
    const last = run.at(-1) as StoredCommit;
    const parent = this.headOf(into.name) as Uint8Array;
    const merge: MergeEvent = {
      type: "branch.merge",
      from: last.commit.branch,
      seq: last.commit.seq,
      ...(continues > 0 ? { continues } : {}),
    };
    const event = encodeMergeEvent(merge);
    const commit = this.signed({
      version: 1,
      db: this.identity.uid,
      branch: into.name,
      seq,
      parents: [parent, last.cid],
      ...this.line(parent),
      time: Math.max(this.world.now(), this.head.time),
      author,
      entries: [...entries.values()].map(({ entry }) => entry),
      events: [cidOf(CODEC_RAW, event)],
      ...(message === undefined ? {} : { message }),
    });
    const bytes = encodeCommit(commit);
    const digest = blake3(bytes);
    const clientTxId = isLast ? request.clientTxId : "";
    const changes = [...entries.values()].flatMap(({ blocks }) => blocks);
    const { body, blocks } = writeRecord({
      digest,
      commit: bytes,
      blocks: [...changes, event],
      clientTxId,
    });
    const stored = { cid: cidFromDigest(CODEC_DAG_CBOR, digest), bytes, commit, blocks, clientTxId };
    this.stage.addresses.add(prefixOf(toHex(digest)), seq);
    for (const cid of commit.events) this.stage.addresses.add(prefixOf(toHex(cidDigest(cid))), seq);
    if (clientTxId !== "") this.stage.addReceipt(author, clientTxId, seq);
    stageFacts(stored, this.stage);
    this.keep(stored, body, { merge });
    return stored;
  }

  #repeatMerge({ from, into, clientTxId }: BranchMerge, seq: number): MergedBranch {
    const commits = [this.commitAt(seq)];
    const [last] = commits as [StoredCommit];
    const merge = mergeEventIn(last);
    if (last.commit.branch !== into || !merge) {
      throw new SkaldError("TX_ID_REUSED", `The client_tx_id ${clientTxId} was used for something else.`, {
        details: { seq, commit: cidToString(last.cid) },
      });
    }
    // The commits of one merge stand one behind the other.
    for (let left = merge.continues ?? 0; left > 0; left -= 1) {
      const [first] = commits as [StoredCommit];
      commits.unshift(this.commitAt(first.commit.seq - 1));
    }
    const entries = commits.flatMap(({ commit }) => commit.entries);
    const { cid, commit } = last;
    const { branches } = this.stage;
    const known = branches.named(from);
    if (known && !isInPast(branches, known.id, merge.seq, branches.idOf(merge.from, merge.seq) ?? -1))
      throw new SkaldError("TX_ID_REUSED", `The client_tx_id ${clientTxId} merged another branch.`, {
        details: { seq, commit: cidToString(cid) },
      });
    return {
      cid,
      seq,
      time: commit.time,
      entries,
      commits,
      from: merge.seq,
      fastForward: false,
      bytes: 0,
      duplicate: true,
    };
  }
}

/** An entry of what was brought with the one of what was written on top. */
function onTop(
  first: { readonly entry: CommitEntry; readonly blocks: readonly Uint8Array[] },
  entry: CommitEntry,
  blocks: readonly Uint8Array[],
): { entry: CommitEntry; blocks: Uint8Array[] } {
  const { doc, base, changes, refused } = first.entry;
  return {
    entry: {
      doc,
      base,
      changes: [...changes, ...entry.changes],
      heads: entry.heads,
      ...(entry.deleted ? { deleted: true } : {}),
      ...(refused ? { refused } : {}),
    },
    blocks: [...first.blocks, ...blocks],
  };
}
