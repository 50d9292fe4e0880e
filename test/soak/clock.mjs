import { spawnSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const SOURCE = fileURLToPath(new URL("../support/clock-shim.c", import.meta.url));

/** A wall clock that jumps while the server runs; without a C compiler it stays where it is. */
export class WallClock {
  #file;
  /** Seconds it is off. */
  offset = 0;
  env = {};
  /** Why it cannot jump. */
  missing;

  constructor(dir) {
    const shim = path.join(dir, "clock-shim.so");
    if (!existsSync(shim)) {
      const built = spawnSync("cc", ["-shared", "-fPIC", "-O1", "-w", "-o", shim, SOURCE, "-ldl"]);
      if (built.status !== 0) {
        this.missing = `no clock jumps: cc: ${built.error?.message ?? built.stderr.toString().slice(0, 200)}`;
        return;
      }
    }
    this.#file = path.join(dir, "clock-offset");
    this.env = { LD_PRELOAD: shim, SKALD_CLOCK_FILE: this.#file };
    this.jump(0);
  }

  jump(seconds) {
    if (this.missing) return;
    this.offset = Math.round(seconds);
    writeFileSync(this.#file, String(this.offset));
  }
}
