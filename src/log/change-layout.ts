/** How a change lays out its columns. Source: the Automerge binary format specification, "Operations". */

/** Where each column's bytes are: start and end per slot, equal when the column is absent. */
export type ColumnRanges = Int32Array;

/** Column specifications of a change, in the order they must come in; a slot's index is its place here. */
export const CHANGE_COLUMNS = [
  0x01, 0x02, 0x11, 0x13, 0x15, 0x34, 0x42, 0x56, 0x57, 0x70, 0x71, 0x73, 0x94, 0xa5,
] as const;
export const OBJ_ACTOR = 0;
export const OBJ_CTR = 1;
export const KEY_ACTOR = 2;
export const KEY_CTR = 3;
export const KEY_STR = 4;
export const INSERT = 5;
export const ACTION = 6;
export const VAL_META = 7;
export const VAL_RAW = 8;
export const PRED_NUM = 9;
export const PRED_ACTOR = 10;
export const PRED_CTR = 11;
export const EXPAND = 12;
export const MARK_NAME = 13;

const SLOT = new Int8Array(256).fill(-1);
CHANGE_COLUMNS.forEach((spec, slot) => {
  SLOT[spec] = slot;
});
export function slotOf(spec: number): number {
  return spec < 256 ? (SLOT[spec] as number) : -1;
}

// What an operation does.
export const MAKE_MAP = 0;
export const SET = 1;
export const MAKE_LIST = 2;
export const DELETE = 3;
export const MAKE_TEXT = 4;
export const INCREMENT = 5;
export const MAKE_TABLE = 6;
export const MARK = 7;

/** Bits of the kinds of object an operation can be in. */
export const SEQUENCE = 1;
export const MAPPING = 2;
