import { cidToString } from "../ids/cid.ts";
import type { World } from "../world.ts";
import { historyParts, historyRoot, type HistoryPoint, type RunStart, type UseDb } from "./history-export.ts";
import type { ArchiveKind } from "./opening.ts";
import { makeState } from "./state-export.ts";

/** An archive of a point of a db, made as it is read. */
export interface ArchiveFile {
  readonly root: Uint8Array;
  /** Undefined while it is not known: `measure` works it out. */
  readonly bytes: number | undefined;
  /** Of its bytes: two archives of one tag are the same. */
  readonly tag: string;
  /** Goes through all of it when that was not done before. */
  measure(): Promise<number>;
  /** The file from byte `from` up to `to`. Throws what making it throws. */
  read(from?: number, to?: number): AsyncGenerator<Uint8Array>;
  /** Must be called once, whether it was read or not. */
  close(): Promise<void>;
}

export interface ArchiveOptions {
  /** Where a state has room until it is read: a history needs none. */
  readonly dir: string;
  readonly world: World;
  readonly signal?: AbortSignal;
}

/** Throws COMMIT_NOT_FOUND, and of a state what reading its documents throws. */
export async function archiveOf(
  use: UseDb,
  kind: ArchiveKind,
  point: HistoryPoint,
  options: ArchiveOptions,
): Promise<ArchiveFile> {
  if (kind === "state") {
    const file = await makeState(use, point, options);
    return {
      root: file.root,
      bytes: file.bytes,
      tag: cidToString(file.root),
      measure: () => Promise.resolve(file.bytes),
      read: (from = 0, to = file.bytes) => file.read(from, to),
      close: () => file.close(),
    };
  }
  const root = await use((db) => historyRoot(db.log.identity.uid, point));
  let measured: Measured | undefined;
  return {
    root,
    get bytes() {
      return measured?.bytes;
    },
    tag: cidToString(root),
    measure: async () => (measured ??= await measure(use, point)).bytes,
    read: (from = 0, to = Infinity) => readHistory(use, point, from, to, measured?.starts),
    close: () => Promise.resolve(),
  };
}

interface Measured {
  readonly bytes: number;
  /** Some of the runs' starts, oldest first. */
  readonly starts: readonly RunStart[];
}

async function measure(use: UseDb, point: HistoryPoint): Promise<Measured> {
  const starts: RunStart[] = [];
  let bytes = 0;
  for await (const part of historyParts(use, point)) {
    if (part.start.seq > 0) starts.push(part.start);
    bytes += part.bytes.length;
  }
  return { bytes, starts };
}

/** Goes on with the last run that starts at or before `from`, when those are known. */
async function* readHistory(
  use: UseDb,
  point: HistoryPoint,
  from: number,
  to: number,
  starts: readonly RunStart[] = [],
): AsyncGenerator<Uint8Array> {
  const start = starts.findLast(({ offset }) => offset <= from);
  for await (const { bytes, start: at } of historyParts(use, point, start)) {
    if (at.offset >= to) return;
    const first = Math.max(0, from - at.offset);
    const last = Math.min(bytes.length, to - at.offset);
    if (first < last) yield bytes.subarray(first, last);
  }
}
