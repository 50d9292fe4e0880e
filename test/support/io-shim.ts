import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const SOURCE = fileURLToPath(new URL("./io-shim.c", import.meta.url));

export interface ShimOptions {
  /** Part of the path of the files that are struck; its end with a `$` behind it. */
  readonly file: string;
  readonly call: "fsync" | "write";
  readonly error?: "EIO" | "ENOSPC";
}

/** A disk that fails when told to, for processes started with `env`. */
export class FailingDisk {
  readonly env: Record<string, string>;
  readonly #arm: string;
  readonly #log: string;
  #seen = 0;

  /** `dir` takes the compiled shim and its notes. */
  constructor(dir: string, { file, call, error = "EIO" }: ShimOptions) {
    const shim = path.join(dir, "io-shim.so");
    if (!existsSync(shim)) {
      const built = spawnSync("cc", ["-shared", "-fPIC", "-O1", "-w", "-o", shim, SOURCE, "-ldl"]);
      if (built.status !== 0) throw new Error(`cc: ${built.stderr.toString()}`);
    }
    const name = `${file}-${call}-${error}-${Math.random().toString(36).slice(2)}`.replaceAll("/", "_");
    this.#arm = path.join(dir, `${name}.arm`);
    this.#log = path.join(dir, `${name}.log`);
    this.env = {
      LD_PRELOAD: shim,
      SKALD_SHIM_FILE: file,
      SKALD_SHIM_CALL: call,
      SKALD_SHIM_ERRNO: error === "EIO" ? "5" : "28",
      SKALD_SHIM_ARM: this.#arm,
      SKALD_SHIM_LOG: this.#log,
    };
  }

  /** Calls fail from here on, after `good` more that do not. */
  fail(good = 0): void {
    writeFileSync(this.#arm, String(good));
  }

  heal(): void {
    rmSync(this.#arm, { force: true });
  }

  /** What was done to the files of a database since the last look, such as "fsync log.sqlite-wal". */
  seen(): string[] {
    const lines = existsSync(this.#log) ? readFileSync(this.#log, "utf8").split("\n").filter(Boolean) : [];
    const fresh = lines.slice(this.#seen);
    this.#seen = lines.length;
    return fresh;
  }
}
