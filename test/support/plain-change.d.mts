export function sha256(bytes: string | Uint8Array): Buffer;

export interface PlainChange {
  readonly bytes: Uint8Array;
  /** Hex. */
  readonly hash: string;
}

interface Parts {
  readonly deps: readonly string[];
  /** Hex. */
  readonly actor: string;
  readonly seq: number;
  readonly startOp: number;
  readonly key: string;
  readonly value?: number;
}

export function setChange(parts: Parts & { readonly text?: string }): PlainChange;
export function plainChange(parts: Parts & { readonly pad: number }): Uint8Array;
