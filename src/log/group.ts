import { isSkaldError } from "../errors.ts";
import { cidDigest } from "../ids/cid.ts";
import { toHex } from "../ids/hash.ts";
import {
  branchEventIn,
  brokenBranch,
  brokenLinks,
  brokenMerge,
  mergeEventIn,
  type MergeEvent,
} from "./branch-events.ts";
import { hasChange, leftOut, missingCommits } from "./branch-merge.ts";
import type { Branch } from "./branches.ts";
import { prefixOf } from "./address-map.ts";
import { encodeCommit, type CommitEntry } from "./commit.ts";
import { headsOf } from "./doc-state.ts";
import { planBrought } from "./merge-plan.ts";
import { entriesIn, erasedBy, stubbedIn, withoutChanges } from "./erased.ts";
import { stageFacts } from "./facts.ts";
import { bringersOf, brokenLine, isMerge, mergedIn, stageMerged } from "./merged.ts";
import {
  checkErases,
  checkReceived,
  checkSetAside,
  openReceived,
  readReceived,
  receivedInvalid,
  writesOf,
} from "./received.ts";
import { wrongSignature } from "./signature.ts";
import { bodyOf, type StoredCommit } from "./stored-commit.ts";
import { planTransaction, stageWrites, type PlannedWrite } from "./transaction.ts";
import { MergingGroup } from "./group-merge.ts";

/** A record of another server's, or the commit in one. */
export type Received = Uint8Array | StoredCommit;

/** Transactions that will share one append, each checked on top of the ones before; and commits of other servers. */
export class Group extends MergingGroup {
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
    if (Buffer.compare(commit.db, this.identity.uid) !== 0) throw receivedInvalid(seq, "it is of another db");
    if (commit.time < this.head.time) throw receivedInvalid(seq, "it is older than the commit before it");
    const step = branchEventIn(sent);
    const merge = mergeEventIn(sent);
    const before = this.before();
    const broken =
      brokenBranch(commit, step, before) ??
      brokenLinks(commit, step, before, this.head.cid) ??
      brokenMerge(sent, merge, before);
    if (broken !== undefined) throw receivedInvalid(seq, broken);
    if (clientTxId !== "" && this.stage.receipt(commit.author, clientTxId) !== undefined)
      throw receivedInvalid(seq, `its client_tx_id ${clientTxId} has another commit`);
    const unsigned = wrongSignature(sent, { retired: (did) => this.retired(did) });
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
    this.signer = undefined;
    stageFacts(stored, this.stage);
    this.keep(stored, isOpen || cleared ? bodyOf(stored) : received, { step, merge });
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
    const stage = this.on.stage(id);
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
    const broken = brokenLine(stored, (parent, childSeq) => this.isBefore(parent, childSeq));
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
        this.lookup(0),
        (name) => this.counting(name, 0),
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
          (hash) => !fresh.has(hash) && !this.stage.doc(doc)?.heads.has(hash) && !this.has(doc, hash),
        );
        if (lost !== undefined) throw receivedInvalid(seq, `it leaves out ${lost} of ${doc}`);
      }
    }
    return entries;
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
    const stage = this.on.stage(id);
    const into = branches.get(id) as Branch;
    const from = branches.get(branches.idOf(merge.from, merge.seq) as number) as Branch;
    const ground = this.ground();
    const run = missingCommits(ground, from, merge.seq, into).map((at) => this.commitAt(at));
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
        this.lookup(id),
        (name) => this.counting(name, id),
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
      checkSetAside(seq, entry, this.counting(entry.doc, id));
    }
    const tx = { author, clientTxId: "", writes: writesOf(stored, hollow), anyActor: true };
    const stage = this.on.stage(id);
    const checked = planTransaction(tx, stage, this.lookup(id));
    const byDoc = new Map([...checked, ...hollow.values()].map((write) => [write.doc, write]));
    const planned = entries.flatMap(({ doc }) => byDoc.get(doc) ?? []);
    if (planned.length !== entries.length) throw receivedInvalid(seq, "it has entries that do nothing");
    return stageWrites(planned, author, seq, stage);
  }
}

/** What is refused for a fault of the bytes, and not because this server is busy, full or damaged. */
const BLAMES_THE_SENDER = (status: number): boolean => status < 500;
