/**
 * Where two sequences differ: items `oldStart` to `oldEnd` become items `newStart` to `newEnd`. Everything
 * between the gaps is equal and keeps its identity.
 */
export interface Gap {
  oldStart: number;
  oldEnd: number;
  newStart: number;
  newEnd: number;
}

/** Cells of the table for the longest common subsequence: above it the whole middle is one gap. */
const MAX_CELLS = 1_000_000;

/**
 * The gaps between two sequences of comparable items, in order: common ends are cut off, then the longest
 * common subsequence of the middle is kept.
 */
export function align<T>(before: readonly T[], after: readonly T[]): Gap[] {
  let start = 0;
  let oldEnd = before.length;
  let newEnd = after.length;
  while (start < oldEnd && start < newEnd && before[start] === after[start]) start++;
  while (oldEnd > start && newEnd > start && before[oldEnd - 1] === after[newEnd - 1]) {
    oldEnd--;
    newEnd--;
  }
  if (start === oldEnd && start === newEnd) return [];
  const whole = { oldStart: start, oldEnd, newStart: start, newEnd };
  const rows = oldEnd - start;
  const columns = newEnd - start;
  if (rows === 0 || columns === 0 || rows * columns > MAX_CELLS) return [whole];
  return fill(before, after, start, rows, columns);
}

function fill<T>(
  before: readonly T[],
  after: readonly T[],
  start: number,
  rows: number,
  columns: number,
): Gap[] {
  const width = columns + 1;
  // 16 bits do: with at most 10^6 cells the shorter side has at most 1,000 items.
  const lengths = new Uint16Array((rows + 1) * width);
  for (let i = rows - 1; i >= 0; i--) {
    for (let j = columns - 1; j >= 0; j--) {
      const cell = i * width + j;
      lengths[cell] =
        before[start + i] === after[start + j]
          ? (lengths[cell + width + 1] as number) + 1
          : Math.max(lengths[cell + width] as number, lengths[cell + 1] as number);
    }
  }
  const gaps: Gap[] = [];
  let open: Gap | undefined;
  let i = 0;
  let j = 0;
  while (i < rows || j < columns) {
    const cell = i * width + j;
    if (i < rows && j < columns && before[start + i] === after[start + j]) {
      open = undefined;
      i++;
      j++;
      continue;
    }
    if (open === undefined) {
      open = { oldStart: start + i, oldEnd: start + i, newStart: start + j, newEnd: start + j };
      gaps.push(open);
    }
    if (j === columns || (i < rows && (lengths[cell + width] as number) >= (lengths[cell + 1] as number))) {
      open.oldEnd = start + ++i;
    } else {
      open.newEnd = start + ++j;
    }
  }
  return gaps;
}

/** What to do with a text: at UTF-16 offset `at` remove `remove` units and put `insert` there. */
export interface Splice {
  at: number;
  remove: number;
  insert: string;
}

/**
 * The splices that turn one text into another, last one first, so that each can be applied with its own
 * offset. Character by character where that is cheap, word by word in longer texts, else the middle at once.
 */
export function textSplices(before: string, after: string): Splice[] {
  let start = 0;
  let oldEnd = before.length;
  let newEnd = after.length;
  while (start < oldEnd && start < newEnd && before.charCodeAt(start) === after.charCodeAt(start)) start++;
  // Never between the halves of a pair, which Automerge holds as one element.
  if (start > 0 && isHigh(before.charCodeAt(start - 1))) start--;
  while (oldEnd > start && newEnd > start && before.charCodeAt(oldEnd - 1) === after.charCodeAt(newEnd - 1)) {
    oldEnd--;
    newEnd--;
  }
  if (oldEnd < before.length && isLow(before.charCodeAt(oldEnd))) {
    oldEnd++;
    newEnd++;
  }
  const oldMiddle = before.slice(start, oldEnd);
  const newMiddle = after.slice(start, newEnd);
  if (oldMiddle === newMiddle) return [];
  const characters = oldMiddle.length * newMiddle.length <= MAX_CELLS;
  const oldUnits = characters ? Array.from(oldMiddle) : words(oldMiddle);
  const newUnits = characters ? Array.from(newMiddle) : words(newMiddle);
  const splices: Splice[] = [];
  let at = start;
  let unit = 0;
  for (const gap of align(oldUnits, newUnits)) {
    for (; unit < gap.oldStart; unit++) at += (oldUnits[unit] as string).length;
    let remove = 0;
    for (; unit < gap.oldEnd; unit++) remove += (oldUnits[unit] as string).length;
    splices.push({ at, remove, insert: newUnits.slice(gap.newStart, gap.newEnd).join("") });
    at += remove;
  }
  return splices.reverse();
}

function words(text: string): string[] {
  return text.match(/[\p{L}\p{N}]+|\s+|[^\p{L}\p{N}\s]/gu) ?? [];
}

function isHigh(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}

function isLow(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}
