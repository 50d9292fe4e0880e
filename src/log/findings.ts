/** One thing that is wrong, and the first place where it shows. */
export interface Finding<What extends string = LogInvariant> {
  /** A stable name of the invariant that does not hold. */
  readonly what: What;
  /** Where, for a person: the seq, the address, the document. */
  readonly where: string;
}

/** What holds of a log by itself; `verifyLog` names what does not. */
export const LOG_INVARIANTS = {
  record: "a record's bytes are what was written",
  address: "bytes hash to the address they are kept under",
  chain: "each commit names the one before it on its branch, and in the db where that is another",
  branch:
    "a branch begins at a commit of its parent's, by a commit that says so, and takes no more once it is closed",
  seq: "seqs count 1, 2, 3 … without a gap",
  identity: "every commit belongs to this db",
  blocks: "a record holds exactly the blocks its commit names",
  change: "every change is well formed",
  deps: "what a change builds on was there before it",
  actor: "an actor's changes count 1, 2, 3 …, and no two share a number",
  ops: "a change's operations count on from those it builds on",
  time: "no commit is older than the one before it",
  base: "an entry starts from the document's heads",
  heads: "an entry's heads are the tips of the change graph",
  refused: "a change that is set aside was in the document, and nothing that builds on it was left",
  erased: "a change whose bytes are gone is of a document that a commit erased",
  merged: "a merge holds the whole line that it names, and every change of it",
  signature: "a signature is its signer's, and a key that was retired signs no more",
  engine: "the storage engine finds its own structure sound",
} as const;
export type LogInvariant = keyof typeof LOG_INVARIANTS;

const FINDINGS_EACH = 20;

/** Keeps findings, the first FINDINGS_EACH of each kind: one kind must not hide another. */
export function collectFindings<F extends { readonly what: string }>(): {
  readonly findings: readonly F[];
  readonly add: (finding: F) => void;
} {
  const findings: F[] = [];
  const counts = new Map<string, number>();
  return {
    findings,
    add: (finding) => {
      const count = counts.get(finding.what) ?? 0;
      counts.set(finding.what, count + 1);
      if (count < FINDINGS_EACH) findings.push(finding);
    },
  };
}
