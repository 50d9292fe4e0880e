/** How a feed reaches its client. */
export const FEED_KINDS = ["normal", "longpoll", "sse", "websocket"] as const;
export type FeedKind = (typeof FEED_KINDS)[number];

/** Feeds of a process, for its metrics. */
export class FeedTally {
  readonly open: Record<FeedKind, number> = { normal: 0, longpoll: 0, sse: 0, websocket: 0 };
  /** Events sent, to all clients together. */
  sent = 0;

  /** Counts an open feed until what it gives is called. */
  enter(kind: FeedKind): () => void {
    this.open[kind] += 1;
    let left = false;
    return () => {
      if (!left) this.open[kind] -= 1;
      left = true;
    };
  }
}
