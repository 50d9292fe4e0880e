import { cidDigest } from "../ids/cid.ts";
import { toHex } from "../ids/hash.ts";
import type { DbIdentity, LogStorage, SeqRange } from "../store/contract.ts";
import { nextTurn, pause, type World } from "../world.ts";
import type { PackBundle } from "./bundle.ts";
import { prefixOf } from "./address-map.ts";
import type { Catalog } from "./catalog.ts";
import { entriesIn, isStub, withoutChanges } from "./erased.ts";
import type { Records } from "./records.ts";
import { noteBundles } from "./recover.ts";
import { bodyOf, headersIn, openRecord, type StoredCommit } from "./stored-commit.ts";

/** What was taken out of the storage. */
export interface Removed {
  readonly blocks: number;
  readonly bytes: number;
  /** Whether somebody who reads still keeps the file from letting go of it: then it must be called again. */
  readonly whole: boolean;
}

interface RemovalParts {
  readonly identity: DbIdentity;
  readonly storage: LogStorage;
  readonly records: Records;
  readonly catalog: Catalog;
  readonly world: World;
}

/**
 * Takes changes of erased documents out of the records that hold them, the oldest first: bundles, which are made anew
 * without them, then single records, then what is staged of another line. What is to be done is found by looking, so
 * one that broke off anywhere is finished by doing it again.
 */
export class Removal {
  readonly #parts: RemovalParts;

  constructor(parts: RemovalParts) {
    this.#parts = parts;
  }

  async run(docs: readonly string[], pack: PackBundle): Promise<Removed> {
    const { storage, records, catalog, world } = this.#parts;
    noteBundles(storage, records, catalog);
    const wanted = new Set(docs);
    const hashes: (readonly [prefix: number, seq: number])[] = [];
    let blocks = 0;
    let bytes = 0;
    const count = (before: StoredCommit, after: StoredCommit): void => {
      before.blocks.forEach((block, i) => {
        if (block.length === (after.blocks[i] as Uint8Array).length) return;
        blocks += 1;
        bytes += block.length;
      });
    };
    await this.#unstage(wanted);
    for (const range of this.#bundlesWith(docs)) {
      const commits = records.bundle(range.last);
      const left = commits.map((stored) => withoutChanges(stored, wanted) ?? stored);
      if (left.every((stored, i) => stored === commits[i])) continue;
      const body = await pack(this.#parts.identity.uid, left);
      await storage.replace(range.first, range.last, body);
      records.forget();
      left.forEach((stored, i) => count(commits[i] as StoredCommit, stored));
      await nextTurn(world);
    }
    const bundled = catalog.bundledUpTo();
    for (const seq of this.#singlesOf(docs, bundled)) {
      const stored = records.commit(seq);
      const left = stored && withoutChanges(stored, wanted);
      if (!stored || !left) continue;
      hashes.push(...hashesLost(stored, wanted).map((prefix) => [prefix, seq] as const));
      await storage.replace(seq, seq, bodyOf(left));
      count(stored, left);
      await nextTurn(world);
    }
    records.forget();
    if (hashes.length > 0) catalog.settle([], hashes);
    return { blocks, bytes, whole: await this.#tidied() };
  }

  /** What is staged was never acknowledged: whoever sent it sends it again, and what is erased by then stays out. */
  async #unstage(docs: ReadonlySet<string>): Promise<void> {
    const { storage, world } = this.#parts;
    const staged = storage.staged();
    for (let seq = staged?.first ?? 1; seq <= (staged?.last ?? 0);) {
      const page = storage.stagedPage(seq, PAGE);
      if (page.length === 0) return;
      if (page.some((record) => withoutChanges(openRecord(record.body, record.seq), docs)))
        return storage.unstage();
      seq += page.length;
      await nextTurn(world);
    }
  }

  #bundlesWith(docs: readonly string[]): SeqRange[] {
    const { catalog } = this.#parts;
    const lasts = new Set(this.#rowsOf(docs).flatMap((row) => catalog.bundlesOf(row)));
    return catalog.bundles().filter(({ last }) => lasts.has(last));
  }

  /** What the documents are on all branches. */
  #rowsOf(docs: readonly string[]): string[] {
    return docs.flatMap((doc) => [doc, ...this.#parts.catalog.rowsOf(doc)]);
  }

  #singlesOf(docs: readonly string[], bundled: number): number[] {
    const { catalog } = this.#parts;
    const seqs = this.#rowsOf(docs).flatMap((row) => catalog.touchesAfter(row, bundled, catalog.head()));
    return [...new Set(seqs)].sort((a, b) => a - b);
  }

  /** A reader holds an old state of the file for the time of one page. */
  async #tidied(): Promise<boolean> {
    const { storage, world } = this.#parts;
    for (let tries = 1; ; tries += 1) {
      if (storage.tidy()) return true;
      if (tries === TRIES) return false;
      await pause(world, WAIT_MS);
    }
  }
}

/** First bits of the hashes of changes that go, unless the commit has the same change in another document too. */
function hashesLost(stored: StoredCommit, docs: ReadonlySet<string>): number[] {
  const lost = new Set<number>();
  const kept = new Set<number>();
  for (const { entry, from, to } of entriesIn(stored.commit)) {
    if (stored.blocks.slice(from, to).every(isStub)) continue;
    const into = docs.has(entry.doc) ? lost : kept;
    for (const { hash } of headersIn(stored, entry.doc)) into.add(prefixOf(hash));
    for (const cid of entry.changes) kept.add(prefixOf(toHex(cidDigest(cid))));
  }
  return [...lost].filter((prefix) => !kept.has(prefix));
}

/** Records that are looked at between two turns. */
const PAGE = 64;
const TRIES = 50;
const WAIT_MS = 20;
