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
  encodeBranchEvent,
  type Before,
  type BranchEvent,
} from "./branch-events.ts";
import { openBranch, planStep } from "./branch-steps.ts";
import { MAIN } from "./branches.ts";
import { prefixOf, type DocStage, type Stage } from "./catalog.ts";
import { readTrustedHeader, type ChangeHeader } from "./change.ts";
import { encodeCommit, type Commit, type CommitEntry } from "./commit.ts";
import { headsOf } from "./doc-state.ts";
import { broughtBy, planBrought } from "./merge-plan.ts";
import { bringersOf, brokenLine, eventsOf, isMerge, mergedIn, stageMerged } from "./merged.ts";
import { OnBranches, type Below } from "./on-branches.ts";
import {
  checkReceived,
  checkSetAside,
  openReceived,
  readReceived,
  receivedInvalid,
  writesOf,
} from "./received.ts";
import { writeRecord } from "./record.ts";
import { SERVER, isRotationTxId, rotationTxId, signCommit, wrongSignature } from "./signature.ts";
import { bodyOf, headersIn, type StoredCommit } from "./stored-commit.ts";
import {
  planTransaction,
  stageWrites,
  type BranchStep,
  type FoundChange,
  type LogLookup,
  type PlannedWrite,
  type Transaction,
} from "./transaction.ts";

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
  readonly #signers: readonly Signer[];
  /** Who signs the next commit; undefined when that must be worked out. */
  #signer: { readonly signer: Signer | undefined } | undefined;

  constructor({ identity, stage, head, world, stored, below, changes, signers = [] }: GroupParts) {
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
    const planned = planTransaction(tx, stage, this.#lookup(branch?.id ?? 0));
    const events = step ? [encodeBranchEvent(step)] : (tx.events ?? []);
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
    this.#keep({ cid, bytes, commit, blocks, clientTxId: tx.clientTxId }, body, step);
    return { cid, seq, time: commit.time, entries: commit.entries, duplicate: false, bytes: body.length };
  }

  #step(name: string, step: BranchStep): BranchEvent {
    return planStep(name, step, this.stage.branches, this.head.seq, this.#before().branchAt);
  }

  #keep(stored: StoredCommit, body: Uint8Array, step: BranchEvent | undefined): void {
    const { cid, commit } = stored;
    const { seq, time } = commit;
    this.stage.putBranch(branchAfter(commit, step, cid, this.stage.branches));
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
    return seq === 0 ? undefined : seq === this.head.seq ? this.head.cid : this.#commit(seq).cid;
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
   * same checks as a write, and what comes of them must be its bytes. Throws SYNC_INVALID; then the group is
   * no good any more. A commit that is open already has had its bytes and blocks compared with their addresses.
   */
  take(received: Received): void {
    const seq = this.head.seq + 1;
    const isOpen = "cid" in received;
    const stored = isOpen ? checkReceived(received, seq) : openReceived(received, seq);
    const { commit, cid, clientTxId } = stored;
    if (Buffer.compare(commit.db, this.#identity.uid) !== 0)
      throw receivedInvalid(seq, "it is of another db");
    if (commit.time < this.head.time) throw receivedInvalid(seq, "it is older than the commit before it");
    const step = branchEventIn(stored);
    const broken =
      brokenBranch(commit, step, this.#before()) ?? brokenLinks(commit, step, this.#before(), this.head.cid);
    if (broken !== undefined) throw receivedInvalid(seq, broken);
    if (clientTxId !== "" && this.stage.receipt(commit.author, clientTxId) !== undefined)
      throw receivedInvalid(seq, `its client_tx_id ${clientTxId} has another commit`);
    const unsigned = wrongSignature(stored, { retired: (did) => this.#retired(did) });
    if (unsigned !== undefined) throw receivedInvalid(seq, unsigned);
    let entries: readonly CommitEntry[];
    try {
      const id = step ? 0 : (this.stage.branches.named(commit.branch)?.id ?? 0);
      entries = isMerge(commit) ? this.#replayMerge(stored, seq) : this.#replay(stored, seq, id);
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
    this.#keep(stored, isOpen ? bodyOf(received) : received, step);
  }

  /** Lets go of the commits so far, which `stored` finds from now on. */
  settle(): void {
    this.records.length = 0;
    this.#own.clear();
  }

  /**
   * Puts a run of commits of another line into one merge commit. `deleted` says of a document whether it is, by
   * what that line says. Throws SYNC_EQUIVOCATION, DOC_TOO_LARGE; then the group is no good any more.
   */
  merge(
    run: readonly StoredCommit[],
    author: string,
    deleted: (doc: string, there: boolean) => boolean,
  ): void {
    const seq = this.head.seq + 1;
    const planned: PlannedWrite[] = [];
    for (const brought of broughtBy(run)) {
      const gone = deleted(brought.doc, brought.deleted);
      const write = planBrought(brought, gone, this.stage, this.#lookup(0), (doc) => this.#counting(doc, 0));
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
    this.#keep(stored, record.body, undefined);
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
  #replayMerge(stored: StoredCommit, seq: number): readonly CommitEntry[] {
    const { commit, blocks } = stored;
    const merged = mergedIn(stored);
    const broken = brokenLine(stored, (parent, childSeq) => this.#isBefore(parent, childSeq));
    if (broken !== undefined) throw receivedInvalid(seq, broken);
    const bringer = bringersOf(stored);
    let at = 0;
    const planned = commit.entries.map((entry) => {
      const principals = new Map<string, string>();
      const changes = entry.changes.map((cid) => {
        const change = readReceived(blocks[at++] as Uint8Array);
        const principal = bringer(entry.doc, cid);
        if (principal === undefined)
          throw receivedInvalid(seq, `it has a change of ${entry.doc} that no commit in it brought`);
        principals.set(change.hash, principal);
        return change;
      });
      const { doc, deleted = false, refused = [] } = entry;
      const brought = { doc, changes, principals, refused: new Set(refused), deleted };
      const write = planBrought(brought, deleted, this.stage, this.#lookup(0), (name) =>
        this.#counting(name, 0),
      );
      if (write?.fresh.length !== changes.length)
        throw receivedInvalid(seq, `it brings what ${doc} has already`);
      return write;
    });
    const entries = stageWrites(planned, commit.author, seq, this.stage);
    const fresh = new Set(planned.flatMap((write) => write.fresh.map(({ hash }) => hash)));
    for (const { commit: within } of merged) {
      for (const { doc, heads } of within.entries) {
        const lost = heads.find(
          (hash) => !fresh.has(hash) && !this.stage.doc(doc)?.heads.has(hash) && !this.#has(doc, hash),
        );
        if (lost !== undefined) throw receivedInvalid(seq, `it leaves out ${lost} of ${doc}`);
      }
    }
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

  #replay(stored: StoredCommit, seq: number, id: number): readonly CommitEntry[] {
    const { author, entries } = stored.commit;
    for (const entry of entries) {
      if (!entry.refused) continue;
      if (entry.changes.length > 0) throw receivedInvalid(seq, "it writes and sets aside in one");
      checkSetAside(seq, entry, this.#counting(entry.doc, id));
    }
    const tx = { author, clientTxId: "", writes: writesOf(stored), anyActor: true };
    const stage = this.#on.stage(id);
    const planned = planTransaction(tx, stage, this.#lookup(id));
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
