// The inside of a process that runs under nth-shim.c: arms the faults and reads what was called.
import { openSync, readSync, writeSync } from "node:fs";

/** Kinds of call, in the shim's order. `create` is an open that makes a file. */
const CALLS = ["write", "fsync", "ftruncate", "open", "create", "unlink", "mkdir", "rename"];

const bits = (...calls) => calls.reduce((mask, call) => mask | (1 << CALLS.indexOf(call)), 0);
const MAKING = bits("write", "create", "mkdir", "rename");

/** What a call can do wrong: errno, way, and the calls that it happens to once it happens for ever. */
const FAULTS = {
  EIO: {
    error: 5,
    mode: 0,
    mask: bits("write", "fsync", "ftruncate", "create", "unlink", "mkdir", "rename"),
  },
  ENOSPC: { error: 28, mode: 0, mask: MAKING },
  EDQUOT: { error: 122, mode: 0, mask: MAKING },
  EINTR: { error: 4, mode: 0, mask: 0 },
  short: { error: 0, mode: 1, mask: bits("write") },
  /** Says it is done and is not: no disk that this store is made for. Only to see the tests fail. */
  swallow: { error: 0, mode: 2, mask: bits("write", "fsync") },
};

/** The control file: 16 numbers of 4 bytes, prefix (512), part of the path (64), then entries of 48 bytes. */
const ENTRY = 48;
const TRACE = 64 + 512 + 64;

export class NthDisk {
  #file;

  constructor(file = process.env.SKALD_NTH_CONTROL) {
    this.#file = openSync(file, "r+");
  }

  /** Counts calls below `prefix`; with a fault strikes the `nth`, and with `forever` what follows it. */
  arm({ prefix, only = "", nth = 0, call, fault, forever = false }) {
    const { error, mode, mask } = FAULTS[fault] ?? { error: 0, mode: 0, mask: 0 };
    const head = Buffer.alloc(TRACE);
    [0, nth, forever ? 1 : 0, error, mode, forever ? mask | bits(call) : -1, 0, 0, 0].forEach((value, i) =>
      head.writeInt32LE(value, i * 4),
    );
    head.write(prefix, 64);
    head.write(only, 64 + 512);
    writeSync(this.#file, head, 0, head.length, 0);
    this.#set(0, 1);
  }

  disarm() {
    this.#set(0, 0);
  }

  /** No more faults, but calls are noted on. */
  heal() {
    this.#set(1, 0);
  }

  phase(number) {
    this.#set(8, number);
  }

  get count() {
    return this.#get(6);
  }

  get hits() {
    return this.#get(7);
  }

  /** Calls noted from number `from` (0 for the first) on. */
  trace(from = 0) {
    const length = Math.max(0, Math.min(this.count, 16384) - from);
    const bytes = Buffer.alloc(length * ENTRY);
    readSync(this.#file, bytes, 0, bytes.length, TRACE + from * ENTRY);
    return Array.from({ length }, (_, i) => {
      const entry = bytes.subarray(i * ENTRY, (i + 1) * ENTRY);
      const name = entry.subarray(4);
      const end = name.indexOf(0);
      return {
        call: CALLS[entry[0]],
        phase: entry[1],
        struck: entry[2] === 1,
        name: name.toString("utf8", 0, end < 0 ? name.length : end),
      };
    });
  }

  #get(field) {
    const value = Buffer.alloc(4);
    readSync(this.#file, value, 0, 4, field * 4);
    return value.readInt32LE();
  }

  #set(field, number) {
    const value = Buffer.alloc(4);
    value.writeInt32LE(number);
    writeSync(this.#file, value, 0, 4, field * 4);
  }
}
