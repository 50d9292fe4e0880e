import { SkaldError } from "../errors.ts";
import { CODEC_DAG_CBOR, cidFromDigest } from "../ids/cid.ts";
import type { LogStorage, PackedRecords, SeqRange, StoredRecord } from "../store/contract.ts";
import { bundleTimes, isBundle, unpackBundle } from "./bundle.ts";
import { rawOf, rawRecord, type RawCommit } from "./commit-scan.ts";
import { OpenedBundle, type OpenedBundles } from "./opened-bundles.ts";
import { bodyOf, openRecord, type StoredCommit } from "./stored-commit.ts";

/**
 * Commits by their seq, whether they stand alone in the storage or in a bundle. The two bundles read
 * last stay expanded: whoever reads one commit of a bundle mostly goes on to its neighbours. With
 * `opened`, many more stay within reach in little memory, for those who read here and there.
 */
export class Records {
  readonly #storage: LogStorage;
  /** Expanded bundles by their last seq, least recently used first. */
  readonly #expanded = new Map<number, Run>();
  readonly #opened: OpenedBundles | undefined;
  /** Commits of many documents that were read last: whoever reads one document of them goes on to the next. */
  readonly #large = new Map<number, { readonly stored: StoredCommit; readonly size: number }>();
  #largeBytes = 0;
  /** Bundles that may be in `opened`. */
  readonly #ranges = new Map<number, SeqRange>();

  constructor(storage: LogStorage, opened?: OpenedBundles) {
    this.#storage = storage;
    this.#opened = opened;
  }

  /** Throws DB_DAMAGED, as does every other call. */
  commit(seq: number): StoredCommit | undefined {
    const expanded = this.#expandedAt(seq);
    if (expanded) return expanded.commits[seq - expanded.first];
    const opened = this.#openedAt(seq);
    if (opened) return opened.commit(seq);
    const kept = this.#large.get(seq);
    if (kept) return kept.stored;
    const body = this.#storage.read(seq);
    if (!body) {
      if (seq >= 1 && seq <= this.#storage.last()) throw missing(seq);
      return undefined;
    }
    if (!isBundle(body)) return this.#keep(openRecord(body, seq), body.length);
    const run = this.#expand(body);
    const stored = run.commits[seq - run.first];
    if (!stored) throw missing(seq);
    return stored;
  }

  /** Commits from `from` on, oldest first, at most `limit`; fewer at the end of a bundle. */
  page(from: number, limit: number): StoredCommit[] {
    const expanded = this.#expandedAt(from);
    if (expanded) return expanded.commits.slice(from - expanded.first, from - expanded.first + limit);
    const found: StoredCommit[] = [];
    const records = this.#storage.page(from, limit);
    if (records.length === 0 && from >= 1 && from <= this.#storage.last()) throw missing(from);
    for (const { seq, body } of records) {
      if (!isBundle(body)) {
        if (seq !== Math.max(1, from) + found.length) throw missing(Math.max(1, from) + found.length);
        found.push(openRecord(body, seq));
        continue;
      }
      // A bundle alone is more than a page: give what is asked of the first and stop there.
      if (found.length === 0) {
        const { first, last, commits } = this.#expanded.get(seq) ?? this.#expand(body);
        if (first > Math.max(1, from) || last !== seq) throw missing(Math.max(1, from));
        const start = Math.max(0, from - first);
        return commits.slice(start, start + limit);
      }
      break;
    }
    return found;
  }

  /** The same as `page`, with nothing of single commits decoded; fewer when they are large. */
  raw(from: number, limit: number): RawCommit[] {
    const expanded = this.#expandedAt(from);
    if (expanded)
      return expanded.commits.slice(from - expanded.first, from - expanded.first + limit).map(rawOf);
    const packed = this.#storage.packed?.(from, limit, RAW_BYTES);
    const found: RawCommit[] = [];
    let at = 0;
    for (const end of packed?.ends ?? []) {
      const { bytes } = packed as PackedRecords;
      if (isBundle(bytes.subarray(at, at + 1))) break;
      found.push(rawRecord(bytes, at, end, from + found.length));
      at = end;
    }
    if (found.length > 0) return found;
    // One that is large, or in a bundle, or damaged. A page of bundles would be many megabytes.
    const stored = this.commit(from);
    if (!stored) return [];
    return this.#expandedAt(from) ? this.raw(from, limit) : [rawOf(stored)];
  }

  /** Where commit `seq` is; for one in a bundle that is not its last, the bundle's end unless `exactly` asks to look inside. */
  place(seq: number, exactly: boolean): { seq: number; cid: Uint8Array } | undefined {
    const body = this.#expandedAt(seq) ? undefined : this.#storage.read(seq);
    if (!exactly && body && isBundle(body)) {
      const [last] = this.#storage.page(seq, 1);
      // It vouches for its last commit in its head.
      if (last) return { seq: last.seq, cid: cidFromDigest(CODEC_DAG_CBOR, body.slice(1, 33)) };
    }
    const stored = this.commit(seq);
    return stored && { seq, cid: stored.cid };
  }

  /** Records from `from` on as they are kept, at most `limit` and about `bytes` of them, those of bundles made single again. */
  bodies(from: number, limit: number, bytes: number): StoredRecord[] {
    const found: StoredRecord[] = [];
    let size = 0;
    while (found.length < limit && size < bytes) {
      const next = from + found.length;
      const page = this.#storage.page(next, Math.min(BODIES_PAGE, limit - found.length));
      const [first] = page;
      if (!first) break;
      const rows = isBundle(first.body)
        ? this.page(next, limit - found.length).map((stored) => ({
            seq: stored.commit.seq,
            body: bodyOf(stored),
          }))
        : page;
      for (const row of rows) {
        if (isBundle(row.body) || found.length === limit || size >= bytes) break;
        if (row.seq !== from + found.length) throw missing(from + found.length);
        found.push(row);
        size += row.body.length;
      }
    }
    return found;
  }

  /** Commits `from` to `to`, without keeping expanded what is only passed through; at most RANGE_BYTES of them. */
  range(from: number, to: number): StoredCommit[] {
    const found: StoredCommit[] = [];
    let bytes = 0;
    while (from + found.length <= to && bytes < RANGE_BYTES) {
      const next = from + found.length;
      const page = this.page(next, Math.min(PAGE, to - next + 1));
      if (page.length === 0) break;
      // Never ends inside of a bundle: records are replaced whole.
      const whole = this.#expandedAt(next);
      if (whole && to >= whole.last) page.splice(0, page.length, ...whole.commits.slice(next - whole.first));
      for (const stored of page) {
        found.push(stored);
        bytes += stored.bytes.length + stored.blocks.reduce((sum, block) => sum + block.length, 0);
      }
    }
    return found;
  }

  /**
   * The storage's ranges that are bundles, oldest first, from the one after `after` on. A single record whose row says otherwise is damaged,
   * and is no reason to look for others in it.
   */
  bundles(after = 0): SeqRange[] {
    return this.#storage.ranges().filter(({ last }) => {
      const body = last > after ? this.#storage.read(last) : undefined;
      return body !== undefined && isBundle(body);
    });
  }

  #keep(stored: StoredCommit, size: number): StoredCommit {
    if (stored.commit.entries.length < LARGE_ENTRIES || size > LARGE_BYTES) return stored;
    this.#large.set(stored.commit.seq, { stored, size });
    this.#largeBytes += size;
    for (const [oldest, { size: least }] of this.#large) {
      if (this.#largeBytes <= LARGE_BYTES) break;
      this.#large.delete(oldest);
      this.#largeBytes -= least;
    }
    return stored;
  }

  /** Drops what is expanded: ranges have changed, or what is in them. */
  forget(): void {
    this.#large.clear();
    this.#largeBytes = 0;
    this.#expanded.clear();
    this.#opened?.forget(this);
    this.#ranges.clear();
  }

  /**
   * Seqs of the commits with an entry of `doc`, of whichever branch, in the bundle that ends at `last`, oldest first.
   */
  touching(last: number, doc: string): readonly number[] {
    const opened = this.#openedAt(last);
    if (opened) {
      const seqs = opened.touching(doc);
      // It may have been made anew with more since.
      return opened.last === last ? seqs : seqs.filter((seq) => seq <= last);
    }
    return this.bundle(last).flatMap(({ commit }) =>
      commit.entries.some((entry) => entry.doc === doc) ? [commit.seq] : [],
    );
  }

  /** The last commit at or before `time` among those of the bundle that ends at `last`, 0 for none. Opens little of it. */
  lastBefore(last: number, time: number): number {
    const body = this.#storage.read(last);
    if (!body) throw missing(last);
    const { first, times } = isBundle(body)
      ? bundleTimes(body)
      : { first: last, times: [openRecord(body, last).commit.time] };
    const after = times.findIndex((at) => at > time);
    const seq = first + (after < 0 ? times.length : after) - 1;
    return seq < first ? 0 : Math.min(seq, last);
  }

  #openedAt(seq: number): OpenedBundle | undefined {
    for (const { first, last } of this.#ranges.values()) {
      if (seq < first || seq > last) continue;
      const bundle = this.#opened?.get(this, last);
      if (!bundle) this.#ranges.delete(last);
      return bundle;
    }
    return undefined;
  }

  /** The commits of the bundle that ends at `last`, or that ended there before it was made anew with more. */
  bundle(last: number): readonly StoredCommit[] {
    const known = this.#expanded.get(last);
    if (known) {
      this.#expanded.delete(last);
      this.#expanded.set(last, known);
      return known.commits;
    }
    const body = this.#storage.read(last);
    if (!body) throw missing(last);
    if (!isBundle(body)) return [openRecord(body, last)];
    const { commits } = this.#expand(body);
    const more = (commits.at(-1)?.commit.seq ?? last) - last;
    return more > 0 ? commits.slice(0, -more) : commits;
  }

  #expandedAt(seq: number): Run | undefined {
    for (const run of this.#expanded.values()) if (seq >= run.first && seq <= run.last) return run;
    return undefined;
  }

  #expand(body: Uint8Array): Run {
    const commits = unpackBundle(this.#storage.identity.uid, body);
    const { seq: first } = (commits[0] as StoredCommit).commit;
    const run = { first, last: first + commits.length - 1, commits };
    this.#expanded.delete(run.last);
    this.#expanded.set(run.last, run);
    if (this.#opened && !this.#opened.get(this, run.last)) {
      this.#opened.put(this, new OpenedBundle(commits));
      this.#ranges.set(run.last, { first, last: run.last });
    }
    for (const oldest of this.#expanded.keys()) {
      if (this.#expanded.size <= EXPANDED_MAX) break;
      this.#expanded.delete(oldest);
    }
    return run;
  }
}

/** The commits of a bundle; there is at least one, and none is left out. */
interface Run {
  readonly first: number;
  readonly last: number;
  readonly commits: readonly StoredCommit[];
}

function missing(seq: number): SkaldError {
  return new SkaldError("DB_DAMAGED", `Commit ${seq} is missing.`, { details: { seq } });
}

const EXPANDED_MAX = 2;
const PAGE = 512;
/** Bytes that are read as one run. */
const RAW_BYTES = 512 * 1024;

/** A record may be large: read at once for others. */
const BODIES_PAGE = 256;
/** Bytes of commits and changes in one bundle, roughly: expanding it needs a few times as much memory. */
const RANGE_BYTES = 8 * 1024 * 1024;

/** Documents from which on a commit is kept for a while, and bytes of all that are. */
const LARGE_ENTRIES = 64;
const LARGE_BYTES = 4 * 1024 * 1024;
