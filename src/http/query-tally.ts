/** What statements do, and `refused`: those that came to nothing, for whatever reason. */
export const QUERY_OUTCOMES = ["read", "write", "schema", "batch", "refused"] as const;
export type QueryOutcome = (typeof QUERY_OUTCOMES)[number];

/** Statements of a process, for its metrics: how many and how long, never what they say. */
export class QueryTally {
  readonly statements: Record<QueryOutcome, number> = zeros();
  readonly seconds: Record<QueryOutcome, number> = zeros();

  /** Counts work as `outcome`, or as refused when it fails. `now`: a monotonic clock in milliseconds. */
  async count<T>(outcome: QueryOutcome, now: () => number, work: () => Promise<T>): Promise<T> {
    const began = now();
    let came: QueryOutcome = "refused";
    try {
      const result = await work();
      came = outcome;
      return result;
    } finally {
      this.statements[came] += 1;
      this.seconds[came] += (now() - began) / 1000;
    }
  }
}

function zeros(): Record<QueryOutcome, number> {
  return { read: 0, write: 0, schema: 0, batch: 0, refused: 0 };
}
