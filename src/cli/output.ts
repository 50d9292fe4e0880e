import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { rename, rm, stat } from "node:fs/promises";
import type { Writable } from "node:stream";
import { asCliError, printable } from "./failure.ts";

/** Thrown to unwind a command whose reader went away, as `| head` does: no failure. */
export class ReaderGone extends Error {
  override readonly name = "ReaderGone";
}

let gone = false;
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  gone = true;
});
// Nobody to tell: the command goes on for its effect.
process.stderr.on("error", () => {});

/** Data: to stdout, waiting while its reader is slow. Throws ReaderGone. */
export async function print(data: string | Uint8Array): Promise<void> {
  if (gone) throw new ReaderGone();
  if (process.stdout.write(data)) return;
  await drained(process.stdout);
  if (gone) throw new ReaderGone();
}

/** Resolves when the stream takes more, or never will. */
function drained(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      for (const event of ["drain", "close", "error"]) stream.off(event, done);
      resolve();
    };
    for (const event of ["drain", "close", "error"]) stream.on(event, done);
  });
}

export function printJson(value: unknown): Promise<void> {
  return print(`${JSON.stringify(value)}\n`);
}

/** Everything that is not data: to stderr. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Aligned columns, two spaces apart. */
export function table(rows: readonly (readonly string[])[]): string {
  const clean = rows.map((row) => row.map(printable));
  const widths: number[] = [];
  for (const row of clean) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  return clean
    .map(
      (row) =>
        `${row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0))).join("  ")}\n`,
    )
    .join("");
}

/** Names and values, one a line. */
export function fields(values: Readonly<Record<string, string | number>>): string {
  return table(Object.entries(values).map(([name, value]) => [name, String(value)]));
}

/** A size for people, in powers of a thousand: `950 B`, `147 KB`, `120.1 MB`. */
export function byteText(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 999_500) return `${Math.round(bytes / 1000)} KB`;
  return bytes < 999_950_000 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}

/** Where a command's data goes: a file that appears under its name when it is whole, or stdout. */
export interface Sink {
  write(data: string | Uint8Array): Promise<void>;
  /** Without this call nothing appears under the file's name. */
  finish(): Promise<void>;
  discard(): Promise<void>;
}

const STDOUT: Sink = { write: print, finish: async () => {}, discard: async () => {} };

/** `-` and nothing are stdout. */
export async function openSink(file: string | undefined): Promise<Sink> {
  if (file === undefined || file === "-") return STDOUT;
  const found = await stat(file).catch(() => undefined);
  // A device or a pipe cannot be replaced by a file.
  const direct = found !== undefined && !found.isFile();
  const target = direct ? file : `${file}.part`;
  const stream = createWriteStream(target);
  let failed: Error | undefined;
  stream.on("error", (error) => (failed = error));
  await once(stream, "open").catch((error: unknown) => {
    throw asCliError(error);
  });
  return {
    write: async (data) => {
      if (failed) throw failed;
      if (!stream.write(data)) await drained(stream);
      if (failed) throw failed;
    },
    finish: async () => {
      await ended(stream);
      if (!direct) await rename(target, file);
    },
    discard: async () => {
      stream.destroy();
      if (!direct) await rm(target, { force: true });
    },
  };
}

function ended(stream: Writable): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.once("error", reject);
    stream.end(() => resolve());
  });
}
