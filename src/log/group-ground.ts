import { SkaldError } from "../errors.ts";
import { cidDigest } from "../ids/cid.ts";
import { toHex } from "../ids/hash.ts";
import type { Signer } from "../ids/ed25519.ts";
import type { DbIdentity, StoredRecord } from "../store/contract.ts";
import type { World } from "../world.ts";
import { branchAfter, type Before, type BranchEvent, type MergeEvent } from "./branch-events.ts";
import type { MergeGround } from "./branch-merge.ts";
import { prefixOf } from "./address-map.ts";
import type { Stage } from "./stage.ts";
import { readTrustedHeader, type ChangeHeader } from "./change.ts";
import type { Commit } from "./commit.ts";
import { OnBranches, type Below } from "./on-branches.ts";
import { SERVER, rotationTxId, signCommit } from "./signature.ts";
import { headersIn, type StoredCommit } from "./stored-commit.ts";
import type { FoundChange, LogLookup } from "./transaction.ts";
import { RecentTouches } from "./unchanged.ts";
import type { LogHead } from "./receipt.ts";

/** What transactions of a group stand on: the log below, and what the ones before them did. */
export class GroupGround {
  readonly records: StoredRecord[] = [];
  readonly stage: Stage;
  head: LogHead;
  protected readonly identity: DbIdentity;
  protected readonly world: World;
  readonly #stored: (seq: number) => StoredCommit | undefined;
  readonly #changes: (doc: string, branch: number) => readonly Uint8Array[];
  protected readonly own = new Map<number, StoredCommit>();
  protected readonly on: OnBranches;
  protected readonly recent: RecentTouches;
  protected readonly signers: readonly Signer[];
  /** Who signs the next commit; undefined when that must be worked out. */
  protected signer: { readonly signer: Signer | undefined } | undefined;

  constructor(parts: GroupParts) {
    const { identity, stage, head, world, stored, below, changes, signers = [] } = parts;
    this.recent = parts.recent ?? new RecentTouches();
    this.identity = identity;
    this.stage = stage;
    this.head = head;
    this.world = world;
    this.#stored = stored;
    this.#changes = changes;
    this.on = new OnBranches(stage, below, (seq) => this.commitAt(seq));
    this.signers = signers;
  }

  protected keep(
    stored: StoredCommit,
    body: Uint8Array,
    { step, merge }: { step?: BranchEvent | undefined; merge?: MergeEvent | undefined } = {},
  ): void {
    const { cid, commit } = stored;
    const { seq, time } = commit;
    this.stage.putBranch(branchAfter(commit, step, cid, this.stage.branches, merge));
    this.records.push({ seq, body });
    this.own.set(seq, stored);
    this.head = { seq, cid, time };
  }

  /** Names the commit before in the db when that is not the first parent. */
  protected line(parent: Uint8Array | undefined): { line?: Uint8Array } {
    const { cid } = this.head;
    return cid && !(parent && Buffer.compare(cid, parent) === 0) ? { line: cid } : {};
  }

  protected headOf(branch: string): Uint8Array | undefined {
    return this.stage.branches.named(branch)?.headCid;
  }

  protected cidAt(seq: number): Uint8Array | undefined {
    if (seq === 0) return undefined;
    if (seq === this.head.seq) return this.head.cid;
    const { main } = this.stage.branches;
    return seq === main.head ? main.headCid : this.commitAt(seq).cid;
  }

  protected before(): Before {
    const { branches } = this.stage;
    return {
      branches,
      is: (seq, cid) => {
        const there = seq > 0 && seq <= this.head.seq ? this.cidAt(seq) : undefined;
        return there !== undefined && Buffer.compare(there, cid) === 0;
      },
      branchAt: (seq) => {
        if (!branches.any || seq > this.head.seq) return 0;
        const { branch } = this.commitAt(seq).commit;
        return branches.idOf(branch, seq) ?? 0;
      },
    };
  }

  /** Lets go of the commits so far, which `stored` finds from now on. */
  settle(): void {
    this.records.length = 0;
    this.own.clear();
  }

  protected signed(commit: Commit): Commit {
    if (this.signers.length === 0) return commit;
    const { signer } = (this.signer ??= { signer: this.signers.find(({ did }) => !this.retired(did)) });
    return signer ? signCommit(commit, signer) : commit;
  }

  /** Whether a commit of this line says that the key signs no more. */
  protected retired(did: string): boolean {
    return this.stage.receipt(SERVER, rotationTxId(did)) !== undefined;
  }

  protected ground(): MergeGround {
    return {
      stage: this.stage,
      on: this.on,
      commit: (seq) => this.commitAt(seq),
      lookup: (id) => this.lookup(id),
      counting: (doc, id) => this.counting(doc, id),
      commitsOn: (id, after, upTo) => this.on.commitsOn(id, after, upTo),
    };
  }

  protected has(doc: string, hash: string): boolean {
    return this.#findChange(doc, hash, this.stage.find(prefixOf(hash)), 0) !== undefined;
  }

  /** Whether a commit came before: on the line right below the one that names it, in the merge before, or in any. */
  protected isBefore(parent: Uint8Array, childSeq: number): boolean {
    const is = (cid: Uint8Array | undefined): boolean =>
      cid !== undefined && Buffer.compare(cid, parent) === 0;
    if (childSeq > 1 && childSeq - 1 <= this.head.seq && is(this.commitAt(childSeq - 1).cid)) return true;
    const { seq } = this.head;
    if (seq > 0 && this.commitAt(seq).commit.parents.some(is)) return true;
    return this.stage
      .find(prefixOf(toHex(cidDigest(parent))))
      .some((found) => [this.commitAt(found).cid, ...this.commitAt(found).commit.events].some(is));
  }

  /** The changes that count in a document on a branch, those of this group included. */
  protected counting(doc: string, id: number): ChangeHeader[] {
    const refused = this.on.stage(id).doc(doc)?.refused;
    const found = new Map<string, ChangeHeader>();
    const own = [...this.own.values()]
      .filter((stored) => this.on.isInPast(stored, id))
      .flatMap((stored) => headersIn(stored, doc));
    for (const header of [...this.#changes(doc, id).map(readTrustedHeader), ...own])
      if (!refused?.has(header.hash)) found.set(header.hash, header);
    return [...found.values()];
  }

  protected lookup(id: number): LogLookup {
    return {
      uid: this.identity.uid,
      seq: this.head.seq,
      others: (doc) => this.stage.others(doc, id),
      isKnown: (doc, hash) => this.#isKnown(doc, hash),
      findChange: (doc, hash, seqs) => this.#findChange(doc, hash, seqs, id),
      findByActor: (doc, actor, seq) => this.#findByActor(doc, actor, seq, id),
      findHeaders: (doc, hashes) => this.on.headers(doc, hashes),
    };
  }

  #isKnown(doc: string, hash: string): boolean {
    if (this.stage.find(prefixOf(hash)).some((seq) => changeIn(this.commitAt(seq), doc, hash))) return true;
    for (const commits of this.on.bundled(doc))
      if (commits.some((stored) => changeIn(stored, doc, hash))) return true;
    return false;
  }

  protected commitAt(seq: number): StoredCommit {
    const stored = this.own.get(seq) ?? this.#stored(seq);
    if (!stored) throw new SkaldError("DB_DAMAGED", `Commit ${seq} is missing.`, { details: { seq } });
    return stored;
  }

  #findChange(doc: string, hash: string, seqs: readonly number[], id: number): FoundChange | undefined {
    for (const seq of seqs) {
      const stored = this.commitAt(seq);
      const found = this.on.isInPast(stored, id) ? changeIn(stored, doc, hash) : undefined;
      if (found) return found;
    }
    for (const commits of this.on.archive(doc, id)) {
      for (const stored of commits) {
        const found = this.on.isInPast(stored, id) ? changeIn(stored, doc, hash) : undefined;
        if (found) return found;
      }
    }
    return undefined;
  }

  #findByActor(doc: string, actor: string, actorSeq: number, id: number): ChangeHeader | undefined {
    const last = this.on.stage(id).doc(doc)?.last ?? 0;
    // Only ever asked to explain a refusal, so it looks at a bounded stretch of history.
    for (let seq = last; seq > 0 && seq > last - 1000; seq -= 1) {
      const stored = this.commitAt(seq);
      const found = headersIn(stored, doc).find(
        (header) => header.actor === actor && header.seq === actorSeq,
      );
      if (found && this.on.isInPast(stored, id)) return found;
    }
    return undefined;
  }
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

function changeIn(stored: StoredCommit, doc: string, hash: string): FoundChange | undefined {
  const entry = stored.commit.entries.find((candidate) => candidate.doc === doc);
  const header = entry && headersIn(stored, doc).find((candidate) => candidate.hash === hash);
  if (!header) return undefined;
  const { heads } = entry;
  return { header, seq: stored.commit.seq, alone: heads.length === 1 && heads[0] === hash };
}
