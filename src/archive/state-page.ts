import { CborReader, CborWriter } from "../ids/cbor.ts";
import { CODEC_DAG_CBOR, CODEC_RAW, cidCodec } from "../ids/cid.ts";
import { fromHex, toHex } from "../ids/hash.ts";
import { parseDocName } from "../ids/names.ts";
import { archiveInvalid, type Section } from "./car.ts";

/** A document of a state: its heads, sorted, and the address of its `Automerge.save` bytes. */
export interface StateDocument {
  readonly doc: string;
  readonly heads: readonly string[];
  readonly chunk: Uint8Array;
}

/** Documents of a page: it stays far below what CAR tools take of one block. */
export const PAGE_DOCUMENTS = 1024;

/** Canonical DAG-CBOR: a list of documents in the order of their names' bytes. */
export function encodeStatePage(documents: readonly StateDocument[]): Uint8Array {
  const w = new CborWriter(64 * 1024);
  w.array(documents.length);
  for (const { doc, heads, chunk } of documents) {
    w.map(3);
    w.text("doc");
    w.text(doc);
    w.text("chunk");
    w.link(chunk);
    w.text("heads");
    w.array(heads.length);
    for (const head of heads) w.bytes(fromHex(head));
  }
  return w.take();
}

/** Throws ARCHIVE_INVALID. */
export function decodeStatePage(section: Section): StateDocument[] {
  try {
    if (cidCodec(section.cid) !== CODEC_DAG_CBOR) throw new RangeError("no DAG-CBOR");
    const r = new CborReader(section.data);
    const count = r.array();
    if (count < 1 || count > PAGE_DOCUMENTS) throw new RangeError(`a page of ${count} documents`);
    const documents: StateDocument[] = [];
    for (let i = 0; i < count; i += 1) {
      if (r.map() !== 3) throw new RangeError("other fields");
      r.key("doc");
      const doc = r.text();
      parseDocName(doc);
      r.key("chunk");
      const chunk = r.link();
      if (cidCodec(chunk) !== CODEC_RAW) throw new RangeError("a chunk that is not raw");
      r.key("heads");
      const heads: string[] = [];
      for (let left = r.array(); left > 0; left -= 1) {
        const head = r.bytes();
        if (head.length !== 32) throw new RangeError("a head has 32 bytes");
        heads.push(toHex(head));
      }
      documents.push({ doc, heads, chunk });
    }
    r.end();
    return documents;
  } catch (cause) {
    throw archiveInvalid(section, `it is no page of documents (${(cause as Error).message})`, cause);
  }
}
