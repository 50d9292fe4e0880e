import { isSkaldError } from "../errors.ts";
import {
  CODEC_DAG_CBOR,
  CODEC_RAW,
  cidCodec,
  cidDigest,
  cidFromDigest,
  cidOf,
  cidToString,
} from "../ids/cid.ts";
import { blake3, toHex } from "../ids/hash.ts";
import { parseDocName } from "../ids/names.ts";
import type { LogStorage } from "../store/contract.ts";
import { isBundle, unpackBundle } from "./bundle.ts";
import {
  branchAfter,
  branchEventIn,
  brokenBranch,
  brokenLinks,
  brokenMerge,
  mergeEventIn,
  type BranchEvent,
  type MergeEvent,
} from "./branch-events.ts";
import { Branches, branchOf, docOf, knownTo, pastOf, rowOf } from "./branches.ts";
import { prefixOf } from "./address-map.ts";
import { ownerAmong } from "./stage.ts";
import { readChange, type ChangeHeader } from "./change.ts";
import { decodeCommit, type Commit, type CommitEntry } from "./commit.ts";
import { advance, followHollow, headsOf, hollow, newDocState, startRow, type DocState } from "./doc-state.ts";
import { erasedBy, isStub } from "./erased.ts";
import type { LogInvariant } from "./findings.ts";
import { genesisOf } from "./genesis.ts";
import { AUTHORED_LIMITS } from "./guard.ts";
import { bringersOf, brokenLine, isMerge, joins, mergedIn } from "./merged.ts";
import { decodeRecord } from "./record.ts";
import { SCHEMA_CHANGE, schemaEventsIn, schemaStepsOf, type SchemaEvent } from "./schema-events.ts";
import type { SchemaStep } from "./schema-steps.ts";
import { wrongSignature } from "./signature.ts";
import { openRecord, type StoredCommit } from "./stored-commit.ts";

/** What the walk has worked out of a document, from commits alone. */
export interface WalkedDoc {
  /** As the catalog should have it, but for the row's id. */
  readonly state: DocState;
  /** Seqs of the commits that touched it, ascending. */
  readonly touches: readonly number[];
}

/** A merge of a branch, and what its own had of all branches before. */
interface Joined {
  readonly event: MergeEvent;
  readonly known: ReadonlyMap<number, number>;
}

/** A change as far as the graph goes: its deps are nodes too, so that a hash is kept once. */
interface Node {
  readonly hash: string;
  readonly actor: string;
  readonly maxOp: number;
  readonly deps: readonly Node[];
  /** False for a genesis that only others name. */
  readonly stored: boolean;
  refused: boolean;
}

interface Walked extends WalkedDoc {
  readonly touches: number[];
  readonly nodes: Map<string, Node>;
}

/** A key that another one follows from a commit on. */
interface Retired {
  readonly seq: number;
  readonly from: string;
  readonly to: string;
}

/** Records read at once: a record may be 16 MiB. */
const PAGE = 8;
/** Commits and bytes between two yields. */
const SLICE_COMMITS = 200;
const SLICE_BYTES = 1024 * 1024;

/**
 * Goes through a log from its first byte and works out what follows from it, reporting whatever does not
 * hold. It can go on from where it stopped when commits were added, and while others put commits that it
 * passed or is about to pass into bundles. Memory: some 300 bytes a change and
 * 8 a touched document and commit, whatever the changes' sizes.
 */
export class LogWalk {
  /** Address of the commit walked last; undefined when its record could not be read. */
  head: Uint8Array | undefined;
  /** What the commits do to the schema, in order; and the last event on each stored statement, with its commit. */
  readonly schema: SchemaStep[] = [];
  readonly statements = new Map<string, { readonly event: SchemaEvent; readonly seq: number }>();
  /** Commits that are signed, those within merges included; by whom; and which keys another one follows. */
  readonly signatures = { commits: 0, signers: new Set<string>(), rotations: [] as Retired[] };
  readonly #storage: LogStorage;
  readonly #uid: Uint8Array;
  readonly #report: (what: LogInvariant, where: string) => void;
  readonly #visit: (stored: StoredCommit) => void;
  readonly #docs = new Map<string, Walked>();
  readonly #branches = new Branches();
  /** Documents that other branches than `main` wrote, by their rows in the catalog. */
  readonly #rows = new Map<string, Walked>();
  /** The same rows, by document. */
  readonly #rowsOf = new Map<string, Walked[]>();
  /** Seqs of the commits of each branch, from the first branch on. */
  readonly #onBranches = new Map<number, number[]>();
  /** Of commits of other branches than `main`, by seq. */
  readonly #branchAt = new Map<number, number>();
  /** The last commit that could not be read, 0 for none: of what it was nobody knows what follows it. */
  #lost = 0;
  #taken = 0;
  /** The bundle opened last, to look at a commit again. */
  #opened: { readonly first: number; readonly commits: readonly StoredCommit[] } | undefined;
  /** Each actor's name once, however many changes it has. */
  readonly #actors = new Map<string, string>();
  /** Start of each commit's address, for merges that build on one. */
  readonly #addresses: number[] = [];
  /** What is owed an explanation: stubs, and changes that a merge leaves out, of documents that are not erased so far. */
  readonly #owed = new Map<string, { readonly what: LogInvariant; readonly where: string }>();
  /** Changes whose bytes are gone. */
  #stubs = 0;
  /** The same of commits within merges. */
  readonly #within = new Set<number>();
  /** Keys that sign no more from the commit walked last on. */
  readonly #retired = new Set<string>();
  #expected = 1;
  #time = 0;

  /** `visit` sees each commit whose bytes are what its address says, in order; no merge that cannot be read. */
  constructor(
    storage: LogStorage,
    report: (what: LogInvariant, where: string) => void,
    visit: (stored: StoredCommit) => void = () => {},
  ) {
    this.#storage = storage;
    this.#uid = storage.identity.uid;
    this.#report = report;
    this.#visit = visit;
  }

  /** Documents on `main`, by name. */
  get docs(): ReadonlyMap<string, WalkedDoc> {
    return this.#docs;
  }

  /** Documents that other branches wrote, by their rows in the catalog. */
  get rows(): ReadonlyMap<string, WalkedDoc> {
    return this.#rows;
  }

  /** Every branch there ever was, as the commits so far leave it. */
  get branches(): Branches {
    return this.#branches;
  }

  /** Seqs of the commits of a branch; those of `main` from the commit on that made the first branch. */
  commitsOn(id: number): readonly number[] {
    return this.#onBranches.get(id) ?? [];
  }

  /** The commit walked last, 0 for none. */
  get seq(): number {
    return this.#expected - 1;
  }

  /** Documents that are erased, and changes whose bytes are gone, so far. */
  erased(): { readonly documents: number; readonly blocks: number } {
    let documents = 0;
    for (const { state } of this.#docs.values()) if (state.erased !== undefined) documents += 1;
    return { documents, blocks: this.#stubs };
  }

  /** Whether something was met that only a later commit can explain. */
  get owes(): boolean {
    return this.#owed.size > 0;
  }

  /** Reports what no commit has explained. */
  settle(): void {
    for (const { what, where } of this.#owed.values()) this.#report(what, where);
    this.#owed.clear();
  }

  /** Walks on up to commit `upTo`. Yields after each slice of about a megabyte. Ends early when nothing can be read. */
  *read(upTo: number): Generator<number, void> {
    let commits = 0;
    let bytes = 0;
    while (this.seq < upTo) {
      const from = this.#expected;
      let page;
      try {
        page = this.#storage.page(from, PAGE);
      } catch (error) {
        // Says nothing of the log.
        if (isSkaldError(error) && error.code === "STORAGE_FULL") throw error;
        this.#report("engine", `reading from seq ${from}: ${(error as Error).message}`);
        return;
      }
      if (page.length === 0) {
        this.#report("seq", `nothing from seq ${from} on, where there should be ${upTo}`);
        return;
      }
      for (const { seq, body } of page) {
        if (this.seq >= upTo) return;
        if (isBundle(body)) yield* this.#bundle(seq, body);
        else this.#record(seq, body);
        commits += 1;
        bytes += body.length;
        if (commits < SLICE_COMMITS && bytes < SLICE_BYTES) continue;
        [commits, bytes] = [0, 0];
        yield this.seq;
      }
    }
  }

  /** A run of commits as one body: expanding it works every address and link of it out again. */
  *#bundle(last: number, body: Uint8Array): Generator<number, void> {
    const previous = this.head;
    this.head = undefined;
    let commits;
    try {
      commits = unpackBundle(this.#uid, body);
    } catch (error) {
      this.#report("record", `commits ${this.#expected} to ${last}: ${(error as Error).message}`);
      this.#expected = last + 1;
      return;
    }
    let parent = previous;
    const passed = this.#passed(last, body, commits, previous);
    for (const stored of commits.slice(passed)) {
      const { commit, cid } = stored;
      const { seq } = commit;
      if (seq !== this.#expected)
        this.#report("seq", `commit ${this.#expected} is missing; the next one is ${seq}`);
      this.#expected = seq + 1;
      this.#take(stored, seq, parent);
      parent = cid;
      if (seq % SLICE_COMMITS === 0) yield seq;
    }
    this.head = parent;
    if (this.#expected !== last + 1) {
      this.#report("seq", `the bundle up to ${last} ends at ${this.#expected - 1}`);
      this.#expected = last + 1;
    }
  }

  /**
   * How many of a bundle's first commits were walked before somebody put them into it: the storage must
   * have nothing else in the place of the last of them, and that one must be the one that was walked.
   */
  #passed(
    last: number,
    body: Uint8Array,
    commits: readonly StoredCommit[],
    previous: Uint8Array | undefined,
  ): number {
    const passed = this.#expected - (commits[0]?.commit.seq ?? this.#expected);
    const before = commits[passed - 1];
    if (passed <= 0 || before?.commit.seq !== this.seq) return 0;
    const there = this.#storage.read(this.seq);
    if (!there || Buffer.compare(there, body) !== 0) return 0;
    if (previous && Buffer.compare(previous, before.cid) !== 0)
      this.#report("chain", `commit ${this.seq} was another before it came into the bundle up to ${last}`);
    return passed;
  }

  #record(seq: number, body: Uint8Array): void {
    if (seq !== this.#expected)
      this.#report("seq", `commit ${this.#expected} is missing; the next one is ${seq}`);
    this.#expected = seq + 1;
    const previous = this.head;
    this.head = undefined;
    let record;
    try {
      record = decodeRecord(body, seq);
    } catch (error) {
      this.#report("record", `commit ${seq}: ${(error as Error).message}`);
      return;
    }
    const digest = blake3(record.commit);
    const cid = cidFromDigest(CODEC_DAG_CBOR, digest);
    if (Buffer.compare(digest, record.digest) !== 0) {
      this.#report("address", `commit ${seq}: its bytes hash to ${cidToString(cid)}`);
      return;
    }
    this.head = cid;
    let commit: Commit;
    try {
      commit = decodeCommit(record.commit);
    } catch (error) {
      this.#report("record", `commit ${seq} (${cidToString(cid)}): ${(error as Error).message}`);
      return;
    }
    const { blocks, clientTxId } = record;
    this.#take({ cid, bytes: record.commit, commit, blocks, clientTxId }, seq, previous);
  }

  #take(stored: StoredCommit, seq: number, previous: Uint8Array | undefined): void {
    if (seq > this.#taken + 1) this.#lost = seq - 1;
    this.#taken = seq;
    const step = this.#follows(stored, seq, previous);
    const readable = this.#merged(stored);
    if (readable) this.#signature(stored);
    const merge = this.#merges(stored, step, previous);
    const id = this.#onBranch(stored, step, merge?.event);
    this.#blocks(stored, id);
    if (merge && id !== undefined) this.#hasAll(stored, merge, id);
    if (readable && id !== undefined && stored.commit.events.length > 0) this.#said(stored);
    this.#addresses[seq - 1] = prefixOf(toHex(cidDigest(stored.cid)));
    if (readable) this.#visit(stored);
  }

  #said(stored: StoredCommit): void {
    for (const { event } of schemaEventsIn(stored))
      if (event.type !== SCHEMA_CHANGE) this.statements.set(event.name, { event, seq: this.seq });
    this.schema.push(...schemaStepsOf(stored, this.#branches));
  }

  #follows(stored: StoredCommit, seq: number, previous: Uint8Array | undefined): BranchEvent | undefined {
    const { commit, cid } = stored;
    const name = `commit ${seq} (${cidToString(cid)})`;
    if (commit.seq !== seq) this.#report("chain", `${name} says it is ${commit.seq}`);
    if (commit.time < this.#time) this.#report("time", name);
    this.#time = Math.max(this.#time, commit.time);
    if (Buffer.compare(commit.db, this.#uid) !== 0) this.#report("identity", name);
    const step = branchEventIn(stored);
    const before = {
      branches: this.#branches,
      is: (at: number, parent: Uint8Array) => this.#isAt(at, seq, parent, previous),
      branchAt: (at: number) => this.#branchAt.get(at) ?? 0,
    };
    const here = { ...commit, seq };
    const broken = brokenBranch(here, step, before);
    // One that could not be read may have made the branch.
    if (broken !== undefined && this.#lost === 0) this.#report("branch", `${name}: ${broken}`);
    if (broken !== undefined) return undefined;
    const parent =
      step?.type === "branch.create" ? step.seq : (this.#branches.named(commit.branch)?.head ?? 0);
    const links =
      step?.type === "branch.create" || parent >= this.#lost
        ? brokenLinks(here, step, before, previous)
        : undefined;
    if (links !== undefined) this.#report("chain", `${name}: ${links}`);
    return step;
  }

  /** Whether commit `at` has this address, for the one with this seq; undefined when it could not be read. */
  #isAt(at: number, seq: number, cid: Uint8Array, previous: Uint8Array | undefined): boolean | undefined {
    if (at === seq - 1) return previous && Buffer.compare(previous, cid) === 0;
    const there = this.#addresses[at - 1];
    return there === undefined ? undefined : there === prefixOf(toHex(cidDigest(cid)));
  }

  /** Moves the commit's branch on. One of a branch that is not there was reported, and counts for none. */
  #onBranch(
    { commit, cid }: StoredCommit,
    step: BranchEvent | undefined,
    merge: MergeEvent | undefined,
  ): number | undefined {
    if (step?.type !== "branch.create" && !this.#branches.named(commit.branch)) return undefined;
    const seq = this.seq;
    const after = branchAfter({ branch: commit.branch, seq }, step, cid, this.#branches, merge);
    this.#branches.put(after);
    if (after.id !== 0) this.#branchAt.set(seq, after.id);
    if (this.#branches.any) {
      const own = this.#onBranches.get(after.id);
      if (own) own.push(seq);
      else this.#onBranches.set(after.id, [seq]);
    }
    return after.id;
  }

  /** The merge of a branch that a commit says it is, with what its branch had before. One that cannot be is reported. */
  #merges(
    stored: StoredCommit,
    step: BranchEvent | undefined,
    previous: Uint8Array | undefined,
  ): Joined | undefined {
    const event = mergeEventIn(stored);
    const { commit } = stored;
    const into = step ? undefined : this.#branches.named(commit.branch);
    const broken = brokenMerge({ ...stored, commit: { ...commit, seq: this.seq } }, event, {
      branches: this.#branches,
      is: (at, cid) => this.#isAt(at, this.seq, cid, previous),
      branchAt: (at) => this.#branchAt.get(at) ?? 0,
    });
    if (broken !== undefined && this.#lost === 0) this.#report("merged", `commit ${commit.seq}: ${broken}`);
    if (broken !== undefined || !event || !into) return undefined;
    return { event, known: knownTo(this.#branches, into.id) };
  }

  /**
   * Nothing that the merged branch had by then, and that this one did not have, is missing from a document. What that
   * branch wrote since is not told apart, so documents it went on with are not looked at.
   */
  #hasAll({ commit }: StoredCommit, { event, known }: Joined, id: number): void {
    const from = this.#branches.idOf(event.from, event.seq) as number;
    for (const stretch of pastOf(this.#branches, from, event.seq)) {
      const after = known.get(stretch.id) ?? 0;
      for (const [row, walked] of stretch.id === 0 ? this.#docs : this.#rows) {
        const { last } = walked.state;
        if (last <= after || last > stretch.upTo || branchOf(row) !== stretch.id) continue;
        const doc = docOf(row);
        // A branch nearer to the one merged has it with what it wrote itself.
        const own = stretch.id === from ? undefined : this.#walkedOn(from, doc);
        if (own && own !== walked) continue;
        const there = this.#asOf(id, doc, this.seq);
        // A merge brings nothing of what is erased; stubs that nothing explains are told of by themselves.
        if ([walked, there, this.#docs.get(doc)].some((known) => known?.state.erased !== undefined)) continue;
        const nodes = there?.nodes;
        for (const hash of walked.state.heads.keys())
          if (!nodes?.has(hash)) this.#report("merged", `commit ${commit.seq} leaves out ${hash} of ${doc}`);
      }
    }
  }

  /** A merge holds the line that it names: checked before its changes, and that it has all of them after. False for one that cannot be read. */
  #merged(stored: StoredCommit): boolean {
    const { commit } = stored;
    if (!isMerge(commit)) {
      if (commit.events.some((cid) => cidCodec(cid) === CODEC_DAG_CBOR))
        this.#report("merged", `commit ${commit.seq} holds commits and is no merge`);
      return true;
    }
    try {
      const broken = brokenLine(stored, (parent, childSeq) => this.#isBefore(parent, childSeq));
      if (broken !== undefined) this.#report("merged", `commit ${commit.seq}: ${broken}`);
      for (const { cid } of mergedIn(stored)) this.#within.add(prefixOf(toHex(cidDigest(cid))));
      return true;
    } catch (error) {
      this.#report("merged", `commit ${commit.seq}: ${(error as Error).message}`);
      return false;
    }
  }

  #signature(stored: StoredCommit): void {
    const { seq } = stored.commit;
    const wrong = wrongSignature(stored, {
      retired: (did) => this.#retired.has(did),
      rotated: ({ from, to }) => {
        this.#retired.add(from);
        this.signatures.rotations.push({ seq, from, to });
      },
      signed: (did) => {
        this.signatures.commits += 1;
        this.signatures.signers.add(did);
      },
    });
    if (wrong !== undefined) this.#report("signature", `commit ${seq}: ${wrong}`);
  }

  /** By the first 52 bits of addresses: a commit of this line right below its child, or one within a merge. */
  #isBefore(parent: Uint8Array, childSeq: number): boolean {
    const prefix = prefixOf(toHex(cidDigest(parent)));
    if (this.#addresses[childSeq - 2] === prefix || this.#within.has(prefix)) return true;
    return this.#branches.any && this.#addresses.includes(prefix);
  }

  #blocks(stored: StoredCommit, id: number | undefined): void {
    const { commit, blocks } = stored;
    const bringer = bringerIn(stored);
    const named = commit.entries.reduce((sum, entry) => sum + entry.changes.length, 0) + commit.events.length;
    if (named !== blocks.length) {
      this.#report("blocks", `commit ${commit.seq} names ${named} blocks and holds ${blocks.length}`);
    }
    const erased = erasedBy(stored);
    let at = 0;
    for (const entry of commit.entries) {
      try {
        const own = blocks.slice(at, at + entry.changes.length);
        if (id === undefined) entry.changes.forEach((cid, i) => this.#address(commit.seq, cid, own[i]));
        else this.#entry(stored, entry, own, bringer, id, erased.has(entry.doc));
      } catch (error) {
        this.#report("record", `commit ${commit.seq}: ${(error as Error).message}`);
      }
      at += entry.changes.length;
    }
    for (const event of commit.events) this.#address(commit.seq, event, blocks[at++]);
    for (const doc of erased) {
      if (id !== 0) this.#report("erased", `commit ${commit.seq} erases ${doc} and is not of main`);
      else if (!this.#docs.get(doc)?.state.erased)
        this.#report("erased", `commit ${commit.seq} erases ${doc} and has no entry that does`);
    }
    if (isMerge(commit)) this.#whole(stored);
  }

  /** Nothing that the commits of a merge left as a head is missing from the document. */
  #whole(stored: StoredCommit): void {
    try {
      for (const { commit } of mergedIn(stored)) {
        for (const { doc, heads } of commit.entries) {
          const known = this.#docs.get(doc);
          if (known?.state.erased) continue;
          const lost = heads.find((hash) => !known?.nodes.has(hash));
          const where = `commit ${stored.commit.seq} leaves out ${lost} of ${doc}`;
          if (lost !== undefined && !this.#owed.has(doc)) this.#owed.set(doc, { what: "merged", where });
        }
      }
    } catch {
      // That it cannot be read was reported.
    }
  }

  #address(
    seq: number,
    cid: Uint8Array,
    block: Uint8Array | undefined,
    report: (what: LogInvariant, where: string) => void = this.#report,
  ): boolean {
    const codec = cidCodec(cid) === CODEC_DAG_CBOR ? CODEC_DAG_CBOR : CODEC_RAW;
    if (block && Buffer.compare(cidOf(codec, block), cid) === 0) return true;
    report("address", `block ${cidToString(cid)} of commit ${seq}`);
    return false;
  }

  #entry(
    { commit }: StoredCommit,
    entry: CommitEntry,
    blocks: readonly Uint8Array[],
    bringer: ReturnType<typeof bringersOf>,
    id: number,
    erases: boolean,
  ): void {
    const { doc } = entry;
    const known = this.#walkedOn(id, doc) ?? this.#beginOn(id, doc);
    this.#apply(known, commit, entry, blocks, bringer, this.#report, erases);
    known.touches.push(commit.seq);
    const stubs = blocks.filter(isStub).length;
    this.#stubs += stubs;
    if (erases) {
      for (const row of this.#rowsOf.get(doc) ?? []) end(row, commit.seq);
      this.#owed.delete(doc);
    } else if (stubs > 0 && !this.#owed.has(doc)) {
      const where = `commit ${commit.seq} has changes of ${doc} without their bytes, and no commit erased it`;
      this.#owed.set(doc, { what: "erased", where });
    }
  }

  /**
   * An entry of a document that is erased, by this commit or by one that must come: what follows from changes cannot
   * be told any more, and what commits say has to fit together all the same.
   */
  #hollow(
    known: Walked,
    commit: Commit,
    entry: CommitEntry,
    blocks: readonly Uint8Array[],
    report: (what: LogInvariant, where: string) => void,
    erases: boolean,
  ): void {
    const { doc, base, heads, changes, deleted } = entry;
    const { state } = known;
    if (!same(base, headsOf(state))) report("base", `${doc} in commit ${commit.seq}`);
    if (state.erased) report("erased", `commit ${commit.seq} goes on with ${doc}, which was erased`);
    if (erases && (changes.length > 0 || !deleted || entry.refused))
      report("erased", `commit ${commit.seq} erases ${doc} and does more to it`);
    changes.forEach((cid, i) => {
      const block = blocks[i];
      if (!block || isStub(block) || !this.#address(commit.seq, cid, block, report)) return;
      try {
        readChange(block, AUTHORED_LIMITS);
      } catch (error) {
        const where = `change ${cidToString(cid)} of ${doc} in commit ${commit.seq}`;
        report("change", `${where}: ${isSkaldError(error) ? error.code : (error as Error).message}`);
      }
    });
    if (erases) end(known, commit.seq);
    else hollow(state);
    followHollow(state, entry);
    known.nodes.clear();
    if (!same(heads, headsOf(state))) report("heads", `${doc} in commit ${commit.seq}`);
  }

  /** What one commit does to a document. */
  #apply(
    known: Walked,
    commit: Commit,
    entry: CommitEntry,
    blocks: readonly Uint8Array[],
    bringer: ReturnType<typeof bringersOf>,
    report: (what: LogInvariant, where: string) => void,
    erases: boolean,
  ): void {
    const { state } = known;
    if (erases || state.erased !== undefined || blocks.some(isStub))
      this.#hollow(known, commit, entry, blocks, report, erases);
    else this.#follow(known, commit, entry, blocks, bringer, report);
    if (state.first === 0) state.first = commit.seq;
    state.last = commit.seq;
    state.deleted = entry.deleted === true;
  }

  /** The same of a document whose changes are there. */
  #follow(
    known: Walked,
    commit: Commit,
    entry: CommitEntry,
    blocks: readonly Uint8Array[],
    bringer: ReturnType<typeof bringersOf>,
    report: (what: LogInvariant, where: string) => void,
  ): void {
    const gone = joins(commit) ? new Set(entry.refused) : undefined;
    const { doc } = entry;
    const { state, nodes } = known;
    const others = this.#others(doc, known);
    if (!same(entry.base, headsOf(state))) report("base", `${doc} in commit ${commit.seq}`);
    entry.changes.forEach((cid, i) => {
      const block = blocks[i];
      if (!block || !this.#address(commit.seq, cid, block, report)) return;
      const where = `change ${cidToString(cid)} of ${doc} in commit ${commit.seq}`;
      try {
        const change = readChange(block, AUTHORED_LIMITS);
        // A merge may bring what builds on a change that is set aside, when it sets that aside as well.
        const missing = change.deps
          .filter((dep) => nodes.get(dep)?.refused !== false)
          .filter((dep) => !(gone?.has(change.hash) && nodes.has(dep)));
        if (missing.length > 0) report("deps", `${where} lacks ${missing.join(", ")}`);
        if (change.seq !== (state.actors.get(change.actor)?.seq ?? 0) + 1) report("actor", where);
        if (others.some((other) => hasAnother(other, change)))
          report("actor", `${where}: another branch has another one with its number`);
        const deps = change.deps.map((dep) => nodes.get(dep)).filter((node) => node !== undefined);
        const { hash, maxOp, startOp, opCount } = change;
        const below = deps.reduce((most, dep) => Math.max(most, dep.maxOp), 0);
        if (startOp <= below || startOp > (opCount === 0 ? below : state.maxOp) + 1) report("ops", where);
        const actor = this.#named(change.actor);
        nodes.set(hash, { hash, actor, maxOp, deps, stored: true, refused: false });
        const principal = bringer(doc, cid);
        if (principal === undefined) report("merged", `${where}: no commit in it brought it`);
        const owner = ownerAmong(
          others.map((other) => other.state),
          change.actor,
        );
        advance(state, change, owner ?? principal ?? commit.author);
      } catch (error) {
        report("change", `${where}: ${isSkaldError(error) ? error.code : (error as Error).message}`);
      }
    });
    if (entry.refused) this.#refused(commit, entry, known, report);
    if (!same(entry.heads, headsOf(state))) report("heads", `${doc} in commit ${commit.seq}`);
  }

  #walkedOn(id: number, doc: string): Walked | undefined {
    return id === 0 ? this.#docs.get(doc) : this.#rows.get(rowOf(id, doc));
  }

  /** The document on all other branches that wrote it. */
  #others(doc: string, known: Walked): readonly Walked[] {
    const rows = this.#rowsOf.get(doc);
    if (!rows) return NONE;
    const main = this.#docs.get(doc);
    return [...(main ? [main] : []), ...rows].filter((other) => other !== known);
  }

  #beginOn(id: number, doc: string): Walked {
    if (id === 0) {
      const begun = this.#begin(doc);
      this.#docs.set(doc, begun);
      return begun;
    }
    const row = rowOf(id, doc);
    const branch = this.#branches.get(id);
    const found = branch && this.#asOf(branch.parent, doc, branch.fork);
    const begun = found ? copyOf(found, row) : this.#begin(doc, row);
    this.#rows.set(row, begun);
    const rows = this.#rowsOf.get(doc);
    if (rows) rows.push(begun);
    else this.#rowsOf.set(doc, [begun]);
    return begun;
  }

  /** A document on a branch after commit `upTo`: not to be changed. What was written since is left out by walking its commits again. */
  #asOf(id: number, doc: string, upTo: number): Walked | undefined {
    const now = this.#walkedOn(id, doc);
    if (now && now.state.last <= upTo) return now;
    const branch = this.#branches.get(id);
    const base =
      id === 0 || !branch ? undefined : this.#asOf(branch.parent, doc, Math.min(upTo, branch.fork));
    if (!now || (now.touches[0] as number) > upTo) return base;
    const then = base ? copyOf(base, now.state.name) : this.#begin(doc, now.state.name);
    for (const seq of now.touches) {
      if (seq > upTo) break;
      const stored = this.#again(seq);
      const entry = stored?.commit.entries.find((candidate) => candidate.doc === doc);
      // What is wrong with it was reported.
      if (!stored || !entry) continue;
      const erases = id === 0 && erasedBy(stored).has(doc);
      this.#apply(then, stored.commit, entry, changesOf(stored, entry), bringerIn(stored), () => {}, erases);
    }
    return then;
  }

  /** A commit that was walked; undefined when it cannot be read any more. */
  #again(seq: number): StoredCommit | undefined {
    const opened = this.#opened?.commits[seq - this.#opened.first];
    if (opened) return opened;
    try {
      const body = this.#storage.read(seq);
      if (!body) return undefined;
      if (!isBundle(body)) return openRecord(body, seq);
      const commits = unpackBundle(this.#uid, body);
      const first = (commits[0] as StoredCommit).commit.seq;
      this.#opened = { first, commits };
      return commits[seq - first];
    } catch {
      return undefined;
    }
  }

  #begin(doc: string, row = doc): Walked {
    const { collection, key } = parseDocName(doc);
    const { hash, actor } = genesisOf(this.#uid, collection, key);
    const genesis: Node = { hash, actor, maxOp: 0, deps: [], stored: false, refused: false };
    return { state: newDocState(row), nodes: new Map([[hash, genesis]]), touches: [] };
  }

  #named(actor: string): string {
    const known = this.#actors.get(actor);
    if (known !== undefined) return known;
    this.#actors.set(actor, actor);
    return actor;
  }

  /** Takes the refused changes out, working out again which tips are left. */
  #refused(
    commit: Commit,
    entry: CommitEntry,
    { state, nodes }: Walked,
    report: (what: LogInvariant, where: string) => void,
  ): void {
    const { doc, changes, refused = [] } = entry;
    const where = `${doc} in commit ${commit.seq}`;
    if (
      (changes.length > 0 && !joins(commit)) ||
      refused.length === 0 ||
      !same(refused, [...new Set(refused)].sort())
    ) {
      report("refused", `${where} does not set changes aside and nothing else`);
    }
    const out = new Map(state.refused);
    for (const hash of refused) {
      const node = nodes.get(hash);
      if (!node || node.refused) report("refused", `${where}: ${hash} was not in the document`);
      else {
        node.refused = true;
        out.set(hash, node.actor);
      }
    }
    const tips = new Map<string, number>();
    for (const { hash, maxOp, stored, refused: gone } of nodes.values()) {
      if (stored && !gone) tips.set(hash, maxOp);
    }
    for (const node of nodes.values()) {
      if (node.refused) continue;
      const broken = node.deps.find((dep) => dep.refused);
      if (broken) report("refused", `${where}: ${node.hash} builds on ${broken.hash}`);
      for (const dep of node.deps) tips.delete(dep.hash);
    }
    state.heads.clear();
    for (const [hash, maxOp] of tips) state.heads.set(hash, maxOp);
    state.refused = out;
    state.refusedAt = commit.seq;
  }
}

/** A document as another branch goes on with it. */
function copyOf({ state, nodes }: Walked, row: string): Walked {
  const copies = new Map<string, Node>();
  for (const [hash, node] of nodes) {
    const deps = node.deps.map((dep) => copies.get(dep.hash) ?? dep);
    copies.set(hash, { ...node, deps });
  }
  return { state: startRow(state, row), nodes: copies, touches: [] };
}

/** A document as the commit leaves it that erased it. */
function end({ state, nodes }: Walked, seq: number): void {
  hollow(state);
  state.erased = seq;
  nodes.clear();
}

/** Whether a document on another branch has this change's number for another change. */
function hasAnother({ state, nodes }: Walked, { actor, seq, hash }: ChangeHeader): boolean {
  return (state.actors.get(actor)?.seq ?? 0) >= seq && !nodes.has(hash);
}

function changesOf({ commit, blocks }: StoredCommit, entry: CommitEntry): readonly Uint8Array[] {
  let at = 0;
  for (const before of commit.entries) {
    if (before === entry) break;
    at += before.changes.length;
  }
  return blocks.slice(at, at + entry.changes.length);
}

const NONE: readonly Walked[] = [];

/** One that says nothing of a merge that cannot be read: that is reported elsewhere. */
function bringerIn(stored: StoredCommit): ReturnType<typeof bringersOf> {
  try {
    return bringersOf(stored);
  } catch {
    return () => undefined;
  }
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}
