import type { Db } from "../db/db.ts";
import { SkaldError } from "../errors.ts";
import { CODEC_DAG_CBOR, cidOf, cidToString } from "../ids/cid.ts";
import { toHex } from "../ids/hash.ts";
import { addressesOf, type StoredCommit } from "../log/stored-commit.ts";
import { nextTurn } from "../world.ts";
import { encodeCarHeader, putSection, sectionBytes } from "./car.ts";
import { encodeOpening } from "./opening.ts";
import { encodeRunNote, RUN_COMMITS, RUN_FULL } from "./run-note.ts";

/** Runs work with the db open, which is held for no longer: an export of hours keeps nobody waiting. */
export type UseDb = <T>(work: (db: Db) => T | Promise<T>) => Promise<T>;

/** Up to where a history goes: a seq with the address of its commit, undefined for 0. */
export interface HistoryPoint {
  readonly seq: number;
  readonly commit: Uint8Array | undefined;
  /** Of a state, whose documents; a history has those of all. `main` when absent. */
  readonly branch?: string;
}

/** The start of a run: its first commit and the byte of the file. */
export interface RunStart {
  readonly seq: number;
  readonly offset: number;
}

export interface HistoryPart {
  readonly bytes: Uint8Array;
  /** The last commit in it, 0 for none. */
  readonly seq: number;
  readonly start: RunStart;
}

/** Commits read at once, and bytes of them: the rest of a run's. */
const PAGE_COMMITS = 64;
const PAGE_WANTED = 256 * 1024;

/** The address that names a history: of its last commit, or of what says that there is none. */
export function historyRoot(uid: Uint8Array, { seq, commit }: HistoryPoint): Uint8Array {
  return commit ?? cidOf(CODEC_DAG_CBOR, openingOf(uid, { seq, commit }));
}

function openingOf(db: Uint8Array, { seq, commit }: HistoryPoint): Uint8Array {
  return encodeOpening({ kind: "history", db, seq, commit, documents: 0, pages: [], branch: "main" });
}

/**
 * The file of a db's whole history up to a point, in parts of a run each: the same bytes each time. `from` goes on
 * with a run that an earlier export told of. Memory: a run, which has 1 MiB unless one commit has more. Throws
 * COMMIT_NOT_FOUND when the point's commit is not there any more, DB_DAMAGED.
 */
export async function* historyParts(
  use: UseDb,
  point: HistoryPoint,
  from?: RunStart,
): AsyncGenerator<HistoryPart> {
  const { epoch, uid } = await use((db) => {
    requirePoint(db, point);
    return { epoch: db.log.epoch, uid: db.log.identity.uid };
  });
  let offset = from?.offset ?? 0;
  let seq = (from?.seq ?? 1) - 1;
  if (!from) {
    const opening = openingOf(uid, point);
    const header = encodeCarHeader(historyRoot(uid, point));
    const bytes = new Uint8Array(header.length + sectionBytes(opening.length));
    bytes.set(header);
    putSection(bytes, header.length, cidOf(CODEC_DAG_CBOR, opening), opening);
    yield { bytes, seq: 0, start: { seq: 0, offset: 0 } };
    offset = bytes.length;
  }
  let ahead: StoredCommit[] = [];
  while (seq < point.seq) {
    const run: StoredCommit[] = [];
    let size = 0;
    while (seq + run.length < point.seq && run.length < RUN_COMMITS && size < RUN_FULL) {
      if (ahead.length === 0) {
        const next = seq + run.length + 1;
        ahead = await use(async (db) => {
          // Whoever takes the parts may never wait: 99th percentile of a write beside it 800 ms without this.
          await nextTurn(db.log.world);
          // Another line was adopted: what was sent is not the beginning of this one.
          if (db.log.epoch !== epoch) throw notThere(point);
          return commitsFrom(db, next, point.seq);
        });
      }
      const stored = ahead.shift() as StoredCommit;
      size += stored.bytes.length;
      for (const block of stored.blocks) size += block.length;
      run.push(stored);
    }
    const bytes = encodeRun(run);
    yield { bytes, seq: seq + run.length, start: { seq: seq + 1, offset } };
    offset += bytes.length;
    seq += run.length;
  }
}

/** Some commits, one at least; fewer when they are large. */
function commitsFrom(db: Db, from: number, upTo: number): StoredCommit[] {
  const found: StoredCommit[] = [];
  let size = 0;
  // Large records come in small pages: how large they are shows only when they are there.
  for (let page = 8; found.length < PAGE_COMMITS && size < PAGE_WANTED; page *= 2) {
    const more = db.log.commits(from + found.length, Math.min(page, upTo - from - found.length + 1));
    if (more.length === 0) break;
    for (const stored of more) {
      found.push(stored);
      size += stored.bytes.length;
      for (const block of stored.blocks) size += block.length;
    }
  }
  if (found.length === 0)
    throw new SkaldError("DB_DAMAGED", `Commit ${from} is missing.`, { details: { seq: from } });
  return found;
}

function encodeRun(run: readonly StoredCommit[]): Uint8Array {
  const [first] = run as [StoredCommit];
  const written = new Set<string>();
  const erased: number[] = [];
  const sections: [cid: Uint8Array, data: Uint8Array][] = [];
  let named = 0;
  for (const { cid, bytes, commit, blocks } of run) {
    written.add(toHex(cid));
    sections.push([cid, bytes]);
    addressesOf(commit).forEach((address, i) => {
      const block = blocks[i] as Uint8Array;
      const place = named++;
      // What was erased has left an empty block.
      if (block.length === 0) {
        erased.push(place);
        return;
      }
      const key = toHex(address);
      if (written.has(key)) return;
      written.add(key);
      sections.push([address, block]);
    });
  }
  const txs = run.map(({ clientTxId }) => clientTxId);
  const note = encodeRunNote({
    first: first.commit.seq,
    count: run.length,
    txs: txs.every((tx) => tx === "") ? [] : txs,
    erased,
  });
  let size = sectionBytes(note.length);
  for (const [, data] of sections) size += sectionBytes(data.length);
  const out = Buffer.allocUnsafe(size);
  let at = putSection(out, 0, cidOf(CODEC_DAG_CBOR, note), note);
  for (const [cid, data] of sections) at = putSection(out, at, cid, data);
  return out;
}

/** Throws COMMIT_NOT_FOUND when another commit has come to stand there. */
export function requirePoint(db: Db, point: HistoryPoint): void {
  if (point.seq === 0) return;
  const here = point.seq <= db.log.head().seq ? db.log.commit(point.seq)?.cid : undefined;
  if (!here || !point.commit || Buffer.compare(here, point.commit) !== 0) throw notThere(point);
}

function notThere({ seq, commit }: HistoryPoint): SkaldError {
  return new SkaldError(
    "COMMIT_NOT_FOUND",
    `Commit ${seq} of this db is not ${commit ? cidToString(commit) : "none"} any more: it took over another copy's line.`,
    { details: { seq } },
  );
}
