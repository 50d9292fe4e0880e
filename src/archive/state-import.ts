import type { Engine } from "../db/engine.ts";
import { isSkaldError } from "../errors.ts";
import { parseDocName } from "../ids/names.ts";
import { LIMITS } from "../limits.ts";
import type { ChangeHeader } from "../log/change.ts";
import { genesisOf } from "../log/genesis.ts";
import type { Log } from "../log/log.ts";
import { readReceived } from "../log/received.ts";
import { guardSavedDocument } from "../log/saved-document.ts";
import { archiveInvalid } from "./car.ts";
import type { ReadDocument } from "./state-reader.ts";

/** Documents of one commit, and bytes of their changes after which it is written. */
const BATCH_DOCUMENTS = 256;
const BATCH_CHANGES = 4 * 1024 * 1024;

/** Writes the documents of a state to a new db's log, some in each commit. */
export class StateWriter {
  readonly #log: Log;
  readonly #documents: Engine["documents"];
  readonly #author: string;
  readonly #message: string;
  #batch: { readonly read: ReadDocument; readonly changes: readonly ChangeHeader[] }[] = [];
  #size = 0;
  #done = 0;

  constructor(log: Log, documents: Engine["documents"], author: string, message: string) {
    this.#log = log;
    this.#documents = documents;
    this.#author = author;
    this.#message = message;
  }

  /** Takes a document in, and gives how many were. Throws ARCHIVE_INVALID, and what failing disks and workers throw. */
  async add(read: ReadDocument): Promise<number> {
    const changes = await this.#changesOf(read);
    this.#batch.push({ read, changes });
    for (const { bytes } of changes) this.#size += bytes.length;
    if (this.#batch.length >= BATCH_DOCUMENTS || this.#size >= BATCH_CHANGES) await this.#write();
    return (this.#done += 1);
  }

  /** Writes what is left. */
  async end(): Promise<number> {
    if (this.#batch.length > 0) await this.#write();
    return this.#done;
  }

  /** The same way that an Automerge file takes which somebody imports. */
  async #changesOf(read: ReadDocument): Promise<ChangeHeader[]> {
    const { doc, bytes, heads, place } = read;
    try {
      guardSavedDocument(bytes);
      const split = await this.#documents.split({ bytes, deadlineMs: LIMITS.document.longJobMs.value });
      if (split.heads.toSorted().join() !== heads.join())
        throw archiveInvalid(place, `its heads are not those of ${doc}`, undefined, { doc });
      const { collection, key } = parseDocName(doc);
      const genesis = genesisOf(this.#log.identity.uid, collection, key).hash;
      const changes = split.changes.map(readReceived).filter(({ hash }) => hash !== genesis);
      if (changes.length === 0) throw archiveInvalid(place, `it has no change of ${doc}`, undefined, { doc });
      return changes;
    } catch (error) {
      throw blamed(error, read);
    }
  }

  async #write(): Promise<void> {
    const batch = this.#batch;
    this.#batch = [];
    this.#size = 0;
    const writes = batch.map(({ read, changes }) => ({ doc: read.doc, changes, base: [] }));
    const [first] = batch as [(typeof batch)[number]];
    try {
      const receipt = await this.#log.write({
        author: this.#author,
        clientTxId: "",
        message: this.#message,
        writes,
        anyActor: true,
      });
      for (const { read } of batch) {
        const { doc, heads, place } = read;
        if (receipt.heads[doc]?.join() !== heads.join())
          throw archiveInvalid(place, `its changes do not lead to the heads of ${doc}`, undefined, { doc });
      }
    } catch (error) {
      const doc = isSkaldError(error) ? error.details["doc"] : undefined;
      throw blamed(error, batch.find(({ read }) => read.doc === doc)?.read ?? first.read);
    }
  }
}

/** What is refused for its bytes is the archive's fault; that a disk is full is not. */
function blamed(error: unknown, { doc, place }: ReadDocument): unknown {
  if (!isSkaldError(error) || error.code === "ARCHIVE_INVALID" || error.status >= 500) return error;
  return archiveInvalid(
    place,
    `its changes of ${doc} are not taken: ${error.message.replace(/\.$/, "")}`,
    error,
    {
      reason: error.code,
      doc,
    },
  );
}
