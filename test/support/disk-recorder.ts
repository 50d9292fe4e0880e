import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { cutPower } from "./disk-image.ts";
import { Disk } from "./disk-model.ts";
import { readTrace, type DiskOp } from "./disk-trace.ts";

const SOURCE = fileURLToPath(new URL("./disk-recorder.c", import.meta.url));
const WORKLOAD = fileURLToPath(new URL("./power-workload.mjs", import.meta.url));

export interface Recording {
  /** The folder that was recorded. */
  readonly root: string;
  readonly ops: readonly DiskOp[];
}

export interface RecordOptions {
  readonly workload: string;
  readonly seed: number;
  /** A build that breaks a promise; see power-workload.mjs. */
  readonly broken?: string;
  readonly [more: string]: unknown;
}

/** Runs a workload under the recorder. `dir` takes the shim, the trace and the folder; `dir/disk` may hold files before. */
export async function record(dir: string, options: RecordOptions): Promise<Recording> {
  const shim = path.join(path.dirname(dir), "disk-recorder.so");
  if (!existsSync(shim)) {
    const built = spawnSync("cc", ["-shared", "-fPIC", "-O1", "-w", "-o", shim, SOURCE, "-ldl", "-lpthread"]);
    if (built.status !== 0) throw new Error(`cc: ${built.stderr.toString()}`);
  }
  const root = path.join(dir, "disk");
  mkdirSync(root, { recursive: true });
  const trace = path.join(dir, "trace");
  rmSync(trace, { force: true });
  const child = spawn(
    process.execPath,
    [WORKLOAD, JSON.stringify({ dir: path.join(root, "data"), ...options })],
    {
      env: {
        ...process.env,
        LD_PRELOAD: shim,
        SKALD_RECORD_ROOT: root,
        SKALD_RECORD_TRACE: trace,
        SKALD_RECORD_MARKS: path.join(dir, "marks"),
      },
      stdio: ["ignore", "inherit", "pipe"],
    },
  );
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`the workload ${options.workload} of seed ${options.seed}: ${errors}`);
  const ops = readTrace(trace, root);
  rmSync(trace);
  return { root, ops };
}

/** Every file and folder below a folder, but for SQLite's shared memory: nothing of that outlives a crash. */
function filesIn(
  root: string,
  at = "",
  found = { files: new Map<string, Buffer>(), folders: new Set<string>() },
): typeof found {
  found.folders.add(at);
  for (const name of readdirSync(path.join(root, at))) {
    const inside = path.join(at, name);
    if (statSync(path.join(root, inside)).isDirectory()) filesIn(root, inside, found);
    else if (!name.endsWith("-shm")) found.files.set(inside, readFileSync(path.join(root, inside)));
  }
  return found;
}

/** Paths that differ between what the trace leads to and what is on the real disk: calls that the recorder missed. */
export function missed({ root, ops }: Recording): string[] {
  const disk = new Disk();
  for (const op of ops) disk.apply(op);
  const traced = cutPower(disk, "all", () => 0);
  const real = filesIn(root);
  const names = new Set([...traced.files.keys(), ...real.files.keys()]);
  const folders = new Set([...traced.folders, ...real.folders]);
  return [
    ...[...names].filter((name) => {
      const bytes = real.files.get(name);
      return !bytes || !traced.files.get(name)?.bytes().equals(bytes);
    }),
    ...[...folders].filter((name) => !traced.folders.has(name) || !real.folders.has(name)),
  ];
}
