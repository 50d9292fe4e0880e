import { spawnSync } from "node:child_process";
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  statfsSync,
} from "node:fs";
import { writeSync } from "node:fs";
import path from "node:path";

/** Set in the process that has a mount namespace of its own. */
const INSIDE = "SKALD_SOAK_MOUNTS";

export function canMount() {
  const runs = (command, args) => spawnSync(command, args, { stdio: "ignore" }).status === 0;
  return process.getuid?.() === 0 && runs("unshare", ["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]);
}

export const isInside = () => process.env[INSIDE] === "1";
export const insideEnv = () => ({ ...process.env, [INSIDE]: "1" });

/** The disk that the server's directory lies on: a small one of our own where that may be mounted. */
export class Disk {
  #root;
  #filler;
  mounted = false;
  data;

  /** `root` takes the mount. `megabytes` is the size of the disk. */
  constructor(root, megabytes) {
    this.#root = path.join(root, "disk");
    mkdirSync(this.#root, { recursive: true });
    if (isInside()) {
      const done = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "none", this.#root]);
      this.mounted = done.status === 0;
    }
    this.data = path.join(this.#root, "data");
    this.#filler = path.join(this.#root, "filler");
  }

  free() {
    const { bavail, bsize } = statfsSync(this.#root);
    return bavail * bsize;
  }

  /** Takes what is left but `spare` bytes. Without a disk of our own that would strike everybody, so it does nothing. */
  fill(spare) {
    if (!this.mounted) return false;
    const chunk = Buffer.alloc(1 << 20, 0x5a);
    const file = openSync(this.#filler, "a");
    try {
      for (;;) {
        const room = this.free() - spare;
        if (room <= 0) break;
        try {
          if (writeSync(file, chunk, 0, Math.min(chunk.length, room)) === 0) break;
        } catch (error) {
          if (error.code === "ENOSPC") break;
          throw error;
        }
      }
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    return true;
  }

  empty() {
    rmSync(this.#filler, { force: true });
  }

  /** Bytes of the files of the directory: `{total, wal: {largest of each kind of file}}`. */
  sizes() {
    const wal = {};
    let total = 0;
    for (const file of filesBelow(this.data)) {
      let size;
      try {
        ({ size } = statSync(file));
      } catch {
        continue;
      }
      total += size;
      const name = path.basename(file);
      if (name.endsWith("-wal")) wal[name] = Math.max(wal[name] ?? 0, size);
    }
    return { total, wal };
  }

  close() {
    this.empty();
    if (this.mounted) spawnSync("umount", ["-l", this.#root]);
  }
}

function* filesBelow(folder) {
  let entries;
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch {
    return;
  }
  for (const entry of entries) {
    const at = path.join(folder, entry.name);
    if (entry.isDirectory()) yield* filesBelow(at);
    else yield at;
  }
}
