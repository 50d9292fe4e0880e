import { cidToString } from "../ids/cid.ts";
import { archiveInvalid, type Section, type SectionPlace } from "./car.ts";
import type { Opening } from "./opening.ts";
import { decodeStatePage, PAGE_DOCUMENTS, type StateDocument } from "./state-page.ts";

/** A document of a state, with its `Automerge.save` bytes and the place of their block. */
export interface ReadDocument extends StateDocument {
  readonly bytes: Uint8Array;
  readonly place: SectionPlace;
}

/** Puts the documents of a state together: each page, then the chunks it names, in its order. */
export class StateReader {
  readonly #opening: Opening;
  #pages = 0;
  #page: readonly StateDocument[] = [];
  #at = 0;
  #documents = 0;
  #lastName: Buffer | undefined;

  constructor(opening: Opening) {
    this.#opening = opening;
  }

  /** Takes the next block; gives the document that it completes. Throws ARCHIVE_INVALID. */
  take(section: Section): ReadDocument | undefined {
    const wanted = this.#wanted();
    if (!wanted) throw archiveInvalid(section, "it stands behind the last document");
    if (Buffer.compare(wanted, section.cid) !== 0) {
      const missing = cidToString(wanted);
      throw archiveInvalid(section, `block ${missing} belongs there`, undefined, { missing });
    }
    if (this.#at === this.#page.length) {
      this.#openPage(section);
      return undefined;
    }
    const { index, offset, cid, data } = section;
    const document = this.#page[this.#at++] as StateDocument;
    this.#documents += 1;
    return { ...document, bytes: data, place: { index, offset, cid } };
  }

  /** Throws ARCHIVE_INVALID when blocks are missing. */
  end(place: SectionPlace): void {
    const wanted = this.#wanted();
    if (wanted) {
      const missing = cidToString(wanted);
      throw archiveInvalid(place, `it is not there: the archive ends before block ${missing}`, undefined, {
        missing,
      });
    }
    if (this.#documents !== this.#opening.documents)
      throw archiveInvalid(
        place,
        `it is not there: the archive has ${this.#documents} documents and says ${this.#opening.documents}`,
      );
  }

  #wanted(): Uint8Array | undefined {
    return this.#at < this.#page.length ? this.#page[this.#at]?.chunk : this.#opening.pages[this.#pages];
  }

  #openPage(section: Section): void {
    this.#page = decodeStatePage(section);
    this.#at = 0;
    this.#pages += 1;
    if (this.#pages < this.#opening.pages.length && this.#page.length < PAGE_DOCUMENTS)
      throw archiveInvalid(section, "it is not full, and is not the last page");
    for (const { doc } of this.#page) {
      const name = Buffer.from(doc);
      if (this.#lastName && Buffer.compare(this.#lastName, name) >= 0)
        throw archiveInvalid(section, `${doc} is out of order, or there twice`);
      this.#lastName = name;
    }
  }
}
