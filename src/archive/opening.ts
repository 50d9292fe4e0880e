import { CborReader, CborWriter } from "../ids/cbor.ts";
import { CODEC_DAG_CBOR, cidCodec } from "../ids/cid.ts";
import { archiveInvalid, type Section } from "./car.ts";

/** What an archive holds: `history`, every commit up to a point; `state`, the documents as they were at it. */
export type ArchiveKind = "history" | "state";

/**
 * The first block of an archive, canonical DAG-CBOR: what it holds, of which db and up to which commit. A history's
 * root is that commit; the root of a history without commits, and of a state, is this block.
 */
export interface Opening {
  readonly kind: ArchiveKind;
  /** The db's uid: 16 bytes. */
  readonly db: Uint8Array;
  readonly seq: number;
  /** The commit at the point; undefined before the first. */
  readonly commit: Uint8Array | undefined;
  /** Of a state, how many documents there are, and the addresses of its pages. */
  readonly documents: number;
  readonly pages: readonly Uint8Array[];
  readonly branch: string;
}

const VERSION = 1;

export function encodeOpening({ kind, db, seq, commit, documents, pages, branch }: Opening): Uint8Array {
  const w = new CborWriter(256 + pages.length * 41);
  const isState = kind === "state";
  w.map(5 + (commit ? 1 : 0) + (isState ? 2 : 0));
  w.text("db");
  w.bytes(db);
  w.text("seq");
  w.uint(seq);
  w.text("kind");
  w.text(kind);
  if (isState) {
    w.text("pages");
    w.array(pages.length);
    for (const page of pages) w.link(page);
  }
  w.text("branch");
  w.text(branch);
  if (commit) {
    w.text("commit");
    w.link(commit);
  }
  w.text("version");
  w.uint(VERSION);
  if (isState) {
    w.text("documents");
    w.uint(documents);
  }
  return w.take();
}

/** Throws ARCHIVE_INVALID for what is not what `encodeOpening` writes. */
export function decodeOpening(section: Section): Opening {
  try {
    if (cidCodec(section.cid) !== CODEC_DAG_CBOR) throw new RangeError("no DAG-CBOR");
    const r = new CborReader(section.data);
    const fields = r.map();
    r.key("db");
    const db = r.bytes();
    if (db.length !== 16) throw new RangeError("a uid has 16 bytes");
    r.key("seq");
    const seq = r.uint();
    r.key("kind");
    const kind = r.text();
    if (kind !== "history" && kind !== "state") throw new RangeError(`an archive of kind ${kind}`);
    const pages: Uint8Array[] = [];
    if (kind === "state") {
      r.key("pages");
      for (let left = r.array(); left > 0; left -= 1) pages.push(r.link());
    }
    r.key("branch");
    const branch = r.text();
    const commit = r.isKey("commit") ? r.link() : undefined;
    r.key("version");
    const version = r.uint();
    if (version !== VERSION) throw new RangeError(`an archive of version ${version}`);
    let documents = 0;
    if (kind === "state") {
      r.key("documents");
      documents = r.uint();
    }
    r.end();
    if (
      fields !== 5 + (commit ? 1 : 0) + (kind === "state" ? 2 : 0) ||
      (commit === undefined) !== (seq === 0)
    )
      throw new RangeError("other fields");
    return { kind, db, seq, commit, documents, pages, branch };
  } catch (cause) {
    throw archiveInvalid(
      section,
      `it does not say what the archive holds (${(cause as Error).message})`,
      cause,
    );
  }
}
