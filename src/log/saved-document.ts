import { LIMITS, valuesOf } from "../limits.ts";
import { readChange } from "./change.ts";
import {
  ByteReader,
  CHUNK_CHANGE,
  CHUNK_DEFLATED_CHANGE,
  CHUNK_DOCUMENT,
  checkedHash,
  inflate,
  malformed,
  readFrame,
  tooLarge,
} from "./chunk.ts";
import { DEFAULT_CHANGE_LIMITS } from "./guard.ts";
import type { ChangeLimits } from "./guard.ts";

/** What a whole saved document may hold. */
export interface SavedDocumentLimits {
  /** Bytes of the file. */
  fileBytes: number;
  /** Bytes of all columns and changes of the file together, once inflated. */
  inflatedBytes: number;
  ops: number;
  changes: number;
  /** Items of the lists in columns: operations replaced, deps of changes. */
  references: number;
  actors: number;
  heads: number;
  /** For the changes that follow the document in the file. */
  change: ChangeLimits;
}

/**
 * Loading costs about 0.6 µs and 100 bytes of memory an operation when it is text and 10 µs a change,
 * so these stand for some seconds and some hundred megabytes: a worker's share, and more than the
 * largest document that is pleasant to use.
 */
export const DEFAULT_SAVED_DOCUMENT_LIMITS: Readonly<SavedDocumentLimits> = {
  ...valuesOf(LIMITS.saved),
  change: DEFAULT_CHANGE_LIMITS,
};

/** What a saved document stands for: counted from run lengths, nothing is expanded. */
export interface SavedDocumentSize {
  ops: number;
  changes: number;
  inflatedBytes: number;
}

const DEFLATED = 8;
// Column types: the low three bits of a column's specification.
const GROUP = 0;
const DELTA = 3;
const BOOLEAN = 4;
const STRING = 5;
const VALUE_META = 6;
const VALUE = 7;

const OP_ACTION = 0x42;
const CHANGE_ACTOR = 0x01;
const CHANGE_MAX_OP = 0x13;

/**
 * Checks the bytes of a saved document (`Automerge.save`, or several such files and changes one after
 * the other) before Automerge loads them: frames, checksums, lengths, and that nothing in them grows
 * beyond the limits. What the operations mean is left to Automerge, which checks the hashes of all
 * changes against the heads as it loads.
 *
 * Throws CHANGE_MALFORMED, CHANGE_CHECKSUM or CHANGE_TOO_LARGE, as `readChange` does.
 */
export function guardSavedDocument(
  bytes: Uint8Array,
  limits: SavedDocumentLimits = DEFAULT_SAVED_DOCUMENT_LIMITS,
): SavedDocumentSize {
  if (bytes.length > limits.fileBytes) tooLarge("fileBytes", limits.fileBytes, bytes.length);
  if (bytes.length === 0) malformed("truncated", "The file is empty");
  const size: SavedDocumentSize = { ops: 0, changes: 0, inflatedBytes: 0 };
  for (let pos = 0; pos < bytes.length;) {
    const chunk = readFrame(bytes, pos);
    if (chunk.type === CHUNK_DOCUMENT) {
      checkedHash(bytes, pos, chunk.end);
      readDocument(new ByteReader(bytes, chunk.contents, chunk.end), size, limits);
    } else if (chunk.type === CHUNK_CHANGE || chunk.type === CHUNK_DEFLATED_CHANGE) {
      const change = readChange(bytes.subarray(pos, chunk.end), limits.change);
      size.ops += change.opCount;
      size.changes += 1;
      size.inflatedBytes += change.bytes.length;
    } else {
      malformed("type", "The file has a chunk that is neither a document nor a change", { type: chunk.type });
    }
    if (size.inflatedBytes > limits.inflatedBytes) {
      tooLarge("inflatedBytes", limits.inflatedBytes, size.inflatedBytes);
    }
    if (size.ops > limits.ops) tooLarge("ops", limits.ops, size.ops);
    if (size.changes > limits.changes) tooLarge("changes", limits.changes, size.changes);
    pos = chunk.end;
  }
  return size;
}

function readDocument(input: ByteReader, size: SavedDocumentSize, limits: SavedDocumentLimits): void {
  const actors = input.uint();
  if (actors > limits.actors) tooLarge("actors", limits.actors, actors);
  for (let i = 0; i < actors; i++) {
    const length = input.uint();
    if (length > limits.change.actorBytesMax) {
      malformed("actor-length", `An actor id has ${length} bytes`, {
        length,
        max: limits.change.actorBytesMax,
      });
    }
    input.skip(length);
  }
  const heads = input.uint();
  if (heads > limits.heads) tooLarge("heads", limits.heads, heads);
  input.skip(32 * heads);
  const changeColumns = readSpecs(input);
  const opColumns = readSpecs(input);
  const changes = readColumns(
    input,
    changeColumns,
    CHANGE_ACTOR,
    limits.changes - size.changes,
    "changes",
    size,
    limits,
  );
  const ops = readColumns(input, opColumns, OP_ACTION, limits.ops - size.ops, "ops", size, limits);
  size.changes += changes;
  size.ops += ops;
  // Older writers left out where the heads stand among the changes.
  if (input.pos === input.end) return;
  for (let i = 0; i < heads; i++) {
    if (input.uint() >= changes) malformed("head-index", "A head is none of the document's changes");
  }
  if (input.pos !== input.end)
    malformed("extra-bytes", "Bytes follow the columns of the document", { at: input.pos });
}

interface Column {
  spec: number;
  length: number;
}

function readSpecs(input: ByteReader): Column[] {
  const count = input.uint();
  const columns: Column[] = [];
  let previous = -1;
  for (let i = 0; i < count; i++) {
    const spec = input.uint();
    // Compared without the bit that says deflated, as Automerge does.
    const order = spec % 16 >= DEFLATED ? spec - DEFLATED : spec;
    if (order <= previous)
      malformed("column-order", "The columns are out of order, or one comes twice", { spec });
    previous = order;
    columns.push({ spec, length: input.uint() });
  }
  return columns;
}

/** Returns the number of rows: the items of the column `rowSpec`, which is never absent when there are rows. */
function readColumns(
  input: ByteReader,
  columns: readonly Column[],
  rowSpec: number,
  max: number,
  limit: "ops" | "changes",
  size: SavedDocumentSize,
  limits: SavedDocumentLimits,
): number {
  let rows = 0;
  const counts: { spec: number; items: number }[] = [];
  let grouped = 0;
  let group = -1;
  let rawBytes = 0;
  for (const { spec: stated, length } of columns) {
    const start = input.skip(length);
    let bytes = input.bytes;
    let from = start;
    let to = start + length;
    let spec = stated;
    if (spec % 16 >= DEFLATED) {
      spec -= DEFLATED;
      bytes = inflate(
        input.bytes.subarray(start, to),
        limits.inflatedBytes - size.inflatedBytes,
        "inflatedBytes",
      );
      from = 0;
      to = bytes.length;
    }
    size.inflatedBytes += to - from;
    const type = spec % 8;
    const id = (spec - type) / 16;
    if (type === VALUE) {
      if (to - from !== rawBytes) malformed("value-length", "Values do not fill their column", { spec });
      continue;
    }
    const column = new ByteReader(bytes, from, to);
    const isGrouped = id === group && type !== GROUP;
    const bound = isGrouped ? grouped : max;
    if (type === GROUP || type === VALUE_META) {
      const found = sumUints(column, max, limit, spec, type === VALUE_META);
      counts.push({ spec, items: found.items });
      if (type === VALUE_META) {
        rawBytes = found.sum;
        continue;
      }
      if (found.sum > limits.references) tooLarge("references", limits.references, found.sum);
      group = id;
      grouped = found.sum;
      continue;
    }
    let items: number;
    if (type === BOOLEAN) items = countBooleans(column);
    else if (type === DELTA) {
      // The other delta columns of changes hold times, seqs and positions.
      const isOpNumber = limit === "ops" || spec === CHANGE_MAX_OP;
      items = countDeltas(column, isOpNumber ? limits.change.maxOp : Number.MAX_SAFE_INTEGER);
    } else items = countRuns(column, type);
    if (isGrouped) {
      if (items !== bound) malformed("columns-differ", "A group's columns differ from its count", { spec });
      continue;
    }
    if (items > bound) tooLarge(limit, limits[limit], items);
    if (spec === rowSpec) rows = items;
    counts.push({ spec, items });
  }
  for (const { spec, items } of counts) {
    // Rows at the end that a column says nothing about are null.
    if (items > rows)
      malformed("columns-differ", "A column has more rows than there are", { spec, items, rows });
  }
  return rows;
}

/** Items of a column of unsigned numbers or strings; null runs count. */
function countRuns(input: ByteReader, type: number): number {
  let items = 0;
  while (input.pos < input.end) {
    const count = input.int();
    if (count > 0) {
      skipValue(input, type);
      items += count;
    } else if (count < 0) {
      for (let i = 0; i < -count; i++) skipValue(input, type);
      items -= count;
    } else {
      items += input.uint();
    }
  }
  return items;
}

/** Items of a column of differences, none of whose values may be above `max`. */
function countDeltas(input: ByteReader, max: number): number {
  let items = 0;
  let value = 0;
  while (input.pos < input.end) {
    const count = input.int();
    if (count === 0) {
      items += input.uint();
      continue;
    }
    const times = Math.abs(count);
    const reads = count > 0 ? 1 : times;
    for (let i = 0; i < reads; i++) {
      value += input.int() * (count > 0 ? times : 1);
      // Within a run the values only rise or only fall, so its ends are its extremes.
      if (value > max) tooLarge("maxOp", max, value);
    }
    items += times;
  }
  return items;
}

function skipValue(input: ByteReader, type: number): void {
  if (type === STRING) input.skip(input.uint());
  else input.uint();
}

function countBooleans(input: ByteReader): number {
  let items = 0;
  while (input.pos < input.end) items += input.uint();
  return items;
}

/** Items and sum of a column of counts, or of the lengths in value metadata. */
function sumUints(
  input: ByteReader,
  max: number,
  limit: "ops" | "changes",
  spec: number,
  meta: boolean,
): { items: number; sum: number } {
  let items = 0;
  let sum = 0;
  while (input.pos < input.end) {
    const count = input.int();
    const repeats = Math.abs(count);
    const reads = count > 0 ? 1 : repeats;
    if (count === 0) {
      items += input.uint();
    } else {
      for (let i = 0; i < reads; i++) {
        const value = input.uint();
        sum += (meta ? Math.floor(value / 16) : value) * (count > 0 ? repeats : 1);
      }
      items += repeats;
    }
    if (items > max) tooLarge(limit, max, items);
    if (sum > Number.MAX_SAFE_INTEGER)
      malformed("number-too-large", "A column's counts have no sum", { spec });
  }
  return { items, sum };
}
