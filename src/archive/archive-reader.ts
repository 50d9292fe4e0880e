import { archiveInvalid, CarReader, type Section, type SectionPlace } from "./car.ts";
import { historyRoot } from "./history-export.ts";
import { HistoryReader, type ReadCommit } from "./history-reader.ts";
import { decodeOpening, type Opening } from "./opening.ts";
import { StateReader, type ReadDocument } from "./state-reader.ts";

/**
 * Takes an archive apart as it comes: what it says it holds, then its commits or its documents, each compared with its
 * address and standing where it belongs. Memory: a run of commits or one document, and what was pushed.
 */
export class ArchiveReader {
  readonly #car = new CarReader();
  #opening: Opening | undefined;
  #history: HistoryReader | undefined;
  #state: StateReader | undefined;
  #blocks = 0;

  /** Undefined until it was read. */
  get opening(): Opening | undefined {
    return this.#opening;
  }

  get root(): Uint8Array | undefined {
    return this.#car.root;
  }

  /** Blocks read so far. */
  get blocks(): number {
    return this.#blocks;
  }

  /** Bytes of whole blocks so far. */
  get bytes(): number {
    return this.#car.offset;
  }

  /** Gives what the next bytes complete. Throws ARCHIVE_INVALID. */
  *push(part: Uint8Array): Generator<ReadCommit | ReadDocument> {
    for (const section of this.#car.push(part)) {
      this.#blocks += 1;
      if (!this.#opening) this.#open(section);
      else {
        const read = this.#history?.take(section) ?? this.#state?.take(section);
        if (read) yield read;
      }
    }
  }

  /** The archive has ended. Throws ARCHIVE_INVALID unless all of it came. */
  end(): void {
    this.#car.end();
    const place: SectionPlace = { index: this.#blocks, offset: this.#car.offset };
    if (!this.#opening) throw archiveInvalid(place, "it is not there: the archive ends after its header");
    this.#history?.end(place);
    this.#state?.end(place);
  }

  #open(section: Section): void {
    const opening = decodeOpening(section);
    const { kind, db, seq, commit } = opening;
    const root = kind === "state" ? section.cid : historyRoot(db, { seq, commit });
    if (Buffer.compare(root, this.#car.root as Uint8Array) !== 0)
      throw archiveInvalid(section, "the archive's root is another block");
    this.#opening = opening;
    if (kind === "state") this.#state = new StateReader(opening);
    else this.#history = new HistoryReader(opening);
  }
}
