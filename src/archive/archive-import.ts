import type { Engine } from "../db/engine.ts";
import { SkaldError, isSkaldError } from "../errors.ts";
import { toHex } from "../ids/hash.ts";
import type { Log } from "../log/log.ts";
import { ArchiveReader } from "./archive-reader.ts";
import { archiveInvalid, type SectionPlace } from "./car.ts";
import type { ReadCommit } from "./history-reader.ts";
import type { Opening } from "./opening.ts";
import { StateWriter } from "./state-import.ts";
import type { ReadDocument } from "./state-reader.ts";

export interface ImportOptions {
  /** Who imports: the author of the commits that bring a state's documents. */
  readonly author: string;
  /** Name of the db that is made. */
  readonly db: string;
  readonly onProgress?: (progress: ImportProgress) => void;
}

export interface ImportProgress {
  readonly bytes: number;
  /** Commits or documents so far, and of how many. */
  readonly done: number;
  readonly of: number;
}

export interface Imported {
  readonly kind: Opening["kind"];
  readonly root: Uint8Array;
  readonly uid: Uint8Array;
  readonly bytes: number;
  readonly commits: number;
  readonly documents: number;
}

/** Commits that share a sync, and bytes of them: what is held beside what is being read. */
const BATCH_COMMITS = 4096;
const BATCH_BYTES = 4 * 1024 * 1024;

/**
 * Makes a db from an archive as it comes. Nothing is trusted: each block is compared with its address, each commit goes
 * through the same checks as one from another server. All of it or nothing: the db is there when all of it is durable.
 * Throws ARCHIVE_INVALID with the block that is wrong, DB_EXISTS, STORAGE_FULL, and what `parts` throws.
 */
export async function importArchive(
  engine: Engine,
  parts: AsyncIterable<Uint8Array>,
  { author, db, onProgress }: ImportOptions,
): Promise<Imported> {
  if (engine.has(db)) throw new SkaldError("DB_EXISTS", `There is a db ${db} already.`, { details: { db } });
  const reader = new ArchiveReader();
  const ahead = parts[Symbol.asyncIterator]();
  try {
    const begun = await opened(reader, ahead);
    const { kind, db: uid, seq } = reader.opening as Opening;
    let commits = seq;
    let documents = 0;
    await engine.createFilled(db, uid, async (log, signal) => {
      const tell = (done: number, of: number): void => onProgress?.({ bytes: reader.bytes, done, of });
      const rest = readAll(reader, begun, ahead, signal);
      if (kind === "history") await fillHistory(log, rest, reader, tell);
      else {
        documents = (reader.opening as Opening).documents;
        await fillState(log, engine, author, rest, reader, tell);
        commits = log.head().seq;
      }
    });
    const root = reader.root as Uint8Array;
    return { kind, root, uid: uid.slice(), bytes: reader.bytes, commits, documents };
  } finally {
    await ahead.return?.();
  }
}

type Read = ReadCommit | ReadDocument;

/** Reads as far as what the archive says it holds, and gives what came along with that. */
async function opened(reader: ArchiveReader, parts: AsyncIterator<Uint8Array>): Promise<readonly Read[]> {
  while (!reader.opening) {
    const step = await parts.next();
    if (step.done) {
      reader.end();
      break;
    }
    const read = [...reader.push(step.value)];
    if (reader.opening) return read;
  }
  return [];
}

async function* readAll(
  reader: ArchiveReader,
  begun: readonly Read[],
  parts: AsyncIterator<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<readonly Read[]> {
  if (begun.length > 0) yield begun;
  for (;;) {
    if (signal.aborted) throw new SkaldError("UNAVAILABLE", "The server is closing.");
    const step = await parts.next();
    if (step.done) break;
    const read = [...reader.push(step.value)];
    if (read.length > 0) yield read;
  }
  reader.end();
}

async function fillHistory(
  log: Log,
  parts: AsyncIterable<readonly Read[]>,
  reader: ArchiveReader,
  tell: (done: number, of: number) => void,
): Promise<void> {
  const { seq: of } = reader.opening as Opening;
  let batch: ReadCommit[] = [];
  let size = 0;
  const put = async (): Promise<void> => {
    const commits = batch;
    batch = [];
    size = 0;
    const { seq, cid } = log.head();
    try {
      await log.receive(
        { seq, cid },
        commits.map(({ stored }) => stored),
        { mayErase: true, mayDefine: true, erased: "any" },
      );
    } catch (error) {
      throw blamed(error, commits);
    }
    tell(log.head().seq, of);
  };
  for await (const read of parts) {
    for (const commit of read as readonly ReadCommit[]) {
      batch.push(commit);
      size += commit.stored.bytes.length;
      for (const block of commit.stored.blocks) size += block.length;
      if (batch.length >= BATCH_COMMITS || size >= BATCH_BYTES) await put();
    }
  }
  if (batch.length > 0) await put();
  const [unexplained] = log.owed();
  if (unexplained !== undefined)
    throw archiveInvalid(undefined, `it lacks changes of ${unexplained}, which no commit in it erased`);
}

/** What the log refuses of a commit is wrong in the archive. */
function blamed(error: unknown, commits: readonly ReadCommit[]): unknown {
  if (!isSkaldError(error) || error.code !== "SYNC_INVALID") return error;
  const { seq } = error.details;
  const place: SectionPlace | undefined = commits.find(({ stored }) => stored.commit.seq === seq)?.place;
  const why = error.message.replace(/^.*? is not to be had: /, "").replace(/\.$/, "");
  return archiveInvalid(place, why, error, error.details);
}

async function fillState(
  log: Log,
  engine: Engine,
  author: string,
  parts: AsyncIterable<readonly Read[]>,
  reader: ArchiveReader,
  tell: (done: number, of: number) => void,
): Promise<void> {
  const { documents: of, db, seq } = reader.opening as Opening;
  const writer = new StateWriter(log, engine.documents, author, `state of ${toHex(db)} at commit ${seq}`);
  for await (const read of parts)
    for (const document of read as readonly ReadDocument[]) tell(await writer.add(document), of);
  tell(await writer.end(), of);
}
