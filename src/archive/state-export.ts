import type { Db } from "../db/db.ts";
import { SkaldError, isSkaldError } from "../errors.ts";
import { CODEC_DAG_CBOR, CODEC_RAW, cidOf } from "../ids/cid.ts";
import type { World } from "../world.ts";
import { encodeCarHeader, putSection, sectionBytes } from "./car.ts";
import type { HistoryPoint, UseDb } from "./history-export.ts";
import { encodeOpening } from "./opening.ts";
import { Spool } from "./spool.ts";
import { encodeStatePage, PAGE_DOCUMENTS, type StateDocument } from "./state-page.ts";

/** The file of a state, made whole: its root comes first and is the address of what names everything else. */
export interface StateFile {
  readonly root: Uint8Array;
  readonly bytes: number;
  readonly documents: number;
  /** The file from byte `from` up to `to`. */
  read(from: number, to: number): AsyncGenerator<Uint8Array>;
  /** Must be called once. */
  close(): Promise<void>;
}

export interface StateOptions {
  /** Where there is room for it meanwhile. */
  readonly dir: string;
  readonly world: World;
  readonly onProgress?: (documents: number) => void;
  readonly signal?: AbortSignal;
}

/** A stretch of the spooled bytes. */
interface Stretch {
  readonly from: number;
  readonly to: number;
}

/** Names read at once. */
const PAGE = 256;

/**
 * Makes the file of a db's documents as they were at a point: each document's heads and `Automerge.save` bytes, with
 * its history and nothing later. Documents that are deleted there, or erased since, are left out. Throws what reading
 * a document throws, with its name: a state lacks none.
 */
export async function makeState(use: UseDb, point: HistoryPoint, options: StateOptions): Promise<StateFile> {
  const { epoch, db } = await use((held) => ({ epoch: held.log.epoch, db: held.log.identity.uid }));
  const spool = await Spool.make(options.dir, options.world);
  try {
    const stretches: Stretch[] = [];
    const pages: Uint8Array[] = [];
    let page: StateDocument[] = [];
    let from = 0;
    let documents = 0;
    const endPage = async (): Promise<void> => {
      const data = encodeStatePage(page);
      const cid = cidOf(CODEC_DAG_CBOR, data);
      const to = spool.length;
      await spool.add(sectionOf(cid, data));
      // It names what stands before it here, and stands before that in the file.
      stretches.push({ from: to, to: spool.length }, { from, to });
      pages.push(cid);
      page = [];
      from = spool.length;
    };
    for await (const { doc, heads, bytes } of documentsAt(use, point, epoch)) {
      if (options.signal?.aborted) throw new SkaldError("UNAVAILABLE", "The archive is not wanted any more.");
      const chunk = cidOf(CODEC_RAW, bytes);
      await spool.add(sectionOf(chunk, bytes));
      page.push({ doc, heads: heads.toSorted(), chunk });
      documents += 1;
      options.onProgress?.(documents);
      if (page.length === PAGE_DOCUMENTS) await endPage();
    }
    if (page.length > 0) await endPage();
    await spool.flush();
    const { seq, commit, branch } = point;
    const opening = encodeOpening({
      kind: "state",
      db,
      seq,
      commit,
      documents,
      pages,
      branch: branch ?? "main",
    });
    const root = cidOf(CODEC_DAG_CBOR, opening);
    const head = Buffer.concat([encodeCarHeader(root), sectionOf(root, opening)]);
    return {
      root,
      documents,
      bytes: head.length + spool.length,
      read: (start, end) => readFile(head, spool, stretches, start, end),
      close: () => spool.close(),
    };
  } catch (error) {
    await spool.close();
    throw error;
  }
}

async function* readFile(
  head: Uint8Array,
  spool: Spool,
  stretches: readonly Stretch[],
  start: number,
  end: number,
): AsyncGenerator<Uint8Array> {
  if (start < head.length) yield head.subarray(start, Math.min(end, head.length));
  let at = head.length;
  for (const { from, to } of stretches) {
    const length = to - from;
    if (at + length > start && at < end)
      yield* spool.read(from + Math.max(0, start - at), from + Math.min(length, end - at));
    at += length;
  }
}

function sectionOf(cid: Uint8Array, data: Uint8Array): Uint8Array {
  const out = new Uint8Array(sectionBytes(data.length));
  putSection(out, 0, cid, data);
  return out;
}

interface SavedDocument {
  readonly doc: string;
  readonly heads: readonly string[];
  readonly bytes: Uint8Array;
}

async function* documentsAt(use: UseDb, point: HistoryPoint, epoch: number): AsyncGenerator<SavedDocument> {
  const { seq, branch } = point;
  const there = (db: Db): Db => {
    if (db.log.epoch === epoch) return db;
    throw new SkaldError("COMMIT_NOT_FOUND", "The db took over another copy's line meanwhile.", {
      details: { seq },
    });
  };
  for (let after = ""; ;) {
    const names = await use((db) =>
      there(db)
        .log.list("", after, PAGE, true, branch)
        .map(({ name, first }) => ({ name, first })),
    );
    for (const { name, first } of names) {
      after = name;
      if (first > seq) continue;
      const saved = await use((db) => savedAt(there(db), name, point));
      if (saved) yield saved;
    }
    if (names.length < PAGE) return;
  }
}

async function savedAt(
  db: Db,
  doc: string,
  { seq, branch }: HistoryPoint,
): Promise<SavedDocument | undefined> {
  const there = db.log.stateAt(doc, seq, branch);
  if (!there || there.deleted) return undefined;
  try {
    const { bytes, heads } = await db.save(doc, {
      at: String(seq),
      ...(branch === undefined ? {} : { branch }),
    });
    return { doc, heads, bytes };
  } catch (error) {
    // Erased while the others were read, or before: there is nothing of it any more.
    if ((error as { code?: unknown }).code === "ERASED") return undefined;
    if (!isSkaldError(error) || error.details["doc"] !== undefined) throw error;
    throw new SkaldError(error.code, error.message, {
      hint: error.hint,
      details: { ...error.details, doc },
      cause: error,
    });
  }
}
