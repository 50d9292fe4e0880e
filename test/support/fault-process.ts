import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const SCRIPT = fileURLToPath(new URL("./fault-writer.mjs", import.meta.url));

export interface Said {
  readonly ready?: boolean;
  readonly refused?: string;
  readonly message?: string;
  readonly seq?: number;
  readonly commit?: string;
  readonly failed?: string;
  readonly done?: string;
  readonly through?: boolean;
  readonly tidied?: boolean;
  readonly closed?: boolean;
  readonly code?: string;
  readonly failures?: string[];
  readonly listed?: number;
  readonly commits?: number;
  readonly counts?: { documents: number; deleted: number };
}

export interface FaultOptions {
  readonly dir: string;
  readonly seed?: number;
  readonly create?: boolean;
  readonly reserve?: number;
  readonly commands?: readonly Record<string, unknown>[];
  /** Starts, but opens nothing before `go`. */
  readonly warm?: boolean;
  /** Takes further commands through `tell`. */
  readonly listen?: boolean;
}

export interface FaultProcess {
  readonly pid: number;
  /** Everything it said so far. */
  readonly said: Said[];
  /** Resolves with the first line that fits, said before or after the call; rejects when it ended without. */
  heard(fits: (line: Said) => boolean): Promise<Said>;
  go(): void;
  /** Has it run a command; resolves with what it said meanwhile. */
  tell(command: Record<string, unknown>): Promise<Said[]>;
  /** Ends it without a chance to do anything. Resolves when it is gone. */
  kill(): Promise<void>;
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null; errors: string }>;
}

// A test that fails half-way leaves its processes to this.
const alive = new Set<ChildProcess>();
afterAll(() => {
  for (const child of alive) child.kill("SIGKILL");
});

interface Start {
  readonly env?: Record<string, string>;
  /** A command it runs under, such as strace. */
  readonly through?: readonly string[];
  /** The writer's own script, `bundled` where many are started. */
  readonly script?: string;
}

/** Starts a writer on its own directory. */
export function startWriter(
  options: FaultOptions,
  { env = {}, through = [], script = SCRIPT }: Start = {},
): FaultProcess {
  const [command, ...args] = [...through, process.execPath, script, JSON.stringify(options)];
  const child: ChildProcess = spawn(command as string, args, {
    env: { ...process.env, ...env },
    stdio: "pipe",
  });
  alive.add(child);
  child.once("close", () => alive.delete(child));
  // Who is killed does not read what was sent.
  child.stdin?.on("error", () => {});
  const said: Said[] = [];
  const waiting = new Set<() => void>();
  let errors = "";
  let over = false;
  child.stderr?.on("data", (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
  lines.on("line", (line) => {
    try {
      said.push(JSON.parse(line) as Said);
    } catch {
      // A line that the kill cut short was not said.
      return;
    }
    for (const wake of waiting) wake();
  });
  const ended = Promise.all([once(child, "close"), once(lines, "close")]).then(([[code, signal]]) => {
    over = true;
    for (const wake of waiting) wake();
    return { code: code as number | null, signal: signal as NodeJS.Signals | null, errors };
  });

  async function heard(fits: (line: Said) => boolean, from = 0): Promise<Said> {
    for (;;) {
      const found = said.slice(from).find(fits);
      if (found) return found;
      if (over)
        throw new Error(`the writer ended without saying it: ${errors || JSON.stringify(said.at(-1))}`);
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          waiting.delete(wake);
          resolve();
        };
        waiting.add(wake);
      });
    }
  }

  return {
    pid: child.pid ?? 0,
    said,
    heard: (fits) => heard(fits),
    go() {
      child.stdin?.end("go\n");
    },
    async tell(command) {
      const from = said.length;
      child.stdin?.write(`${JSON.stringify(command)}\n`);
      await heard((line) => line.done === command["do"], from);
      return said.slice(from, -1);
    },
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
    ended,
  };
}

/** Where a change is judged, red has to mean the change: the seed of CI is one. Everywhere else it is drawn. */
export const CI_SEED = 20_261_121;

/** The seeds of a run print with its failure; give one again through SKALD_TEST_SEED. */
export function seedOf(): number {
  const drawn = process.env["CI"] === undefined ? Math.floor(Math.random() * 2 ** 31) : CI_SEED;
  return Number(process.env["SKALD_TEST_SEED"] ?? drawn);
}

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
