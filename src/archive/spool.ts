import { open, unlink, type FileHandle } from "node:fs/promises";
import path from "node:path";
import { SkaldError } from "../errors.ts";
import { toHex } from "../ids/hash.ts";
import type { World } from "../world.ts";

/**
 * A file without a name: its bytes go when it is closed, or with the process however that ends. For what must be there
 * as a whole before its first byte is known.
 */
export class Spool {
  readonly #file: FileHandle;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #written = 0;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Throws STORAGE_FULL. */
  static async make(dir: string, world: World): Promise<Spool> {
    const name = path.join(dir, `archive-${toHex(world.random(8))}.tmp`);
    const file = await open(name, "wx+", 0o600).catch(asStorageError);
    await unlink(name);
    return new Spool(file);
  }

  /** Bytes so far. */
  get length(): number {
    return this.#written + this.#waitingBytes;
  }

  /** Throws STORAGE_FULL. */
  async add(bytes: Uint8Array): Promise<void> {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (this.#waitingBytes >= FLUSH_AT) await this.flush();
  }

  async flush(): Promise<void> {
    const bytes = Buffer.concat(this.#waiting);
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (let at = 0; at < bytes.length;) {
      const { bytesWritten } = await this.#file
        .write(bytes, at, bytes.length - at, this.#written)
        .catch(asStorageError);
      at += bytesWritten;
      this.#written += bytesWritten;
    }
  }

  /** The bytes from `from` to `to`, which were flushed. */
  async *read(from: number, to: number): AsyncGenerator<Uint8Array> {
    for (let at = from; at < to;) {
      const part = Buffer.allocUnsafe(Math.min(READ_AT_ONCE, to - at));
      const { bytesRead } = await this.#file.read(part, 0, part.length, at);
      if (bytesRead === 0) throw new Error("a spooled file is shorter than what was written to it");
      at += bytesRead;
      yield part.subarray(0, bytesRead);
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

function asStorageError(error: unknown): never {
  const { code } = error as { code?: unknown };
  if (code === "ENOSPC" || code === "EDQUOT")
    throw new SkaldError("STORAGE_FULL", "There is no room for the archive that is being made.", {
      cause: error,
    });
  throw error;
}

const FLUSH_AT = 1024 * 1024;
const READ_AT_ONCE = 256 * 1024;
