import { ArchiveReader } from "./archive-reader.ts";
import type { Opening } from "./opening.ts";

export interface VerifiedArchive {
  readonly kind: Opening["kind"];
  readonly root: Uint8Array;
  readonly uid: Uint8Array;
  readonly seq: number;
  readonly commit: Uint8Array | undefined;
  readonly blocks: number;
  readonly bytes: number;
  /** Of a state. */
  readonly documents: number;
}

/**
 * Reads an archive to its end: every block against its address, every commit in the place that the one behind it names,
 * nothing missing, nothing twice in a run, nothing left over. What the changes in it mean is for the import to say.
 * Throws ARCHIVE_INVALID with the first block that is wrong.
 */
export async function verifyArchive(
  parts: AsyncIterable<Uint8Array>,
  onProgress?: (bytes: number, blocks: number) => void,
): Promise<VerifiedArchive> {
  const reader = new ArchiveReader();
  for await (const part of parts) {
    for (const _ of reader.push(part));
    onProgress?.(reader.bytes, reader.blocks);
  }
  reader.end();
  const { kind, db, seq, commit, documents } = reader.opening as Opening;
  const { blocks, bytes } = reader;
  return { kind, root: reader.root as Uint8Array, uid: db.slice(), seq, commit, blocks, bytes, documents };
}
