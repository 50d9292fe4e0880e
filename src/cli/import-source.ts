import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import path from "node:path";
import type { Readable } from "node:stream";
import { toBase58Check } from "../ids/document-id.ts";
import { blake3 } from "../ids/hash.ts";
import { checkCollection, parseDocName } from "../ids/names.ts";
import { documentBytes, noDocuments, readFolder } from "./automerge-folder.ts";
import { CliError, asCliError, usageError } from "./failure.ts";
import { nameRecord, type Naming } from "./import-record.ts";
import { splitJsonArray } from "./json-array-splitter.ts";
import { splitLines } from "./line-splitter.ts";
import { LIMITS } from "../limits.ts";

/** What is sent for one document, or why one cannot be. */
export type ImportItem =
  | { readonly label: string; readonly doc: string; readonly json: string }
  | { readonly label: string; readonly doc: string; readonly automerge: Uint8Array }
  | { readonly label: string; readonly failure: CliError };

export interface ImportSource {
  readonly items: AsyncIterable<ImportItem>;
  /** Share of the input that was read, 0 to 1, when its size is known. */
  readonly done: () => number | undefined;
  /** Ends `items` early, also while it waits for input. */
  readonly stop: () => void;
}

export interface SourceOptions {
  readonly collection?: string;
  readonly key?: string;
  readonly doc?: string;
}

/** The server takes no larger ones. */
const { recordBytes, fileBytes } = LIMITS.cli;
const MAGIC = Buffer.from([0x85, 0x6f, 0x4a, 0x83]);
const BOM = Buffer.from([0xef, 0xbb, 0xbf]);
/** Where documents land that Automerge clients named. */
const AUTOMERGE_COLLECTION = "automerge";

/** `-` is stdin. What is in a file is told by its first bytes. Throws what opening it throws. */
export async function openSource(file: string, options: SourceOptions): Promise<ImportSource> {
  if (options.doc !== undefined) parseDocName(options.doc);
  if (options.collection !== undefined) checkCollection(options.collection);
  if (file === "-") return streamSource(() => process.stdin, undefined, undefined, options);
  const found = await stat(file).catch((error: unknown) => {
    throw asCliError(error);
  });
  if (found.isDirectory()) return folderSource(file, options);
  const open = (): Readable => createReadStream(file, { highWaterMark: 256 * 1024 });
  return streamSource(open, file, found.isFile() ? found.size : undefined, options);
}

function streamSource(
  open: () => Readable,
  file: string | undefined,
  size: number | undefined,
  options: SourceOptions,
): ImportSource {
  let read = 0;
  let stopped = false;
  let stream: Readable | undefined;
  async function* chunks(): AsyncGenerator<Buffer> {
    if (stopped) return;
    try {
      stream = open();
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        read += chunk.length;
        yield chunk;
      }
    } catch (error) {
      if (!stopped) throw asCliError(error);
    }
  }
  async function* items(): AsyncGenerator<ImportItem> {
    const rest = chunks();
    const start = await firstBytes(rest);
    const all = joined(start, rest);
    if (start.subarray(0, 4).equals(MAGIC)) {
      const bytes = await whole(all);
      if (stopped) return;
      yield {
        label: file ?? "stdin",
        doc: options.doc ?? (await nameByHeads(bytes, options)),
        automerge: bytes,
      };
      return;
    }
    if (options.doc !== undefined) {
      throw usageError("--doc names the document of an Automerge file, and this is none.");
    }
    if (start.length === 0) return;
    const naming = namingOf(file, options);
    const lines = file !== undefined && /\.(ndjson|jsonl)$/i.test(file);
    const isArray = !lines && firstLetter(start) === "[";
    const texts = isArray ? splitJsonArray(all, recordBytes.value) : splitLines(all, recordBytes.value);
    let index = 0;
    try {
      for await (const text of texts) {
        yield recordItem(text, index, naming);
        index += 1;
      }
    } catch (error) {
      // Input that was cut off on request has no proper end.
      if (!stopped) throw error;
    }
  }
  return {
    items: items(),
    done: () => (size === undefined || size === 0 ? undefined : Math.min(1, read / size)),
    stop: () => {
      stopped = true;
      stream?.destroy();
    },
  };
}

function recordItem(text: Uint8Array, index: number, naming: Naming): ImportItem {
  const label = `record ${index}`;
  try {
    return { label, ...nameRecord(text, naming) };
  } catch (error) {
    const failure = asCliError(error);
    if (failure.code === "USAGE") throw failure;
    return { label, failure };
  }
}

function folderSource(folder: string, options: SourceOptions): ImportSource {
  if (options.doc !== undefined || options.key !== undefined) {
    throw usageError("A folder's documents have their own names: leave out --doc and --key.");
  }
  let stopped = false;
  async function* items(): AsyncGenerator<ImportItem> {
    let none = true;
    for await (const found of readFolder(folder)) {
      if (stopped) return;
      none = false;
      const isExported = "doc" in found;
      const label = isExported ? found.doc : found.documentId;
      try {
        const doc = isExported
          ? nameExported(found.doc, options.collection)
          : `${options.collection ?? AUTOMERGE_COLLECTION}/${found.documentId}`;
        yield { label, doc, automerge: await documentBytes(found) };
      } catch (error) {
        yield { label, failure: asCliError(error) };
      }
    }
    if (none) throw noDocuments(folder);
  }
  return {
    items: items(),
    done: () => undefined,
    stop: () => {
      stopped = true;
    },
  };
}

/** Throws NAME_INVALID. */
function nameExported(doc: string, collection: string | undefined): string {
  const name = parseDocName(doc);
  return `${collection ?? name.collection}/${name.key}`;
}

/** A file's own name is a collection's when it can be one. */
function namingOf(file: string | undefined, { collection, key }: SourceOptions): Naming {
  if (collection !== undefined) return { collection, forced: true, key };
  const name = file === undefined ? "" : path.parse(file).name;
  const usable = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/.test(name);
  return { collection: usable ? name : undefined, forced: false, key };
}

/** A name in the form of a documentId, the same for every file of the same state. */
async function nameByHeads(bytes: Uint8Array, { collection, key }: SourceOptions): Promise<string> {
  if (key !== undefined)
    throw usageError("--key is for JSON records; name an Automerge file's document with --doc.");
  const { splitFile } = await import("../documents/split.ts");
  const { heads } = splitFile(bytes);
  const id = blake3(Buffer.from(heads.toSorted().join(""), "hex")).slice(0, 16);
  return `${collection ?? AUTOMERGE_COLLECTION}/${toBase58Check(id)}`;
}

/** At least four bytes with a letter among them, or all there is. */
async function firstBytes(chunks: AsyncGenerator<Buffer>): Promise<Buffer> {
  let start: Buffer = Buffer.alloc(0);
  for (;;) {
    const enough = start.length >= 4 && firstLetter(start) !== "";
    if (enough || start.length > 1024 * 1024) break;
    const next = await chunks.next();
    if (next.done) break;
    start = Buffer.concat([start, next.value]);
  }
  return start.subarray(0, 3).equals(BOM) ? start.subarray(3) : start;
}

function firstLetter(start: Buffer): string {
  const text = start.subarray(0, 3).equals(BOM) ? start.subarray(3) : start;
  return text.toString("latin1").trimStart().charAt(0);
}

async function* joined(start: Buffer, rest: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  yield start;
  yield* rest;
}

async function whole(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    size += chunk.length;
    if (size > fileBytes.value) {
      throw new CliError("TOO_LARGE", `An Automerge file is at most ${fileBytes.value} bytes.`);
    }
    parts.push(chunk);
  }
  return Buffer.concat(parts);
}
