import { CborReader, CborWriter } from "../ids/cbor.ts";
import { archiveInvalid, type Section } from "./car.ts";

/**
 * A history's commits stand in runs. Before each stands a note, canonical DAG-CBOR: which commits follow, their
 * client_tx_ids, which are in no commit, and which of their blocks were erased and are left out. A run ends with the
 * commit that makes it full, so a history has one form.
 */
export interface RunNote {
  /** Seq of the run's first commit. */
  readonly first: number;
  /** Its commits. */
  readonly count: number;
  /** Empty when no commit has one, else one for each, empty for none. */
  readonly txs: readonly string[];
  /** Places of erased blocks among all blocks that the run's commits name, rising. */
  readonly erased: readonly number[];
}

/** A run is full with so many commits, or when they and their blocks have so many bytes. */
export const RUN_COMMITS = 1024;
export const RUN_FULL = 1024 * 1024;

export function encodeRunNote({ first, count, txs, erased }: RunNote): Uint8Array {
  const w = new CborWriter(256);
  w.map(4);
  w.text("txs");
  w.array(txs.length);
  for (const tx of txs) w.text(tx);
  w.text("count");
  w.uint(count);
  w.text("first");
  w.uint(first);
  w.text("erased");
  w.array(erased.length);
  for (const place of erased) w.uint(place);
  return w.take();
}

/** Throws ARCHIVE_INVALID. */
export function decodeRunNote(section: Section): RunNote {
  try {
    const r = new CborReader(section.data);
    if (r.map() !== 4) throw new RangeError("other fields");
    r.key("txs");
    const txs: string[] = [];
    for (let left = r.array(); left > 0; left -= 1) txs.push(r.text());
    r.key("count");
    const count = r.uint();
    r.key("first");
    const first = r.uint();
    r.key("erased");
    const erased: number[] = [];
    for (let left = r.array(); left > 0; left -= 1) {
      const place = r.uint();
      if (place <= (erased.at(-1) ?? -1)) throw new RangeError("erased blocks out of order");
      erased.push(place);
    }
    r.end();
    if (count < 1 || count > RUN_COMMITS) throw new RangeError(`a run of ${count} commits`);
    if (txs.length !== (txs.every((tx) => tx === "") ? 0 : count))
      throw new RangeError("not a client_tx_id for each commit");
    return { first, count, txs, erased };
  } catch (cause) {
    throw archiveInvalid(section, `it is no note of a run of commits (${(cause as Error).message})`, cause);
  }
}
