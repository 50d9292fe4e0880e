import { LOG_INVARIANTS, type Finding } from "../log/findings.ts";

/**
 * Everything that holds of a db, by name; a check reports what does not under the same name. Whoever adds
 * a feature that promises something adds its line here, its check to `check.ts`, and a build that breaks
 * it to test/support/broken-builds.ts: a test fails until all three are there.
 */
export const INVARIANTS = {
  ...LOG_INVARIANTS,
  receipts: "a principal's client_tx_id names one commit, and a repeat finds that one",
  acknowledged: "what a client holds a receipt for is in the log under that seq and address",
  invented: "the log holds nothing that nobody sent",
  feed: "commits read from any place on are the rest of the log: no gap, nothing twice",
  catalog: "the catalog answers what follows from the log",
  projection: "a document's row is what replaying its changes gives",
  saved: "a saved form holds exactly the changes up to its commit, and reads the same",
  removed: "of an erased document no change, value or saved form is left",
  routes: "a document reads the same from its changes, from its saved form and from what readers get",
} as const;
export type Invariant = keyof typeof INVARIANTS;

/** What holds of further files that a db may have: only `skald verify` looks at them. */
export const FILE_INVARIANTS = {
  tables: "the tables that SQL reads are what the log makes of its documents and schema",
  subscriptions: "each durable subscription is kept as it was written, and none of them is missing",
} as const;
export type FileInvariant = keyof typeof FILE_INVARIANTS;

export interface CheckFinding extends Finding<Invariant> {
  /** What puts it right when only derived data is wrong. */
  readonly heals?: "rebuild";
}

export type Report = (what: Invariant, where: string, heals?: "rebuild") => void;
