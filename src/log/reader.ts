import { SkaldError } from "../errors.ts";
import { CODEC_DAG_CBOR, cidCodec, cidDigest, cidToString } from "../ids/cid.ts";
import { toHex } from "../ids/hash.ts";
import type { Fact } from "../store/contract.ts";
import { nextTurn } from "../world.ts";
import { archive } from "./archive.ts";
import { mergeEventIn } from "./branch-events.ts";
import { pastOf, rowOf } from "./branches.ts";
import { prefixOf } from "./address-map.ts";
import type { Commit, CommitEntry } from "./commit.ts";
import { DocumentReader } from "./document-reader.ts";
import { erasedError } from "./erased.ts";
import { bringersOf, isMerge } from "./merged.ts";
import { readRule, type RetentionRule } from "./retention.ts";
import { readStatement, type StoredStatement } from "./schema-events.ts";
import type { SchemaStatement, SchemaStep } from "./schema-steps.ts";
import { SchemaFold } from "./schema-fold.ts";
import { addressesOf, checkedBlock, headersIn, type StoredCommit } from "./stored-commit.ts";

export type { BranchInfo, Place } from "./commit-reader.ts";
export type { DocPoint, ListedDoc } from "./document-reader.ts";

/** Everything that can be read of a log without Automerge. `Log` adds the one writer. */
export class LogReader extends DocumentReader {
  readonly #fold = new SchemaFold();
  /** Steps of the schema that it has taken. */
  #folded = 0;
  /** Addresses that `locate` found in bundles. */
  readonly #located = new Map<string, number>();

  /**
   * The seq of the commit with this address, or of the first merge that holds it; undefined when there is none. A
   * commit of this line can be in a merge as well, which is then always the later of the two. What is in bundles is
   * found only after `locate` has looked for it.
   */
  findCommit(cid: Uint8Array): number | undefined {
    return this.#located.get(cidToString(cid)) ?? this.#single(cid);
  }

  /**
   * The bytes behind an address: a commit's, a change's or an event's. Bundles as with `findCommit`. Throws DB_DAMAGED,
   * and ERASED when it was the change of a document that is.
   */
  block(cid: Uint8Array): Uint8Array | undefined {
    const located = this.#located.get(cidToString(cid));
    const first = located ?? this.findCommit(cid);
    const seqs = located === undefined ? this.catalog.find(prefixOf(toHex(cidDigest(cid)))) : [located];
    let erased: SkaldError | undefined;
    for (const seq of first === undefined ? [] : [first, ...seqs]) {
      const stored = this.commit(seq);
      if (!stored || !holds(stored, cid)) continue;
      if (Buffer.compare(stored.cid, cid) === 0) return stored.bytes;
      // The same change may be in two documents, of which one is erased.
      for (const at of placesOf(stored.commit, cid)) {
        const doc = docAt(stored.commit, at)?.doc;
        const gone = doc === undefined ? undefined : this.erasedAt(doc);
        if (doc !== undefined && (gone !== undefined || stored.blocks[at]?.length === 0))
          erased ??= erasedError(doc, gone);
        else return checkedBlock(stored, at);
      }
    }
    if (erased) throw erased;
    return undefined;
  }

  /**
   * Looks for an address in the bundles, newest first, when the catalog does not have it or only knows a merge that
   * holds it: about a tenth of a second each, with room for others between them.
   */
  async locate(cid: Uint8Array): Promise<number | undefined> {
    const text = cidToString(cid);
    const known = this.#located.get(text);
    if (known !== undefined) return known;
    let first = this.#single(cid);
    if (first !== undefined && !isWithin(this.commit(first), cid)) return first;
    for (const { last } of this.catalog.bundles().reverse()) {
      const stored = this.records.bundle(last).find((candidate) => holds(candidate, cid));
      if (stored) first = stored.commit.seq;
      if (stored && !isWithin(stored, cid)) break;
      await nextTurn(this.world);
    }
    if (first !== undefined) {
      if (this.#located.size >= LOCATED_MAX) this.#located.clear();
      this.#located.set(text, first);
    }
    return first;
  }

  /** The first of the commits that stand alone to have an address. */
  #single(cid: Uint8Array): number | undefined {
    const seqs = this.catalog.find(prefixOf(toHex(cidDigest(cid))));
    return seqs.sort((a, b) => a - b).find((seq) => holds(this.commit(seq), cid));
  }

  /** The seq of the commit that brought a change of `doc` to a branch or its past, by the change's Automerge hash. */
  seqOfChange(doc: string, hash: string, branch?: string): number | undefined {
    const id = this.branchId(branch);
    const single = this.#singleOfChange(doc, hash, id);
    if (single !== undefined) return single;
    for (const stretch of pastOf(this.catalog.branches, id)) {
      for (const last of this.catalog.bundlesOf(rowOf(stretch.id, doc))) {
        const found = this.records.touching(last, doc).find((seq) => {
          const stored = this.commit(seq) as StoredCommit;
          return this.isInPast(id, stored.commit) && hasChange(stored, doc, hash);
        });
        if (found !== undefined) return found;
      }
    }
    return undefined;
  }

  /** Whether a document has a change, by its Automerge hash, on any branch. */
  hasOnAny(doc: string, hash: string): boolean {
    const here = this.catalog.find(prefixOf(hash)).some((seq) => {
      const stored = this.commit(seq);
      return stored !== undefined && hasChange(stored, doc, hash);
    });
    if (here) return true;
    for (const row of [doc, ...this.catalog.rowsOf(doc)])
      for (const commits of archive(this.records, this.catalog, row))
        if (commits.some((stored) => hasChange(stored, doc, hash))) return true;
    return false;
  }

  /** The same as `seqOfChange` on `main`, among commits that stand alone: no bundle is opened. */
  singleOfChange(doc: string, hash: string): number | undefined {
    return this.#singleOfChange(doc, hash, 0);
  }

  #singleOfChange(doc: string, hash: string, id: number): number | undefined {
    return this.catalog.find(prefixOf(hash)).find((seq) => {
      const stored = this.commit(seq);
      return stored !== undefined && this.isInPast(id, stored.commit) && hasChange(stored, doc, hash);
    });
  }

  /** Who wrote a change of `doc`: the author of the commit that first brought it, on whichever branch. "" when it is not here. */
  authorOfChange(doc: string, hash: string): string {
    const seqs = this.catalog.find(prefixOf(hash)).sort((a, b) => a - b);
    const first = seqs
      .map((seq) => this.commit(seq))
      .find((stored) => stored && hasChange(stored, doc, hash));
    const merged = first && mergeEventIn(first) ? first : undefined;
    if (first && !merged) return bringerOf(first, doc, hash);
    // What a merge brought was written before, in what is a bundle now.
    for (const commits of this.source().bundled(doc)) {
      const found = commits.find((stored) => !mergeEventIn(stored) && hasChange(stored, doc, hash));
      if (found) return bringerOf(found, doc, hash);
    }
    return merged?.commit.author ?? "";
  }

  /** Documents that were erased, by name, with the commits that did it. */
  erasures(): Fact[] {
    const facts = [...this.catalog.facts("erased"), ...this.catalog.facts("erasing")];
    return facts.sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
  }

  /** Documents of which changes were received without their bytes since this was opened, and that no commit erased so far. */
  owed(): string[] {
    return this.catalog.owed();
  }

  /** Those of them of which there may still be changes in the storage. */
  erasing(): Fact[] {
    return this.catalog.erasing();
  }

  /** The rules of retention in force, by collection. */
  retention(): RetentionRule[] {
    return this.catalog
      .facts("retention")
      .map(({ value }) => readRule(value))
      .filter((rule) => rule?.maxAge !== undefined) as RetentionRule[];
  }

  /** The last commit known to have set changes aside: points before it may read otherwise than they did. */
  get lastSetAside(): number {
    return this.catalog.setAside();
  }

  /**
   * The schema statements in force on a branch after commit `seq`, in order: its parent's up to the fork and its own; a
   * merge adds those of the other branch that it lacks. Whether each can be applied is not looked at. Throws
   * BRANCH_NOT_FOUND.
   */
  schemaAt(branch: string | undefined, seq: number): SchemaStatement[] {
    const id = this.branchId(branch);
    return this.#schema().at(this.catalog.branches, id, seq);
  }

  /**
   * The commit that last added a statement to those in force on a branch at `seq`, 0 for none; of a merge that one and
   * not the statement's own. Points of a db, of whichever branches, where this is the same have the same schema.
   */
  schemaSeq(branch: string | undefined, seq: number): number {
    const id = this.branchId(branch);
    return this.#schema().lastAt(this.catalog.branches, id, seq);
  }

  #schema(): SchemaFold {
    const steps = this.catalog.schemaSteps();
    for (; this.#folded < steps.length; this.#folded += 1)
      this.#fold.take(steps[this.#folded] as SchemaStep, this.catalog.branches);
    return this.#fold;
  }

  /** The stored statements of the db, by name. */
  statements(): StoredStatement[] {
    return [...this.catalog.statements().keys()].sort().flatMap((name) => this.statement(name) ?? []);
  }

  statement(name: string): StoredStatement | undefined {
    const fact = this.catalog.statements().get(name);
    return fact && readStatement(fact.value, fact.seq);
  }

  counts(): { documents: number; deleted: number } {
    return this.catalog.counts();
  }
}

/** Whether a commit has this address, or one of its blocks. */
function holds(stored: StoredCommit | undefined, cid: Uint8Array): boolean {
  if (!stored) return false;
  if (Buffer.compare(stored.cid, cid) === 0) return true;
  // Only merges hold commits.
  if (cidCodec(cid) === CODEC_DAG_CBOR && !isMerge(stored.commit)) return false;
  return addressesOf(stored.commit).some((address) => Buffer.compare(address, cid) === 0);
}

/** Whether it is a commit that the one which holds it is the merge of. */
function isWithin(stored: StoredCommit | undefined, cid: Uint8Array): boolean {
  return cidCodec(cid) === CODEC_DAG_CBOR && !!stored && Buffer.compare(stored.cid, cid) !== 0;
}

function placesOf(commit: Commit, cid: Uint8Array): number[] {
  return addressesOf(commit).flatMap((address, at) => (Buffer.compare(address, cid) === 0 ? [at] : []));
}

/** The entry whose change stands at a place among a commit's blocks; undefined for an event. */
function docAt(commit: Commit, place: number): CommitEntry | undefined {
  let at = 0;
  return commit.entries.find(({ changes }) => place < (at += changes.length));
}

function bringerOf(stored: StoredCommit, doc: string, hash: string): string {
  const { author, entries } = stored.commit;
  const entry = entries.find((candidate) => candidate.doc === doc);
  const at = headersIn(stored, doc).findIndex((header) => header.hash === hash);
  const cid = entry?.changes[at];
  return (cid && bringersOf(stored)(doc, cid)) ?? author;
}

function hasChange(stored: StoredCommit, doc: string, hash: string): boolean {
  return headersIn(stored, doc).some((header) => header.hash === hash);
}

const LOCATED_MAX = 1000;
