/** A durable subscription as `…/subscriptions` lists it. */
export interface Subscription {
  readonly name: string;
  readonly mode: "single" | "shared";
  readonly key?: "doc";
  readonly include: string;
  readonly collection?: string;
  readonly prefix?: string;
  readonly docs?: readonly string[];
  readonly creator: string;
  readonly created: string;
  readonly ack_ms: number;
  readonly max_attempts: number | null;
  readonly seq: number;
  readonly lag: { readonly commits: number; readonly age_ms: number | null };
  readonly unacknowledged: number;
  readonly ahead: number;
  readonly parked: number;
  readonly full: boolean;
  readonly consumers: readonly {
    readonly consumer: string;
    readonly unacknowledged: number;
    readonly connected: boolean;
  }[];
  readonly problem?: string;
}

/** An event that came to nothing too often. */
export interface Parked {
  readonly seq: number;
  readonly attempts: number;
  readonly reason: "nack" | "timeout" | "gone";
  readonly retry: boolean;
}

/** What it selects, in a word: `movies/A…`, `3 documents`; "" for everything. */
export function selectedText({ collection, prefix, docs }: Subscription): string {
  if (docs) return docs.length === 1 ? (docs[0] as string) : `${docs.length} documents`;
  return collection === undefined ? "" : `${collection}/${prefix === undefined ? "" : `${prefix}…`}`;
}
