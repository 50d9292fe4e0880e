import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const SHIM = fileURLToPath(new URL("./nth-shim.c", import.meta.url));
/** The shim maps a little less. */
const CONTROL_BYTES = 1024 * 1024;
const RUNNER = fileURLToPath(new URL("./nth-runner.mjs", import.meta.url));

export type Fault = "EIO" | "ENOSPC" | "EDQUOT" | "EINTR" | "short" | "swallow";

export interface Call {
  readonly call: "write" | "fsync" | "ftruncate" | "open" | "create" | "unlink" | "mkdir" | "rename";
  readonly name: string;
  readonly phase: number;
}

/** One run: the `nth` call of a workload meets a fault, and with `forever` those after it too. */
export interface Run {
  readonly workload: string;
  readonly nth?: number;
  readonly call?: Call["call"];
  readonly fault?: Fault;
  readonly forever?: boolean;
  /** Part of the path of the files that count. */
  readonly only?: string;
  readonly count?: boolean;
}

export interface Tx {
  readonly id: string;
  readonly doc: string;
  readonly outcome: "acknowledged" | "refused" | "unknown" | "unsent";
  readonly bytes: string;
  readonly seq?: number;
  readonly commit?: string;
}

export interface Result extends Run {
  readonly dir: string;
  readonly calls: number;
  readonly hits: number;
  /** Such as "write /dbs/a/log.sqlite-wal". */
  readonly struck?: string;
  /** Steps that did not go through, each with its code. */
  readonly steps: readonly string[];
  readonly violations: readonly string[];
  readonly dbs: Readonly<Record<string, "there" | "gone" | "unknown">>;
  readonly tokens: readonly { readonly text: string; readonly state: "good" | "revoked" | "unknown" }[];
  readonly txs: readonly Tx[];
  readonly trace?: readonly Call[];
  /** Microseconds that the process has taken so far. */
  readonly cpu: { readonly user: number; readonly system: number };
}

// A test that fails half-way leaves its processes to this.
const alive = new Set<ChildProcess>();
afterAll(() => {
  for (const child of alive) child.kill("SIGKILL");
});

/** A process that does runs, one after another; `dir` takes what they make. */
export class NthRunner {
  readonly #root: string;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #errors = "";
  #last = 0;

  constructor(dir: string) {
    this.#root = dir;
    const shim = path.join(dir, "nth-shim.so");
    if (!existsSync(shim)) {
      const built = spawnSync("cc", ["-shared", "-fPIC", "-O1", "-w", "-o", shim, SHIM, "-ldl"]);
      if (built.status !== 0) throw new Error(`cc: ${built.stderr.toString()}`);
    }
    const control = path.join(dir, `control-${Math.random().toString(36).slice(2)}`);
    writeFileSync(control, Buffer.alloc(CONTROL_BYTES));
    this.#child = spawn(process.execPath, [RUNNER], {
      env: { ...process.env, LD_PRELOAD: shim, SKALD_NTH_CONTROL: control },
      stdio: "pipe",
    });
    alive.add(this.#child);
    this.#child.stderr?.on("data", (chunk: Buffer) => {
      this.#errors += chunk.toString();
    });
    this.#lines = createInterface({ input: this.#child.stdout as NodeJS.ReadableStream })[
      Symbol.asyncIterator
    ]();
  }

  async run(run: Run): Promise<Result> {
    const id = (this.#last += 1);
    const dir = path.join(this.#root, `run-${id}`);
    this.#child.stdin?.write(`${JSON.stringify({ id, dir, root: this.#root, ...run })}\n`);
    const { done, value } = await this.#lines.next();
    if (done) throw new Error(`the process ended on ${JSON.stringify(run)}: ${this.#errors}`);
    return JSON.parse(value as string) as Result;
  }

  /** Ends it as a program ends that has nothing more to do. Gives what it said on stderr. */
  async end(): Promise<string> {
    const closed = once(this.#child, "close");
    this.#child.stdin?.end();
    await closed;
    alive.delete(this.#child);
    return this.#errors;
  }
}

/** What each call can meet; the second list is for what goes on once it has begun. */
const FAULTS: Readonly<Record<Call["call"], readonly [once: readonly Fault[], forever: readonly Fault[]]>> = {
  write: [
    ["EIO", "ENOSPC", "EDQUOT", "short", "EINTR"],
    ["EIO", "ENOSPC", "EDQUOT", "short"],
  ],
  fsync: [["EIO", "ENOSPC", "EDQUOT"], ["EIO"]],
  ftruncate: [["EIO", "EINTR"], ["EIO"]],
  open: [["EIO"], []],
  create: [
    ["EIO", "ENOSPC", "EDQUOT", "EINTR"],
    ["EIO", "ENOSPC", "EDQUOT"],
  ],
  unlink: [["EIO"], ["EIO"]],
  mkdir: [
    ["EIO", "ENOSPC", "EDQUOT"],
    ["EIO", "ENOSPC"],
  ],
  rename: [
    ["EIO", "ENOSPC"],
    ["EIO", "ENOSPC"],
  ],
};

/** Every fault of every call of a workload, by the calls of a sound run. */
export function everyFault(workload: string, calls: readonly Call[]): Run[] {
  return calls.flatMap(({ call }, i) =>
    [false, true].flatMap((forever) =>
      FAULTS[call][forever ? 1 : 0].map((fault) => ({ workload, nth: i + 1, call, fault, forever })),
    ),
  );
}

/** `count` of them, spread evenly, from a place that `random` chooses. */
export function spread<T>(all: readonly T[], count: number, random: () => number): T[] {
  if (count >= all.length) return [...all];
  const step = all.length / count;
  const start = random() * step;
  return Array.from({ length: count }, (_, i) => all[Math.floor(start + i * step)] as T);
}
