export function sha256(bytes: string | Uint8Array): Buffer;
export function plainChange(change: {
  deps: readonly string[];
  /** Hex. */
  actor: string;
  seq: number;
  startOp: number;
  key: string;
  value: number;
  /** Length of a text to write in the place of `value`, 0 for none. */
  pad: number;
}): Uint8Array;
