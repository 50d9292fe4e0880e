import { SkaldError, isSkaldError } from "../errors.ts";
import { CODEC_DAG_CBOR, CODEC_RAW, cidDigest, cidFromDigest, cidOf, cidToString } from "../ids/cid.ts";
import { blake3, toHex } from "../ids/hash.ts";
import type { Signer } from "../ids/ed25519.ts";
import type { DbIdentity, StoredRecord } from "../store/contract.ts";
import type { World } from "../world.ts";
import {
  branchAfter,
  branchEventIn,
  brokenBranch,
  brokenLinks,
  brokenMerge,
  encodeBranchEvent,
  encodeMergeEvent,
  mergeEventIn,
  type Before,
  type BranchEvent,
  type MergeEvent,
} from "./branch-events.ts";
import {
  checkApart,
  hasChange,
  isFastForward,
  leftOut,
  MERGE_BYTES,
  missingCommits,
  planMerge,
  type BranchMerge,
  type MergeGround,
} from "./branch-merge.ts";
import { branchNotFound, openBranch, otherBranch, planStep } from "./branch-steps.ts";
import { isInPast, MAIN, type Branch } from "./branches.ts";
import { prefixOf } from "./address-map.ts";
import type { DocStage, Stage } from "./stage.ts";
import { readTrustedHeader, type ChangeHeader } from "./change.ts";
import { encodeCommit, type Commit, type CommitEntry } from "./commit.ts";
import { headsOf } from "./doc-state.ts";
import { broughtBy, planBrought } from "./merge-plan.ts";
import { entriesIn, erasedBy, eraseEvent, stubbedIn, withoutChanges } from "./erased.ts";
import { stageFacts } from "./facts.ts";
import { bringersOf, brokenLine, eventsOf, isMerge, mergedIn, stageMerged } from "./merged.ts";
import { OnBranches, type Below } from "./on-branches.ts";
import {
  checkErases,
  checkReceived,
  checkSetAside,
  openReceived,
  readReceived,
  receivedInvalid,
  writesOf,
} from "./received.ts";
import { writeRecord } from "./record.ts";
import { SchemaFold } from "./schema-fold.ts";
import { SERVER, isRotationTxId, rotationTxId, signCommit, wrongSignature } from "./signature.ts";
import { bodyOf, headersIn, type StoredCommit } from "./stored-commit.ts";
import {
  expectHeads,
  planTransaction,
  stageWrites,
  type BranchStep,
  type FoundChange,
  type LogLookup,
  type PlannedWrite,
  type Transaction,
} from "./transaction.ts";
import { checkUnchanged, RecentTouches, touchedBy, type Unchanged } from "./unchanged.ts";

export interface LogHead {
  readonly seq: number;
  /** Undefined before the first commit. */
  readonly cid: Uint8Array | undefined;
  readonly time: number;
}

/** What a write is answered with. */
export interface Receipt {
  /** Address of the commit: 36 bytes, or none in a db without commits. */
  readonly cid: Uint8Array;
  /** The same in base32. */
  readonly commit: string;
  readonly seq: number;
  /** Milliseconds since 1970. */
  readonly time: number;
  /** The heads of each document written, after the commit. */
  readonly heads: Readonly<Record<string, readonly string[]>>;
  /** True when all of it was in the log before: `commit` is then the one that has it. */
  readonly duplicate: boolean;
}

/** A transaction as it stands in a group. */
export interface Added {
  readonly cid: Uint8Array;
  readonly seq: number;
  readonly time: number;
  readonly entries: readonly { readonly doc: string; readonly heads: readonly string[] }[];
  readonly duplicate: boolean;
  readonly bytes: number;
}

/** A record of another server's, or the commit in one. */
export type Received = Uint8Array | StoredCommit;

/** A merge of a branch as it stands in a group. */
export interface MergedBranch extends Added {
  /** The commits it was made of, oldest first; none when there was nothing to merge. */
  readonly commits: readonly StoredCommit[];
  /** Commit of the branch up to which it was merged. */
  readonly from: number;
  readonly fastForward: boolean;
}

/** Transactions that will share one append, each checked on top of the ones before. */
export class Group {
  readonly records: StoredRecord[] = [];
  readonly stage: Stage;
  head: LogHead;
  readonly #identity: DbIdentity;
  readonly #world: World;
  readonly #stored: (seq: number) => StoredCommit | undefined;
  readonly #changes: (doc: string, branch: number) => readonly Uint8Array[];
  readonly #own = new Map<number, StoredCommit>();
  readonly #on: OnBranches;
  readonly #recent: RecentTouches;
  readonly #signers: readonly Signer[];
  /** Who signs the next commit; undefined when that must be worked out. */
  #signer: { readonly signer: Signer | undefined } | undefined;

  constructor(parts: GroupParts) {
    const { identity, stage, head, world, stored, below, changes, signers = [] } = parts;
    this.#recent = parts.recent ?? new RecentTouches();
    this.#identity = identity;
    this.stage = stage;
    this.head = head;
    this.#world = world;
    this.#stored = stored;
    this.#changes = changes;
    this.#on = new OnBranches(stage, below, (seq) => this.#commit(seq));
    this.#signers = signers;
  }

  add(tx: Transaction): Added {
    if (tx.clientTxId !== "") {
      const seq = this.stage.receipt(tx.author, tx.clientTxId);
      if (seq !== undefined) return this.#repeat(tx, seq);
    }
    const step = tx.step && this.#step(tx.branch ?? MAIN, tx.step);
    const branch = step ? undefined : openBranch(tx.branch ?? MAIN, this.stage.branches);
    const stage = this.#on.stage(branch?.id ?? 0);
    if (tx.unchanged) this.checkUnchanged(tx.unchanged, tx.branch ?? MAIN);
    const planned = planTransaction(tx, stage, this.#lookup(branch?.id ?? 0));
    const events = step
      ? [encodeBranchEvent(step)]
      : [
          ...(tx.events ?? []),
          ...planned.flatMap(({ doc, erase }) => (erase ? [eraseEvent(doc, erase.reason)] : [])),
        ];
    if (planned.length === 0 && events.length === 0) return this.#unchanged(tx, stage);
    if (isRotationTxId(tx.author, tx.clientTxId)) this.#checkRotation(tx);

    const seq = this.head.seq + 1;
    const parent = step?.type === "branch.create" ? this.#cidAt(step.seq) : this.#headOf(tx.branch ?? MAIN);
    const commit = this.#signed({
      version: 1,
      db: this.#identity.uid,
      branch: tx.branch ?? MAIN,
      seq,
      parents: parent ? [parent] : [],
      ...this.#line(parent),
      time: Math.max(this.#world.now(), this.head.time),
      author: tx.author,
      entries: stageWrites(planned, tx.author, seq, stage),
      events: events.map((event) => cidOf(CODEC_RAW, event)),
      ...(tx.message === undefined ? {} : { message: tx.message }),
    });
    const bytes = encodeCommit(commit);
    const digest = blake3(bytes);
    const cid = cidFromDigest(CODEC_DAG_CBOR, digest);
    const { body, blocks } = writeRecord({
      digest,
      commit: bytes,
      blocks: [...planned.flatMap((write) => write.fresh.map((change) => change.bytes)), ...events],
      clientTxId: tx.clientTxId,
    });
    this.stage.addresses.add(prefixOf(toHex(digest)), seq);
    for (const event of commit.events) this.stage.addresses.add(prefixOf(toHex(cidDigest(event))), seq);
    if (tx.clientTxId !== "") this.stage.addReceipt(tx.author, tx.clientTxId, seq);
    if (isRotationTxId(tx.author, tx.clientTxId)) this.#signer = undefined;
    const stored = { cid, bytes, commit, blocks, clientTxId: tx.clientTxId };
    stageFacts(stored, this.stage);
    this.#keep(stored, body, { step });
    return { cid, seq, time: commit.time, entries: commit.entries, duplicate: false, bytes: body.length };
  }

  /** Throws SQL_CONFLICT when a commit on the branch changed what `unchanged` names. */
  checkUnchanged(unchanged: Unchanged, branch: string): void {
    const { branches } = this.stage;
    const { id } = openBranch(branch, branches);
    checkUnchanged(unchanged, {
      branch,
      head: this.head.seq,
      stage: this.#on.stage(id),
      touched: (seq) => {
        const own = this.#own.get(seq);
        return own ? touchedBy(own) : this.#recent.of(seq, (at) => this.#commit(at));
      },
    });
  }

  #step(name: string, step: BranchStep): BranchEvent {
    return planStep(name, step, this.stage.branches, this.head.seq, this.#before().branchAt);
  }

  #keep(
    stored: StoredCommit,
    body: Uint8Array,
    { step, merge }: { step?: BranchEvent | undefined; merge?: MergeEvent | undefined } = {},
  ): void {
    const { cid, commit } = stored;
    const { seq, time } = commit;
    this.stage.putBranch(branchAfter(commit, step, cid, this.stage.branches, merge));
    this.records.push({ seq, body });
    this.#own.set(seq, stored);
    this.head = { seq, cid, time };
  }

  /** Names the commit before in the db when that is not the first parent. */
  #line(parent: Uint8Array | undefined): { line?: Uint8Array } {
    const { cid } = this.head;
    return cid && !(parent && Buffer.compare(cid, parent) === 0) ? { line: cid } : {};
  }

  #headOf(branch: string): Uint8Array | undefined {
    return this.stage.branches.named(branch)?.headCid;
  }

  #cidAt(seq: number): Uint8Array | undefined {
    if (seq === 0) return undefined;
    if (seq === this.head.seq) return this.head.cid;
    const { main } = this.stage.branches;
    return seq === main.head ? main.headCid : this.#commit(seq).cid;
  }

  #before(): Before {
    const { branches } = this.stage;
    return {
      branches,
      is: (seq, cid) => {
        const there = seq > 0 && seq <= this.head.seq ? this.#cidAt(seq) : undefined;
        return there !== undefined && Buffer.compare(there, cid) === 0;
      },
      branchAt: (seq) => {
        if (!branches.any || seq > this.head.seq) return 0;
        const { branch } = this.#commit(seq).commit;
        return branches.idOf(branch, seq) ?? 0;
      },
    };
  }

  /**
   * Takes over the commit in a record of another server, which must be the next one here. It goes through the
   * same checks as a write, and what comes of them must be its bytes. A change without its bytes is taken when
   * `explains` says of its document that it is erased later. Throws SYNC_INVALID; then the group is no good any more.
   * A commit that is open already has had its bytes and blocks compared with their addresses.
   */
  take(received: Received, explains: (doc: string) => boolean = () => false): StoredCommit {
    const seq = this.head.seq + 1;
    const isOpen = "cid" in received;
    const sent = isOpen ? checkReceived(received, seq) : openReceived(received, seq);
    const { commit, cid, clientTxId } = sent;
    if (Buffer.compare(commit.db, this.#identity.uid) !== 0)
      throw receivedInvalid(seq, "it is of another db");
    if (commit.time < this.head.time) throw receivedInvalid(seq, "it is older than the commit before it");
    const step = branchEventIn(sent);
    const merge = mergeEventIn(sent);
    const before = this.#before();
    const broken =
      brokenBranch(commit, step, before) ??
      brokenLinks(commit, step, before, this.head.cid) ??
      brokenMerge(sent, merge, before);
    if (broken !== undefined) throw receivedInvalid(seq, broken);
    if (clientTxId !== "" && this.stage.receipt(commit.author, clientTxId) !== undefined)
      throw receivedInvalid(seq, `its client_tx_id ${clientTxId} has another commit`);
    const unsigned = wrongSignature(sent, { retired: (did) => this.#retired(did) });
    if (unsigned !== undefined) throw receivedInvalid(seq, unsigned);
    let entries: readonly CommitEntry[];
    const id = step ? 0 : (this.stage.branches.named(commit.branch)?.id ?? 0);
    const hollow = this.#hollowIn(sent, seq, id, explains);
    // Nothing of a document that is erased is kept, also where the other server had not got to it.
    const cleared = withoutChanges(sent, hollow);
    const stored = cleared ?? sent;
    try {
      entries = isMerge(commit)
        ? this.#replayMerge(stored, seq, hollow, explains)
        : merge
          ? this.#replayBranchMerge(stored, merge, seq, id, hollow, explains)
          : this.#replay(stored, seq, id, hollow);
    } catch (error) {
      if (!isSkaldError(error) || error.code === "SYNC_INVALID" || !BLAMES_THE_SENDER(error.status))
        throw error;
      throw receivedInvalid(seq, `it writes what the guard refuses: ${error.message}`, error);
    }
    if (Buffer.compare(encodeCommit({ ...commit, entries }), stored.bytes) !== 0)
      throw receivedInvalid(seq, "its entries are not what follows from its changes");
    this.stage.addresses.add(prefixOf(toHex(cidDigest(cid))), seq);
    if (clientTxId !== "") this.stage.addReceipt(commit.author, clientTxId, seq);
    stageMerged(stored, this.stage);
    this.#signer = undefined;
    stageFacts(stored, this.stage);
    this.#keep(stored, isOpen || cleared ? bodyOf(stored) : received, { step, merge });
    return stored;
  }

  /** The entries of a received commit whose documents are erased later: they are taken as they are. */
  #hollowIn(
    stored: StoredCommit,
    seq: number,
    id: number,
    explains: (doc: string) => boolean,
  ): ReadonlyMap<string, PlannedWrite> {
    const found = new Map<string, PlannedWrite>();
    const stage = this.#on.stage(id);
    checkErases(seq, stored, (doc) => Boolean(stage.erasedAt(doc)));
    const stubbed = stubbedIn(stored);
    const erased = erasedBy(stored);
    for (const entry of stored.commit.entries) {
      const { doc, base, changes, deleted = false } = entry;
      const at = stage.erasedAt(doc);
      if (at) throw receivedInvalid(seq, `it writes to ${doc}, which was erased`);
      if (erased.has(doc) || (!stubbed.has(doc) && at === undefined)) continue;
      if (!explains(doc))
        throw receivedInvalid(seq, `it has changes of ${doc} without their bytes, which no commit erased`);
      const state = stage.doc(doc);
      if (base.join() !== (state ? headsOf(state) : []).join())
        throw receivedInvalid(seq, `it does not go on from the heads of ${doc}`);
      found.set(doc, { doc, fresh: [], cids: changes, deleted, hollow: entry });
    }
    return found;
  }

  /** Lets go of the commits so far, which `stored` finds from now on. */
  settle(): void {
    this.records.length = 0;
    this.#own.clear();
  }

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
        this.#lookup(0),
        (doc) => this.#counting(doc, 0),
      );
      if (write) planned.push(write);
    }
    const entries = stageWrites(planned, author, seq, this.stage);
    const { cids, blocks } = eventsOf(run);
    const commit = this.#signed({
      version: 1,
      db: this.#identity.uid,
      branch: MAIN,
      seq,
      parents: [this.#headOf(MAIN) as Uint8Array, (run.at(-1) as StoredCommit).cid],
      ...this.#line(this.#headOf(MAIN)),
      time: Math.max(this.#world.now(), this.head.time),
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
    this.#signer = undefined;
    stageFacts(stored, this.stage);
    this.#keep(stored, record.body);
  }

  #signed(commit: Commit): Commit {
    if (this.#signers.length === 0) return commit;
    const { signer } = (this.#signer ??= { signer: this.#signers.find(({ did }) => !this.#retired(did)) });
    return signer ? signCommit(commit, signer) : commit;
  }

  /** Whether a commit of this line says that the key signs no more. */
  #retired(did: string): boolean {
    return this.stage.receipt(SERVER, rotationTxId(did)) !== undefined;
  }

  /** That id is what a key's end is found by, so nothing else may have it. Throws KEY_NOT_CURRENT. */
  #checkRotation(tx: Transaction): void {
    const signer = this.#signers.find(({ did }) => !this.#retired(did));
    if (signer && tx.events?.length === 1 && tx.clientTxId === rotationTxId(signer.did)) return;
    throw new SkaldError(
      "KEY_NOT_CURRENT",
      `The db ${this.#identity.dbId} is not signed by the key to retire.`,
    );
  }

  /** The same steps as `merge`, with what it says of deletions and of changes set aside taken as it is and checked. */
  #replayMerge(
    stored: StoredCommit,
    seq: number,
    hollow: ReadonlyMap<string, PlannedWrite>,
    explains: (doc: string) => boolean,
  ): readonly CommitEntry[] {
    const { commit, blocks } = stored;
    const erases = erasedBy(stored);
    const merged = mergedIn(stored);
    const broken = brokenLine(stored, (parent, childSeq) => this.#isBefore(parent, childSeq));
    if (broken !== undefined) throw receivedInvalid(seq, broken);
    const bringer = bringersOf(stored);
    const planned = [...entriesIn(commit)].map(({ entry, from }) => {
      const left = hollow.get(entry.doc);
      if (left) return left;
      const principals = new Map<string, string>();
      const changes = entry.changes.map((cid, i) => {
        const change = readReceived(blocks[from + i] as Uint8Array);
        const principal = bringer(entry.doc, cid);
        if (principal === undefined)
          throw receivedInvalid(seq, `it has a change of ${entry.doc} that no commit in it brought`);
        principals.set(change.hash, principal);
        return change;
      });
      const { doc, deleted = false, refused = [] } = entry;
      const erased = erases.has(doc);
      const brought = {
        doc,
        changes,
        principals,
        refused: new Set(refused),
        deleted,
        restored: false,
        erased,
      };
      const write = planBrought(
        brought,
        () => deleted,
        this.stage,
        this.#lookup(0),
        (name) => this.#counting(name, 0),
      );
      if (write?.fresh.length !== changes.length)
        throw receivedInvalid(seq, `it brings what ${doc} has already`);
      return write;
    });
    const entries = stageWrites(planned, commit.author, seq, this.stage);
    const fresh = new Set(planned.flatMap((write) => write.fresh.map(({ hash }) => hash)));
    for (const { commit: within } of merged) {
      for (const { doc, heads } of within.entries) {
        if (this.stage.doc(doc)?.erased !== undefined || explains(doc)) continue;
        const lost = heads.find(
          (hash) => !fresh.has(hash) && !this.stage.doc(doc)?.heads.has(hash) && !this.#has(doc, hash),
        );
        if (lost !== undefined) throw receivedInvalid(seq, `it leaves out ${lost} of ${doc}`);
      }
    }
    return entries;
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
        if (writes.length === 0 || mergeEventIn(this.#commit(seq))) return this.#repeatMerge(request, seq);
        return { ...this.#plain(request), commits: [], from: 0, fastForward: false };
      }
    }
    const into = openBranch(request.into, this.stage.branches);
    const from = this.stage.branches.named(request.from);
    if (!from) throw branchNotFound(request.from);
    checkApart(from, into);
    const upTo = this.#mergedUpTo(request, from);
    const stage = this.#on.stage(into.id);
    const lookup = this.#lookup(into.id);
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
    for (const { doc, base } of writes) if (base) expectHeads(doc, base, stage.doc(doc), this.#identity.uid);
    const fastForward = isFastForward(this.#ground(), from, into);
    const before = this.#headOf(into.name);
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
    const seqs = missingCommits(this.#ground(), from, upTo, into);
    // It has all of that branch, so this is a write like any other.
    const plain = seqs.length === 0 && writes.length > 0 ? this.#plain(request) : undefined;
    for (let i = 0; i < seqs.length;) {
      const { run, next } = this.#runAt(seqs, i);
      i = next;
      yield;
      const planned = yield* planMerge(this.#ground(), run, from, into);
      const isLast = i >= seqs.length;
      const more = isLast && (writes.length > 0 || commits.length > 0);
      if (planned.length > 0 || more || this.#addsSchema(run, into))
        commits.push(this.#merge(request, into, run, planned, commits.length, isLast));
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
    const time = at > 0 ? this.#commit(at).commit.time : this.head.time;
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
    const branchAt = this.#before().branchAt(at);
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
      const stored = this.#commit(seqs[next] as number);
      bytes += stored.bytes.length + stored.blocks.reduce((sum, block) => sum + block.length, 0);
      if (run.length > 0 && bytes > MERGE_BYTES) break;
      run.push(stored);
    }
    return { run, next };
  }

  /** One commit of a merge: what a run of commits brings and, at its end, what the caller has on top. */
  #merge(
    request: BranchMerge,
    into: Branch,
    run: readonly StoredCommit[],
    planned: readonly PlannedWrite[],
    continues: number,
    isLast: boolean,
  ): StoredCommit {
    const { author, message, anyActor } = request;
    const stage = this.#on.stage(into.id);
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
      put(planTransaction(tx, stage, this.#lookup(into.id)));
    }
    const last = run.at(-1) as StoredCommit;
    const parent = this.#headOf(into.name) as Uint8Array;
    const merge: MergeEvent = {
      type: "branch.merge",
      from: last.commit.branch,
      seq: last.commit.seq,
      ...(continues > 0 ? { continues } : {}),
    };
    const event = encodeMergeEvent(merge);
    const commit = this.#signed({
      version: 1,
      db: this.#identity.uid,
      branch: into.name,
      seq,
      parents: [parent, last.cid],
      ...this.#line(parent),
      time: Math.max(this.#world.now(), this.head.time),
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
    this.#keep(stored, body, { merge });
    return stored;
  }

  #repeatMerge({ from, into, clientTxId }: BranchMerge, seq: number): MergedBranch {
    const commits = [this.#commit(seq)];
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
      commits.unshift(this.#commit(first.commit.seq - 1));
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

  #ground(): MergeGround {
    return {
      stage: this.stage,
      on: this.#on,
      commit: (seq) => this.#commit(seq),
      lookup: (id) => this.#lookup(id),
      counting: (doc, id) => this.#counting(doc, id),
      commitsOn: (id, after, upTo) => this.#on.commitsOn(id, after, upTo),
    };
  }

  /** The same steps as a merge, with what it says of deletions and of changes set aside taken as it is and checked. */
  #replayBranchMerge(
    { commit, blocks }: StoredCommit,
    merge: MergeEvent,
    seq: number,
    id: number,
    hollow: ReadonlyMap<string, PlannedWrite>,
    explains: (doc: string) => boolean,
  ): readonly CommitEntry[] {
    const { branches } = this.stage;
    const stage = this.#on.stage(id);
    const into = branches.get(id) as Branch;
    const from = branches.get(branches.idOf(merge.from, merge.seq) as number) as Branch;
    const ground = this.#ground();
    const run = missingCommits(ground, from, merge.seq, into).map((at) => this.#commit(at));
    const planned = [...entriesIn(commit)].map(({ entry, from: first, to }) => {
      const { doc, deleted = false, refused = [] } = entry;
      const left = hollow.get(doc);
      if (left) return left;
      const changes = blocks.slice(first, to).map(readReceived);
      const own = {
        doc,
        changes,
        principals: new Map(),
        refused: new Set(refused),
        deleted,
        restored: false,
        erased: false,
      };
      const write = planBrought(
        own,
        () => deleted,
        stage,
        this.#lookup(id),
        (name) => this.#counting(name, id),
      );
      if (write?.fresh.length !== changes.length)
        throw receivedInvalid(seq, `it brings what ${doc} has already`);
      return write;
    });
    const fresh = new Set(planned.flatMap((write) => write.fresh.map(({ hash }) => `${hash} ${write.doc}`)));
    const entries = stageWrites(planned, commit.author, seq, stage);
    const lost = leftOut(
      run,
      (doc, hash) =>
        stage.erasedAt(doc) !== undefined ||
        explains(doc) ||
        fresh.has(`${hash} ${doc}`) ||
        stage.doc(doc)?.heads.has(hash) === true ||
        hasChange(ground, doc, hash, into, seq),
    );
    if (lost !== undefined) throw receivedInvalid(seq, lost);
    return entries;
  }

  #has(doc: string, hash: string): boolean {
    return this.#findChange(doc, hash, this.stage.find(prefixOf(hash)), 0) !== undefined;
  }

  /** Whether a commit came before: on the line right below the one that names it, in the merge before, or in any. */
  #isBefore(parent: Uint8Array, childSeq: number): boolean {
    const is = (cid: Uint8Array | undefined): boolean =>
      cid !== undefined && Buffer.compare(cid, parent) === 0;
    if (childSeq > 1 && childSeq - 1 <= this.head.seq && is(this.#commit(childSeq - 1).cid)) return true;
    const { seq } = this.head;
    if (seq > 0 && this.#commit(seq).commit.parents.some(is)) return true;
    return this.stage
      .find(prefixOf(toHex(cidDigest(parent))))
      .some((found) => [this.#commit(found).cid, ...this.#commit(found).commit.events].some(is));
  }

  #replay(
    stored: StoredCommit,
    seq: number,
    id: number,
    hollow: ReadonlyMap<string, PlannedWrite>,
  ): readonly CommitEntry[] {
    const { author, entries } = stored.commit;
    for (const entry of entries) {
      if (!entry.refused || hollow.has(entry.doc)) continue;
      if (entry.changes.length > 0) throw receivedInvalid(seq, "it writes and sets aside in one");
      checkSetAside(seq, entry, this.#counting(entry.doc, id));
    }
    const tx = { author, clientTxId: "", writes: writesOf(stored, hollow), anyActor: true };
    const stage = this.#on.stage(id);
    const checked = planTransaction(tx, stage, this.#lookup(id));
    const byDoc = new Map([...checked, ...hollow.values()].map((write) => [write.doc, write]));
    const planned = entries.flatMap(({ doc }) => byDoc.get(doc) ?? []);
    if (planned.length !== entries.length) throw receivedInvalid(seq, "it has entries that do nothing");
    return stageWrites(planned, author, seq, stage);
  }

  /** The changes that count in a document on a branch, those of this group included. */
  #counting(doc: string, id: number): ChangeHeader[] {
    const refused = this.#on.stage(id).doc(doc)?.refused;
    const found = new Map<string, ChangeHeader>();
    const own = [...this.#own.values()]
      .filter((stored) => this.#on.isInPast(stored, id))
      .flatMap((stored) => headersIn(stored, doc));
    for (const header of [...this.#changes(doc, id).map(readTrustedHeader), ...own])
      if (!refused?.has(header.hash)) found.set(header.hash, header);
    return [...found.values()];
  }

  #lookup(id: number): LogLookup {
    return {
      uid: this.#identity.uid,
      seq: this.head.seq,
      others: (doc) => this.stage.others(doc, id),
      isKnown: (doc, hash) => this.#isKnown(doc, hash),
      findChange: (doc, hash, seqs) => this.#findChange(doc, hash, seqs, id),
      findByActor: (doc, actor, seq) => this.#findByActor(doc, actor, seq, id),
      findHeaders: (doc, hashes) => this.#on.headers(doc, hashes),
    };
  }

  #isKnown(doc: string, hash: string): boolean {
    if (this.stage.find(prefixOf(hash)).some((seq) => changeIn(this.#commit(seq), doc, hash))) return true;
    for (const commits of this.#on.bundled(doc))
      if (commits.some((stored) => changeIn(stored, doc, hash))) return true;
    return false;
  }

  #commit(seq: number): StoredCommit {
    const stored = this.#own.get(seq) ?? this.#stored(seq);
    if (!stored) throw new SkaldError("DB_DAMAGED", `Commit ${seq} is missing.`, { details: { seq } });
    return stored;
  }

  #repeat(tx: Transaction, seq: number): Added {
    const stored = this.#commit(seq);
    const merged = mergedIn(stored).find(
      (candidate) => candidate.clientTxId === tx.clientTxId && candidate.commit.author === tx.author,
    );
    const { commit, cid, clientTxId } = merged ?? stored;
    if (commit.author !== tx.author || clientTxId !== tx.clientTxId) {
      throw new SkaldError(
        "DERIVED_DAMAGED",
        `Commit ${seq} is not that of ${tx.clientTxId}, as the catalog says.`,
      );
    }
    const docs = new Set(tx.writes.map((write) => write.doc));
    if (commit.branch !== (tx.branch ?? MAIN) || (tx.step !== undefined) !== makesOrEnds(stored)) {
      throw new SkaldError("TX_ID_REUSED", `The client_tx_id ${tx.clientTxId} was used for something else.`, {
        details: { seq, commit: cidToString(cid) },
      });
    }
    if (!commit.entries.every((entry) => docs.has(entry.doc))) {
      throw new SkaldError(
        "TX_ID_REUSED",
        `The client_tx_id ${tx.clientTxId} was used for other documents.`,
        {
          details: { seq, commit: cidToString(cid) },
        },
      );
    }
    return { cid, seq, time: commit.time, entries: commit.entries, duplicate: true, bytes: 0 };
  }

  /** All of it is here already: the answer names the newest commit of the documents written. */
  #unchanged(tx: Transaction, stage: DocStage): Added {
    const states = tx.writes.map((write) => ({ doc: write.doc, state: stage.doc(write.doc) }));
    const seq = Math.max(0, ...states.map(({ state }) => state?.last ?? 0));
    const entries = states.map(({ doc, state }) => ({ doc, heads: state ? headsOf(state) : [] }));
    if (seq === 0) {
      const { seq: at, cid, time } = this.head;
      return { cid: cid ?? new Uint8Array(0), seq: at, time, entries, duplicate: true, bytes: 0 };
    }
    const { cid, commit } = this.#commit(seq);
    return { cid, seq, time: commit.time, entries, duplicate: true, bytes: 0 };
  }

  #findChange(doc: string, hash: string, seqs: readonly number[], id: number): FoundChange | undefined {
    for (const seq of seqs) {
      const stored = this.#commit(seq);
      const found = this.#on.isInPast(stored, id) ? changeIn(stored, doc, hash) : undefined;
      if (found) return found;
    }
    for (const commits of this.#on.archive(doc, id)) {
      for (const stored of commits) {
        const found = this.#on.isInPast(stored, id) ? changeIn(stored, doc, hash) : undefined;
        if (found) return found;
      }
    }
    return undefined;
  }

  #findByActor(doc: string, actor: string, actorSeq: number, id: number): ChangeHeader | undefined {
    const last = this.#on.stage(id).doc(doc)?.last ?? 0;
    // Only ever asked to explain a refusal, so it looks at a bounded stretch of history.
    for (let seq = last; seq > 0 && seq > last - 1000; seq -= 1) {
      const stored = this.#commit(seq);
      const found = headersIn(stored, doc).find(
        (header) => header.actor === actor && header.seq === actorSeq,
      );
      if (found && this.#on.isInPast(stored, id)) return found;
    }
    return undefined;
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

/** Whether a commit makes or ends a branch; one of a merge is not looked into. */
function makesOrEnds(stored: StoredCommit): boolean {
  return branchEventIn(stored) !== undefined;
}

export interface GroupParts {
  readonly identity: DbIdentity;
  readonly stage: Stage;
  readonly head: LogHead;
  readonly world: World;
  readonly stored: (seq: number) => StoredCommit | undefined;
  readonly below: Below;
  /** The changes of a document up to the head that count on a branch. */
  readonly changes: (doc: string, branch: number) => readonly Uint8Array[];
  /** What durable commits touched, for whoever asks in this group and the next ones. */
  readonly recent?: RecentTouches;
  /** Who signs commits: the first of them whose key the line has not retired. */
  readonly signers?: readonly Signer[];
}

/** What is refused for a fault of the bytes, and not because this server is busy, full or damaged. */
const BLAMES_THE_SENDER = (status: number): boolean => status < 500;

export function receiptOf({ cid, seq, time, entries, duplicate }: Added): Receipt {
  const heads: Record<string, readonly string[]> = {};
  for (const entry of entries) heads[entry.doc] = entry.heads;
  return {
    cid,
    // Base32 costs 2 µs, and who speaks binary never asks.
    get commit() {
      return cid.length > 0 ? cidToString(cid) : "";
    },
    seq,
    time,
    heads,
    duplicate,
  };
}

function changeIn(stored: StoredCommit, doc: string, hash: string): FoundChange | undefined {
  const entry = stored.commit.entries.find((candidate) => candidate.doc === doc);
  const header = entry && headersIn(stored, doc).find((candidate) => candidate.hash === hash);
  if (!header) return undefined;
  const { heads } = entry;
  return { header, seq: stored.commit.seq, alone: heads.length === 1 && heads[0] === hash };
}
