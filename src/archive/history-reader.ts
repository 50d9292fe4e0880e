import { isSkaldError } from "../errors.ts";
import { CODEC_DAG_CBOR, cidCodec, cidToString } from "../ids/cid.ts";
import { toHex } from "../ids/hash.ts";
import { decodeCommit, type Commit } from "../log/commit.ts";
import { addressesOf, type StoredCommit } from "../log/stored-commit.ts";
import { archiveInvalid, type Section, type SectionPlace } from "./car.ts";
import { decodeRunNote, RUN_COMMITS, RUN_FULL, type RunNote } from "./run-note.ts";
import type { Opening } from "./opening.ts";

/** A commit of a history, with the place of its own block. */
export interface ReadCommit {
  readonly stored: StoredCommit;
  readonly place: SectionPlace;
}

const ERASED = new Uint8Array(0);

interface Begun {
  readonly section: Section;
  readonly commit: Commit;
  readonly addresses: readonly Uint8Array[];
  readonly blocks: Uint8Array[];
}

/**
 * Puts the commits of a history together again, block by block. A history has one order: note, then its commits, each
 * with those of its blocks behind it that did not stand in the run before. So each block is either the one that comes
 * next or wrong, and the first that is wrong has a name. Holds one run.
 */
export class HistoryReader {
  readonly #opening: Opening;
  #note: RunNote | undefined;
  #noteAt: SectionPlace | undefined;
  /** Blocks of the run so far, by digest in hex. */
  readonly #known = new Map<string, Uint8Array>();
  #erased = new Set<number>();
  /** Blocks that the run's commits have named so far, erased ones and repeated ones as well. */
  #named = 0;
  #bytes = 0;
  #inRun = 0;
  #seq = 0;
  #last: Uint8Array | undefined;
  #begun: Begun | undefined;

  constructor(opening: Opening) {
    this.#opening = opening;
  }

  /** Commits read so far. */
  get seq(): number {
    return this.#seq;
  }

  /** Takes the next block; gives the commit that it completes. Throws ARCHIVE_INVALID. */
  take(section: Section): ReadCommit | undefined {
    if (this.#begun) return this.#block(this.#begun, section);
    if (this.#seq === this.#opening.seq) throw archiveInvalid(section, "it stands behind the last commit");
    if (!this.#note || this.#inRun === this.#note.count) {
      this.#openRun(section);
      return undefined;
    }
    return this.#commit(section);
  }

  /** Throws ARCHIVE_INVALID when blocks are missing. `place` is where the archive ended. */
  end(place: SectionPlace): void {
    if (this.#begun) throw this.#missing(this.#begun, place);
    const { seq } = this.#opening;
    if (this.#seq < seq)
      throw archiveInvalid(place, `it is not there: the archive ends after commit ${this.#seq} of ${seq}`);
  }

  #openRun(section: Section): void {
    this.#endRun();
    if (cidCodec(section.cid) !== CODEC_DAG_CBOR)
      throw archiveInvalid(section, "a note of commits belongs there");
    const note = decodeRunNote(section);
    if (note.first !== this.#seq + 1 || note.first + note.count - 1 > this.#opening.seq)
      throw archiveInvalid(section, `it is of commits ${note.first} to ${note.first + note.count - 1}`);
    this.#note = note;
    this.#noteAt = section;
    this.#erased = new Set(note.erased);
    this.#known.clear();
    this.#named = 0;
    this.#bytes = 0;
    this.#inRun = 0;
  }

  /** A run ends with the commit that makes it full, or with the last one, and its note speaks of nothing else. */
  #endRun(): void {
    if (!this.#note) return;
    if (this.#seq < this.#opening.seq && this.#inRun < RUN_COMMITS && this.#bytes < RUN_FULL)
      throw archiveInvalid(this.#noteAt, "its run ends too early");
    if ((this.#note.erased.at(-1) ?? -1) >= this.#named)
      throw archiveInvalid(this.#noteAt, "it says that blocks are erased which no commit names");
  }

  #commit(section: Section): ReadCommit | undefined {
    const seq = this.#seq + 1;
    if (this.#bytes >= RUN_FULL) throw archiveInvalid(section, "its run was full before");
    if (cidCodec(section.cid) !== CODEC_DAG_CBOR)
      throw archiveInvalid(section, `commit ${seq} belongs there`);
    let commit: Commit;
    try {
      commit = decodeCommit(section.data);
    } catch (cause) {
      if (!isSkaldError(cause)) throw cause;
      throw archiveInvalid(section, `commit ${seq} belongs there`, cause);
    }
    if (commit.seq !== seq) throw archiveInvalid(section, `it is commit ${commit.seq} where ${seq} belongs`);
    if (Buffer.compare(commit.db, this.#opening.db) !== 0)
      throw archiveInvalid(section, "it is of another db");
    const [parent] = commit.parents;
    const before = commit.line ?? parent;
    if (before && this.#last ? Buffer.compare(before, this.#last) !== 0 : before !== this.#last)
      throw archiveInvalid(section, "it does not name the commit before it");
    if (seq === this.#opening.seq && Buffer.compare(section.cid, this.#opening.commit ?? ERASED) !== 0)
      throw archiveInvalid(section, "it is not the commit that the archive is said to end with");
    this.#bytes += section.data.length;
    // A merge may hold a commit of the line as well.
    this.#known.set(keyOf(section.cid), section.data);
    this.#begun = { section, commit, addresses: addressesOf(commit), blocks: [] };
    return this.#fill(this.#begun);
  }

  #block(begun: Begun, section: Section): ReadCommit | undefined {
    const wanted = begun.addresses[begun.blocks.length] as Uint8Array;
    if (Buffer.compare(wanted, section.cid) !== 0)
      throw archiveInvalid(
        section,
        `block ${cidToString(wanted)} of commit ${begun.commit.seq} belongs there`,
        undefined,
        { missing: cidToString(wanted), seq: begun.commit.seq },
      );
    // A section is a view of what came in; a run is held for longer.
    this.#known.set(keyOf(section.cid), section.data);
    this.#add(begun, section.data);
    return this.#fill(begun);
  }

  #add({ blocks }: Begun, block: Uint8Array): void {
    blocks.push(block);
    this.#named += 1;
    this.#bytes += block.length;
  }

  /** Adds the blocks that do not come by themselves; gives the commit when it is whole. */
  #fill(begun: Begun): ReadCommit | undefined {
    const { section, commit, addresses, blocks } = begun;
    while (blocks.length < addresses.length) {
      const known = this.#erased.has(this.#named)
        ? ERASED
        : this.#known.get(keyOf(addresses[blocks.length] as Uint8Array));
      if (!known) return undefined;
      this.#add(begun, known);
    }
    const clientTxId = this.#note?.txs[this.#inRun] ?? "";
    this.#begun = undefined;
    this.#seq = commit.seq;
    this.#last = section.cid;
    this.#inRun += 1;
    if (this.#seq === this.#opening.seq) {
      if (this.#note && this.#inRun < this.#note.count)
        throw archiveInvalid(this.#noteAt, "it is of commits behind the last one");
      this.#endRun();
    }
    const { index, offset, cid } = section;
    return {
      stored: { cid, bytes: section.data, commit, blocks, clientTxId },
      place: { index, offset, cid },
    };
  }

  #missing({ addresses, blocks, commit }: Begun, place: SectionPlace): Error {
    const wanted = cidToString(addresses[blocks.length] as Uint8Array);
    return archiveInvalid(
      place,
      `it is not there: the archive ends before block ${wanted} of commit ${commit.seq}`,
      undefined,
      { missing: wanted, seq: commit.seq },
    );
  }
}

const keyOf = (cid: Uint8Array): string => toHex(cid);
