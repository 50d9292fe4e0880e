export interface LoggedCommit {
  readonly seq: number;
  readonly cid: string;
  readonly parents: readonly string[];
  readonly time: string;
  readonly author: string;
  readonly message?: string;
  readonly entries: readonly { readonly doc: string }[];
}
export class Book {
  constructor(of: { folder: string; db: string; uid: string });
  readonly commits: Map<number, string>;
  readonly byTx: Map<string, number>;
  readonly problems: string[];
  acknowledged(receipt: { seq: number; commit: string; tx?: string; duplicate?: boolean }): void;
  lost(write: { tx?: string; docs?: readonly string[]; named?: boolean }): void;
  refusedFor(tx: string | undefined): void;
  flush(): void;
  close(): void;
}
export function messageOf(tx: string): string;
export function compare(
  book: Book,
  log: readonly LoggedCommit[],
): { wrong: string[]; found: Map<string, { seq: number; commit: string }> };
