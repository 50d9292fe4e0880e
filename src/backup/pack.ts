import { closeSync, fstatSync, fsyncSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { CborWriter } from "../ids/cbor.ts";
import { blake3Parts, fromHex, toHex } from "../ids/hash.ts";
import { RUN_AGAIN, inFolder } from "./disk.ts";
import { backupDamaged } from "./manifest.ts";

/**
 * A pack: bodies of consecutive commits of one db, as the log keeps them. A CBOR sequence of the text
 * "skald.pack.1", the db's uid, the first seq, and for each body the number of its commits and its bytes. Named
 * by its hash, and never changed.
 */
const MAGIC = "skald.pack.1";
/** Bytes gathered before they are written, and read at once. */
const CHUNK = 256 * 1024;

export class PackWriter {
  readonly first: number;
  readonly file: string;
  readonly #handle: number;
  readonly #hash: Awaited<ReturnType<typeof blake3Parts>>;
  readonly #gathered = new CborWriter(CHUNK);
  #bytes = 0;

  private constructor(
    file: string,
    uid: Uint8Array,
    first: number,
    hash: Awaited<ReturnType<typeof blake3Parts>>,
  ) {
    this.file = file;
    this.first = first;
    this.#hash = hash;
    this.#handle = inFolder(file, RUN_AGAIN, () => openSync(file, "wx", 0o600));
    this.#gathered.text(MAGIC);
    this.#gathered.bytes(uid);
    this.#gathered.uint(first);
  }

  /** Makes `file`, which must not be there. */
  static async begin(file: string, uid: Uint8Array, first: number): Promise<PackWriter> {
    return new PackWriter(file, uid, first, await blake3Parts());
  }

  get bytes(): number {
    return this.#bytes + this.#gathered.length;
  }

  /** Adds a body that holds `count` commits. */
  add(count: number, body: Uint8Array): void {
    this.#gathered.uint(count);
    this.#gathered.bytes(body);
    if (this.#gathered.length >= CHUNK) this.#flush();
  }

  /** Durable when it returns, but for its name. Gives the hash. */
  finish(): { readonly hash: string; readonly bytes: number } {
    this.#flush();
    fsyncSync(this.#handle);
    closeSync(this.#handle);
    return { hash: toHex(this.#hash.digest()), bytes: this.#bytes };
  }

  discard(): void {
    closeSync(this.#handle);
    rmSync(this.file, { force: true });
  }

  #flush(): void {
    const bytes = this.#gathered.take();
    this.#gathered.reset();
    this.#hash.update(bytes);
    inFolder(this.file, RUN_AGAIN, () => {
      for (let at = 0; at < bytes.length;) at += writeSync(this.#handle, bytes, at);
    });
    this.#bytes += bytes.length;
  }
}

export interface PackItem {
  readonly first: number;
  readonly last: number;
  readonly body: Uint8Array;
}

/**
 * The bodies of the pack at a path, in order; `file` is its name in errors; what is wrong with the file as a whole shows at its end. Holds one body in
 * memory. Throws BACKUP_DAMAGED, with the seq where that is known.
 */
export async function* readPack(
  at: string,
  expected: { readonly uid: string; readonly hash: string; readonly bytes: number },
  file = at,
): AsyncGenerator<PackItem, void> {
  const bytes = await PackBytes.open(at, file);
  try {
    if (bytes.size !== expected.bytes)
      throw backupDamaged(file, `it has ${bytes.size} bytes, not ${expected.bytes}`);
    if (bytes.item(3).toString("latin1") !== MAGIC) throw backupDamaged(file, "it is no pack");
    if (Buffer.compare(bytes.item(2), fromHex(expected.uid)) !== 0)
      throw backupDamaged(file, "it is of another db");
    for (let first = bytes.uint(); !bytes.atEnd;) {
      bytes.seq = first;
      const last = first + bytes.uint() - 1;
      if (last < first) throw backupDamaged(file, "a body has no commits", { seq: first });
      yield { first, last, body: bytes.item(2) };
      first = last + 1;
    }
    if (bytes.digest() !== expected.hash) throw backupDamaged(file, "it is not as it was written");
  } finally {
    bytes.close();
  }
}

/** A file's items, read in chunks and hashed on the way. */
class PackBytes {
  readonly size: number;
  /** Of the body that is being read, for errors. */
  seq: number | undefined;
  readonly #file: string;
  readonly #handle: number;
  readonly #hash: Awaited<ReturnType<typeof blake3Parts>>;
  #held: Buffer = Buffer.alloc(0);
  /** Of `#held`, and of the file where `#held` ends. */
  #at = 0;
  #read = 0;

  private constructor(at: string, file: string, hash: Awaited<ReturnType<typeof blake3Parts>>) {
    this.#file = file;
    this.#hash = hash;
    try {
      this.#handle = openSync(at, "r");
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
      throw backupDamaged(file, missing ? "it is missing" : (error as Error).message);
    }
    this.size = fstatSync(this.#handle).size;
  }

  static async open(at: string, file: string): Promise<PackBytes> {
    return new PackBytes(at, file, await blake3Parts());
  }

  get atEnd(): boolean {
    return this.#read - this.#held.length + this.#at === this.size;
  }

  uint(): number {
    return this.#head(0);
  }

  /** Bytes (2) or text (3). A copy. */
  item(major: number): Buffer {
    const length = this.#head(major);
    if (length > this.size - (this.#read - this.#held.length + this.#at)) throw this.#damaged();
    this.#need(length);
    const bytes = Buffer.from(this.#held.subarray(this.#at, this.#at + length));
    this.#at += length;
    return bytes;
  }

  digest(): string {
    return toHex(this.#hash.digest());
  }

  close(): void {
    closeSync(this.#handle);
  }

  #head(major: number): number {
    this.#need(1);
    const first = this.#held[this.#at++] as number;
    const info = first & 0x1f;
    if (first >> 5 !== major || info > 27) throw this.#damaged();
    if (info < 24) return info;
    const size = 1 << (info - 24);
    this.#need(size);
    const value =
      size < 8
        ? this.#held.readUIntBE(this.#at, size)
        : this.#held.readUInt32BE(this.#at) * 2 ** 32 + this.#held.readUInt32BE(this.#at + 4);
    this.#at += size;
    if (!Number.isSafeInteger(value)) throw this.#damaged();
    return value;
  }

  /** Has so many bytes in memory from here on. */
  #need(length: number): void {
    if (this.#held.length - this.#at >= length) return;
    const kept = this.#held.length - this.#at;
    const room = Buffer.allocUnsafe(Math.max(CHUNK, length));
    this.#held.copy(room, 0, this.#at);
    let filled = kept;
    while (filled < length) {
      const got = readSync(this.#handle, room, filled, room.length - filled, null);
      if (got === 0) throw this.#damaged();
      this.#hash.update(room.subarray(filled, filled + got));
      this.#read += got;
      filled += got;
    }
    this.#held = room.subarray(0, filled);
    this.#at = 0;
  }

  #damaged(): Error {
    const where = this.seq === undefined ? {} : { seq: this.seq };
    return backupDamaged(this.#file, "it does not read on", where);
  }
}
