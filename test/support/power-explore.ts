import { CUTS, cutPower, type Cut, type DiskImage } from "./disk-image.ts";
import { Disk } from "./disk-model.ts";
import type { DiskOp } from "./disk-trace.ts";
import { seeded } from "./fault-process.ts";
import type { PowerCheck } from "./power-check.ts";
import { PowerLedger } from "./power-ledger.ts";

export interface Exploration {
  readonly ops: readonly DiskOp[];
  /** Cut off the paths of the trace. */
  readonly prefix?: string;
  /** What is there before the first call, with what is expected of it. */
  readonly from?: { readonly disk: Disk; readonly ledger: PowerLedger };
  /** States to look at. */
  readonly states: number;
  readonly seed: number;
  readonly check: PowerCheck;
  /** Called for every state that holds what it should. */
  readonly also?: (state: PowerState) => Promise<readonly string[]> | readonly string[] | undefined;
}

export interface PowerState {
  readonly image: DiskImage;
  readonly ledger: PowerLedger;
  readonly disk: Disk;
  /** The call of the trace before which the power went. */
  readonly at: number;
}

export interface Explored {
  /** Different states: the same image after another acknowledgement is another one. */
  states: number;
  /** States with a problem. */
  bad: number;
  /** The first of each problem, with where it shows. */
  readonly problems: string[];
}

const PASSES = 40;

/** Cuts the power again and again, all along a trace, and looks at what is left each time. */
export async function explore(exploration: Exploration): Promise<Explored> {
  const { ops, prefix = "", from, states, seed, check, also } = exploration;
  const explored: Explored = { states: 0, bad: 0, problems: [] };
  const random = seeded(seed);
  const seen = new Set<string>();
  const told = new Set<string>();
  const marks = ops.flatMap((op) => (op.kind === "mark" ? [op.mark] : []));
  for (let pass = 0; pass < PASSES && explored.states < states; pass += 1) {
    const disk = from ? from.disk.copy() : new Disk();
    const ledger = new PowerLedger(from?.ledger ?? marks);
    const each = Math.max(0.1, (states - explored.states) / ops.length);
    for (let at = 0; at < ops.length; at += 1) {
      const op = ops[at] as DiskOp;
      if (op.kind === "mark") ledger.apply(op.mark);
      else disk.apply(op, prefix);
      let tries = Math.floor(each) + (random() < each % 1 ? 1 : 0);
      for (; tries > 0 && explored.states < states; tries -= 1) {
        const cut = CUTS[Math.floor(random() * CUTS.length)] as Cut;
        const image = cutPower(disk, cut, random);
        const key = `${ledger.marks} ${imageKey(image)}`;
        if (seen.has(key)) continue;
        seen.add(key);
        explored.states += 1;
        const problems = [...check.problems(image, ledger)];
        if (problems.length === 0) problems.push(...((await also?.({ image, ledger, disk, at })) ?? []));
        if (problems.length === 0) continue;
        explored.bad += 1;
        for (const problem of problems) {
          if (explored.problems.length === 200 || told.has(problem)) continue;
          told.add(problem);
          explored.problems.push(`before call ${at + 1}, ${image.how}: ${problem}`);
        }
      }
    }
  }
  return explored;
}

function imageKey({ files, folders }: DiskImage): string {
  let key = [...folders].sort().join();
  for (const [name, file] of files) key += ` ${name}:${file.key}`;
  return key;
}
