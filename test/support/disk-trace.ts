import { readFileSync } from "node:fs";
import path from "node:path";

/** What was done to the files of a folder, in order. Paths are relative to the folder, "" for itself. */
export type DiskOp =
  | {
      readonly kind: "open";
      readonly file: number;
      readonly path: string;
      readonly created: boolean;
      readonly emptied: boolean;
    }
  | { readonly kind: "write"; readonly file: number; readonly at: number; readonly data: Buffer }
  | { readonly kind: "truncate"; readonly file: number; readonly size: number }
  | { readonly kind: "sync"; readonly file: number }
  | { readonly kind: "sync folder"; readonly path: string }
  | { readonly kind: "unlink" | "mkdir" | "rmdir"; readonly path: string }
  | { readonly kind: "rename"; readonly path: string; readonly to: string }
  | { readonly kind: "mark"; readonly mark: Mark };

/** What a workload says of itself; see power-workload.mjs. */
export type Mark = Readonly<Record<string, string | number | null>>;

const KINDS = [
  "",
  "open",
  "write",
  "truncate",
  "sync",
  "sync folder",
  "unlink",
  "mkdir",
  "rmdir",
  "rename",
  "mark",
  "unknown",
] as const;
const HEAD = 20;

/**
 * Reads a trace of disk-recorder.c: for each call kind and flags (1 byte each), length of the path (2), file
 * (4), offset or size (8), length of the data (4), all little-endian; then the path and the data. Throws on
 * a call that the recorder knows no model of.
 */
export function readTrace(trace: string, root: string): DiskOp[] {
  const bytes = readFileSync(trace);
  const ops: DiskOp[] = [];
  const inside = (name: string): string => path.relative(root, name);
  for (let at = 0; at < bytes.length;) {
    const kind = KINDS[bytes.readUInt8(at)];
    const flags = bytes.readUInt8(at + 1);
    const file = bytes.readUInt32LE(at + 4);
    const number = Number(bytes.readBigInt64LE(at + 8));
    const named = at + HEAD + bytes.readUInt16LE(at + 2);
    const end = named + bytes.readUInt32LE(at + 16);
    const name = bytes.toString("utf8", at + HEAD, named);
    const data = bytes.subarray(named, end);
    at = end;
    switch (kind) {
      case "open":
        ops.push({ kind, file, path: inside(name), created: (flags & 1) > 0, emptied: (flags & 2) > 0 });
        break;
      case "write":
        ops.push({ kind, file, at: number, data });
        break;
      case "truncate":
        ops.push({ kind, file, size: number });
        break;
      case "sync":
        ops.push({ kind, file });
        break;
      case "sync folder":
      case "unlink":
      case "mkdir":
      case "rmdir":
        ops.push({ kind, path: inside(name) });
        break;
      case "rename":
        ops.push({ kind, path: inside(name), to: inside(data.toString()) });
        break;
      case "mark":
        ops.push({ kind, mark: JSON.parse(data.toString()) as Mark });
        break;
      default:
        throw new Error(`the trace has a call without a model: ${kind ?? "?"} ${name}`);
    }
  }
  return ops;
}
