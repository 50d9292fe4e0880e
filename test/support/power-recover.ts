import path from "node:path";
import { cutPower, type DiskImage } from "./disk-image.ts";
import { Disk } from "./disk-model.ts";
import { record, type Recording } from "./disk-recorder.ts";
import type { DiskOp } from "./disk-trace.ts";
import type { PowerCheck } from "./power-check.ts";
import { restore } from "./power-engine.ts";
import { explore, type Explored, type PowerState } from "./power-explore.ts";
import { PowerLedger } from "./power-ledger.ts";

/** Something that was interrupted and is started again, to be cut once more. */
export interface Interrupted {
  readonly image: DiskImage;
  /** What the image lies on: after a power cut all of it is durable, after a kill only what was synced. */
  readonly disk: Disk;
  readonly ledger: PowerLedger;
  readonly check: PowerCheck;
}

/** The power is back. */
export function afterCut({ image, ledger }: PowerState, check: PowerCheck): Interrupted {
  const kept = keep(image);
  const files = new Map([...kept.files].map(([name, { bytes }]) => [name, bytes()]));
  return begun(kept, Disk.of(files, image.folders), ledger, check);
}

/** The process was killed, and the machine goes on: all it wrote is there to be read, and not all is durable. */
export function afterKill({ disk, ledger }: PowerState, check: PowerCheck): Interrupted {
  const copy = disk.copy();
  return begun(keep(cutPower(copy, "all", () => 0)), copy, ledger, check);
}

/** The image as it is now: its disk goes on. */
function keep(image: DiskImage): DiskImage {
  const files = [...image.files].map(([name, { key, bytes }]) => {
    const copy = Buffer.from(bytes());
    return [name, { key, bytes: () => copy }] as const;
  });
  return { ...image, files: new Map(files) };
}

function begun(image: DiskImage, disk: Disk, ledger: PowerLedger, check: PowerCheck): Interrupted {
  const copy = new PowerLedger(ledger);
  const own = check.another();
  const rows = own.service(image).rows;
  for (const [id, db] of copy.dbs) {
    if (rows.get(id)?.state !== "ready") continue;
    // From here on a commit of this image is what its seq stands for.
    db.truth = new Map(own.log(image, id).commits.map(({ commit }, i) => [i + 1, commit]));
  }
  return { image, disk, ledger: copy, check: own.another() };
}

/** Has a process start on each, under the recorder, and gives what each did. */
export async function recordStarts(
  dir: string,
  interrupted: readonly Interrupted[],
  seed: number,
  broken = "none",
): Promise<{ recording: Recording; parts: readonly (readonly DiskOp[])[] }> {
  const root = path.join(dir, "disk");
  const images = interrupted.map(({ image, ledger }, i) => {
    restore(image, path.join(root, `${i}`));
    return { at: path.join(root, `${i}`, "data"), dbs: [...ledger.dbs.keys()] };
  });
  const recording = await record(dir, { workload: "recover", seed, images, broken });
  const parts: DiskOp[][] = [];
  for (const op of recording.ops) {
    if (op.kind === "mark" && "image" in op.mark) parts.push([]);
    else parts.at(-1)?.push(op);
  }
  return { recording, parts };
}

/** Cuts the power during each start. */
export async function exploreStarts(
  interrupted: readonly Interrupted[],
  parts: readonly (readonly DiskOp[])[],
  states: number,
  seed: number,
): Promise<Explored> {
  const all: Explored = { states: 0, bad: 0, problems: [] };
  for (const [i, { disk, ledger, check }] of interrupted.entries()) {
    const one = await explore({
      ops: parts[i] ?? [],
      prefix: `${i}`,
      from: { disk, ledger },
      states,
      seed: seed + i,
      check,
    });
    all.states += one.states;
    all.bad += one.bad;
    all.problems.push(...one.problems.map((problem) => `start ${i}, ${problem}`));
  }
  return all;
}
