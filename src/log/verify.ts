import { isSkaldError } from "../errors.ts";
import { CODEC_RAW, cidFromDigest, cidOf, cidToString, CODEC_DAG_CBOR } from "../ids/cid.ts";
import { blake3 } from "../ids/hash.ts";
import { parseDocName } from "../ids/names.ts";
import type { LogStorage } from "../store/contract.ts";
import { isBundle, unpackBundle } from "./bundle.ts";
import { readChange } from "./change.ts";
import { decodeCommit, type Commit, type CommitEntry } from "./commit.ts";
import { advance, headsOf, newDocState, type DocState } from "./doc-state.ts";
import { genesisOf } from "./genesis.ts";
import { decodeRecord } from "./record.ts";

/** One thing that is wrong, and the first place where it shows. */
export interface Finding {
  /** A stable name of the invariant that does not hold. */
  readonly what: FindingKind;
  /** Where, for a person: the seq, the address, the document. */
  readonly where: string;
}

export const FINDINGS = {
  record: "a record's bytes are not what was written",
  address: "bytes do not hash to their address",
  chain: "a commit does not follow the one before it",
  seq: "seqs have a gap",
  identity: "a commit belongs to another db",
  blocks: "a record does not hold exactly the blocks its commit names",
  change: "a change is malformed",
  deps: "a change builds on one that is not there",
  actor: "an actor's changes do not count 1, 2, 3, or two share a number",
  ops: "a change's operations do not count on from those it builds on",
  time: "a commit is older than the one before it",
  base: "an entry does not start from the document's heads",
  heads: "an entry's heads are not the tips of the change graph",
  refused: "a change set aside was not in the document, or something that builds on it was left",
  engine: "the storage engine finds its own structure broken",
} as const;
export type FindingKind = keyof typeof FINDINGS;

export interface VerifyProgress {
  readonly checked: number;
  readonly of: number;
}

export interface Verdict extends VerifyProgress {
  /** Empty for a sound log. Ends with the first damaged commit of each kind, at most FINDINGS_MAX. */
  readonly findings: readonly Finding[];
  /** Address of the head commit, vouching for everything before it. */
  readonly head: Uint8Array | undefined;
}

const FINDINGS_MAX = 100;
const PAGE = 200;

/**
 * Checks a log from its first byte, trusting nothing derived: every record, address, link, dependency
 * and head is worked out again. Yields progress between pages; ends with the verdict. Memory follows
 * the number of changes, some 300 bytes each, not their sizes.
 */
export function* verifyLog(storage: LogStorage): Generator<VerifyProgress, Verdict> {
  const findings: Finding[] = [];
  const walk = new Walk(storage, (what, where) => {
    if (findings.length < FINDINGS_MAX) findings.push({ what, where });
  });
  const of = storage.last();
  for (const problem of storage.inspect()) findings.push({ what: "engine", where: problem });
  let from = 1;
  while (from <= of) {
    let page;
    try {
      page = storage.page(from, PAGE);
    } catch (error) {
      findings.push({ what: "engine", where: `reading from seq ${from}: ${(error as Error).message}` });
      break;
    }
    if (page.length === 0) {
      findings.push({ what: "seq", where: `nothing from seq ${from} on, where there should be ${of}` });
      break;
    }
    for (const { seq, body } of page) {
      if (isBundle(body)) walk.bundle(seq, body);
      else walk.record(seq, body);
    }
    from = (page.at(-1)?.seq ?? from) + 1;
    yield { checked: from - 1, of };
  }
  return { checked: from - 1, of, findings, head: walk.head };
}

/** A change as far as the graph goes: its deps are nodes too, so that a hash is kept once. */
interface Node {
  readonly hash: string;
  readonly maxOp: number;
  readonly deps: readonly Node[];
  /** False for a genesis that only others name. */
  readonly stored: boolean;
  refused: boolean;
}

interface WalkedDoc {
  readonly state: DocState;
  readonly nodes: Map<string, Node>;
}

class Walk {
  head: Uint8Array | undefined;
  readonly #uid: Uint8Array;
  readonly #report: (what: FindingKind, where: string) => void;
  readonly #docs = new Map<string, WalkedDoc>();
  #expected = 1;
  #time = 0;

  constructor(storage: LogStorage, report: (what: FindingKind, where: string) => void) {
    this.#uid = storage.identity.uid;
    this.#report = report;
  }

  /** A run of commits as one body: expanding it works every address and link of it out again. */
  bundle(last: number, body: Uint8Array): void {
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
    for (const { commit, cid, blocks } of commits) {
      const { seq } = commit;
      if (seq !== this.#expected)
        this.#report("seq", `commit ${this.#expected} is missing; the next one is ${seq}`);
      this.#expected = seq + 1;
      this.#follows(commit, cid, seq, parent);
      this.#blocks(commit, blocks);
      parent = cid;
    }
    this.head = parent;
    if (this.#expected !== last + 1) {
      this.#report("seq", `the bundle up to ${last} ends at ${this.#expected - 1}`);
      this.#expected = last + 1;
    }
  }

  record(seq: number, body: Uint8Array): void {
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
    this.#follows(commit, cid, seq, previous);
    this.#blocks(commit, record.blocks);
  }

  #follows(commit: Commit, cid: Uint8Array, seq: number, previous: Uint8Array | undefined): void {
    const name = `commit ${seq} (${cidToString(cid)})`;
    if (commit.seq !== seq) this.#report("chain", `${name} says it is ${commit.seq}`);
    if (commit.time < this.#time) this.#report("time", name);
    this.#time = Math.max(this.#time, commit.time);
    if (Buffer.compare(commit.db, this.#uid) !== 0) this.#report("identity", name);
    const [parent] = commit.parents;
    if (seq === 1) {
      if (parent) this.#report("chain", `${name} is the first and has a parent`);
    } else if (previous && (!parent || Buffer.compare(parent, previous) !== 0)) {
      this.#report("chain", `${name} does not name ${cidToString(previous)} as its parent`);
    }
  }

  #blocks(commit: Commit, blocks: readonly Uint8Array[]): void {
    const named = commit.entries.reduce((sum, entry) => sum + entry.changes.length, 0) + commit.events.length;
    if (named !== blocks.length) {
      this.#report("blocks", `commit ${commit.seq} names ${named} blocks and holds ${blocks.length}`);
    }
    let at = 0;
    for (const entry of commit.entries) {
      try {
        this.#entry(commit, entry, blocks.slice(at, at + entry.changes.length));
      } catch (error) {
        this.#report("record", `commit ${commit.seq}: ${(error as Error).message}`);
      }
      at += entry.changes.length;
    }
    for (const event of commit.events) this.#address(commit.seq, event, blocks[at++]);
  }

  #address(seq: number, cid: Uint8Array, block: Uint8Array | undefined): boolean {
    if (block && Buffer.compare(cidOf(CODEC_RAW, block), cid) === 0) return true;
    this.#report("address", `block ${cidToString(cid)} of commit ${seq}`);
    return false;
  }

  #entry(commit: Commit, entry: CommitEntry, blocks: readonly Uint8Array[]): void {
    const { doc } = entry;
    let known = this.#docs.get(doc);
    if (!known) {
      const genesis: Node = { hash: this.#genesis(doc), maxOp: 0, deps: [], stored: false, refused: false };
      known = { state: newDocState(doc), nodes: new Map([[genesis.hash, genesis]]) };
      this.#docs.set(doc, known);
    }
    const { state, nodes } = known;
    if (!same(entry.base, headsOf(state))) this.#report("base", `${doc} in commit ${commit.seq}`);
    entry.changes.forEach((cid, i) => {
      const block = blocks[i];
      if (!block || !this.#address(commit.seq, cid, block)) return;
      const where = `change ${cidToString(cid)} of ${doc} in commit ${commit.seq}`;
      try {
        const change = readChange(block);
        const missing = change.deps.filter((dep) => nodes.get(dep)?.refused !== false);
        if (missing.length > 0) this.#report("deps", `${where} lacks ${missing.join(", ")}`);
        if (change.seq !== (state.actors.get(change.actor)?.seq ?? 0) + 1) this.#report("actor", where);
        const deps = change.deps.map((dep) => nodes.get(dep)).filter((node) => node !== undefined);
        const { hash, maxOp, startOp, opCount } = change;
        const below = deps.reduce((most, dep) => Math.max(most, dep.maxOp), 0);
        if (startOp <= below || startOp > (opCount === 0 ? below : state.maxOp) + 1)
          this.#report("ops", where);
        nodes.set(hash, { hash, maxOp, deps, stored: true, refused: false });
        advance(state, change, commit.author);
      } catch (error) {
        this.#report("change", `${where}: ${isSkaldError(error) ? error.code : (error as Error).message}`);
      }
    });
    if (entry.refused) this.#refused(commit, entry, known);
    if (!same(entry.heads, headsOf(state))) this.#report("heads", `${doc} in commit ${commit.seq}`);
  }

  /** Takes the refused changes out, working out again which tips are left. */
  #refused(commit: Commit, entry: CommitEntry, { state, nodes }: WalkedDoc): void {
    const { doc, changes, refused = [] } = entry;
    const where = `${doc} in commit ${commit.seq}`;
    if (changes.length > 0 || refused.length === 0 || !same(refused, [...new Set(refused)].sort())) {
      this.#report("refused", `${where} does not set changes aside and nothing else`);
    }
    for (const hash of refused) {
      const node = nodes.get(hash);
      if (!node || node.refused) this.#report("refused", `${where}: ${hash} was not in the document`);
      else node.refused = true;
    }
    const tips = new Map<string, number>();
    for (const { hash, maxOp, stored, refused: out } of nodes.values()) {
      if (stored && !out) tips.set(hash, maxOp);
    }
    for (const node of nodes.values()) {
      if (node.refused) continue;
      const broken = node.deps.find((dep) => dep.refused);
      if (broken) this.#report("refused", `${where}: ${node.hash} builds on ${broken.hash}`);
      for (const dep of node.deps) tips.delete(dep.hash);
    }
    state.heads.clear();
    for (const [hash, maxOp] of tips) state.heads.set(hash, maxOp);
  }

  #genesis(doc: string): string {
    const { collection, key } = parseDocName(doc);
    return genesisOf(this.#uid, collection, key).hash;
  }
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}
