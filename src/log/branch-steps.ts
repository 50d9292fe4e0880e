import { SkaldError } from "../errors.ts";
import { checkBranchName } from "../ids/names.ts";
import type { Before, BranchEvent } from "./branch-events.ts";
import { isInPast, MAIN, type Branch, type Branches } from "./branches.ts";
import type { BranchStep } from "./transaction.ts";

export function branchNotFound(name: string): SkaldError {
  return new SkaldError("BRANCH_NOT_FOUND", `There is no branch ${name.slice(0, 128)}.`, {
    details: { branch: name.slice(0, 128) },
  });
}

/** The branch to write on. Throws BRANCH_NOT_FOUND, BRANCH_CLOSED. */
export function openBranch(name: string, branches: Branches): Branch {
  const branch = branches.named(name);
  if (!branch) throw branchNotFound(name);
  if (branch.closed > 0) {
    throw new SkaldError("BRANCH_CLOSED", `The branch ${name} is closed.`, {
      details: { branch: name, closed: branch.closed },
    });
  }
  return branch;
}

/** What a step on a branch comes to in a db whose last commit is `last`. Throws what refuses it. */
export function planStep(
  name: string,
  step: BranchStep,
  branches: Branches,
  last: number,
  branchAt: Before["branchAt"],
): BranchEvent {
  if (step.kind === "create") {
    checkBranchName(name);
    if (branches.named(name))
      throw new SkaldError("BRANCH_EXISTS", `There is a branch ${name}.`, { details: { branch: name } });
    const from = branches.named(step.from);
    if (!from) throw branchNotFound(step.from);
    const seq = step.at ?? from.head;
    if (!Number.isSafeInteger(seq) || seq < 0)
      throw new SkaldError("POINT_INVALID", "A branch is made at the seq of a commit, or at 0.");
    if (seq > last)
      throw new SkaldError("POINT_IN_FUTURE", `The db is at seq ${last}; ${seq} has not happened yet.`, {
        details: { seq: last },
      });
    // Its head is of it: that commit may be large, and need not be looked at.
    if (seq > 0 && seq !== from.head && !isInPast(branches, from.id, seq, branchAt(seq)))
      throw otherBranch(String(seq), from.name);
    return { type: "branch.create", name, from: from.name, seq };
  }
  if (name === MAIN)
    throw new SkaldError("BAD_REQUEST", "The branch main is never closed nor deleted.", {
      hint: "Delete the db, or make a branch of another name.",
    });
  if (step.kind === "close") {
    openBranch(name, branches);
    return { type: "branch.close" };
  }
  if (!branches.named(name)) throw branchNotFound(name);
  return { type: "branch.delete" };
}

export function otherBranch(at: string, branch: string): SkaldError {
  return new SkaldError(
    "POINT_OTHER_BRANCH",
    `${at} is no point of the branch ${branch}, nor of what it stands on.`,
    {
      details: { at, branch },
    },
  );
}
