import { spawn, type ChildProcess } from "node:child_process";
import { setPriority } from "node:os";
import { fileURLToPath } from "node:url";

/** Processes run compiled code, also when this module itself was loaded from `src` by the tests. */
const PROCESS_FILE = fileURLToPath(new URL("../../dist/query/process.js", import.meta.url));

export interface ChildLimits {
  /** Memory that statements may take, beside what the process itself needs. */
  readonly memoryBytes: number;
  /** Whether its work may write files: an SQL write spills into the write-ahead log, a reader writes none. */
  readonly writes: boolean;
}

/** 64 KiB; the index of a write-ahead log begins with 32. */
const READERS_BLOCKS = "128";

/** Measured: 31 MiB with SQLite loaded and the watching thread. */
const OWN_BYTES = 48 * 1024 * 1024;

/**
 * The limits are set by a shell, which then becomes the process: Node cannot set its own. `-d` counts memory that
 * can be written, so V8's reservations do not count, and what goes beyond it fails inside the process alone; a file
 * that it would write ends where the index of a write-ahead log does: the first reader of a file makes that.
 */
const LIMITED =
  'ulimit -c 0; ulimit -s 4096 2>/dev/null; ulimit -d "$1" 2>/dev/null; [ "$2" = - ] || ulimit -f "$2" || exit 1; shift 2; exec "$@"';

/** As little of V8 as the work needs: every thread and every reserve counts against the limit. */
const FLAGS = ["--max-old-space-size=96", "--max-semi-space-size=8", "--v8-pool-size=0", "--no-warnings"];

/** Below the server, which answers all others meanwhile. */
const NICE = 5;

/**
 * Starts a process with nothing of ours: no environment, so no token of it; of descriptors the two pipes, since all
 * others close when a process is started. It has a folder that it cannot be named files in by accident.
 */
export function startChild(limits: ChildLimits): ChildProcess {
  const kib = Math.ceil((limits.memoryBytes + OWN_BYTES) / 1024);
  return spawn(
    "/bin/sh",
    [
      "-c",
      LIMITED,
      "sh",
      String(kib),
      limits.writes ? "-" : READERS_BLOCKS,
      process.execPath,
      ...FLAGS,
      PROCESS_FILE,
    ],
    {
      cwd: "/",
      // No file that SQLite makes for itself has a place.
      env: { UV_THREADPOOL_SIZE: "1", SQLITE_TMPDIR: "/nonexistent", TMPDIR: "/nonexistent" },
      stdio: ["pipe", "pipe", "ignore"],
    },
  );
}

/** From when it is up: a process that starts keeps somebody waiting. */
export function lowerPriority({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    setPriority(pid, NICE);
  } catch {
    // It is gone already, which its `exit` tells; or the system does not allow it.
  }
}
