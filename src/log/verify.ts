import type { LogStorage } from "../store/contract.ts";
import { collectFindings, type Finding } from "./findings.ts";
import type { StoredCommit } from "./stored-commit.ts";
import { LogWalk } from "./walk.ts";

export type { Finding } from "./findings.ts";

export interface VerifyProgress {
  readonly checked: number;
  readonly of: number;
}

export interface Verdict extends VerifyProgress {
  /** Empty for a sound log. The first few of each kind. */
  readonly findings: readonly Finding[];
  /** Address of the head commit, vouching for everything before it. */
  readonly head: Uint8Array | undefined;
  /** What was worked out on the way, for whoever compares it with what is derived. */
  readonly walk: LogWalk;
}

/**
 * Checks a log from its first byte, trusting nothing derived: every record, address, link, dependency
 * and head is worked out again. Yields progress between slices; ends with the verdict. `visit` sees each
 * commit whose bytes are what its address says, in order. Takes some 0.1 ms a commit, and the memory that
 * `LogWalk` says; the storage's own inspection is one call at the start that reads the whole file.
 */
export function* verifyLog(
  storage: LogStorage,
  visit?: (stored: StoredCommit) => void,
): Generator<VerifyProgress, Verdict> {
  const { findings, add } = collectFindings<Finding>();
  const walk = new LogWalk(storage, (what, where) => add({ what, where }), visit);
  const of = storage.last();
  for (const problem of storage.inspect()) add({ what: "engine", where: problem });
  for (const checked of walk.read(of)) yield { checked, of };
  // Bytes may have gone while the walk was before the commit that erased them.
  if (walk.owes) for (const checked of walk.read(storage.last())) yield { checked, of: storage.last() };
  walk.settle();
  // A bundle that was made meanwhile may go on past what was there at the start.
  return { checked: walk.seq, of: Math.max(of, walk.seq), findings, head: walk.head, walk };
}
