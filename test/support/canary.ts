import { readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { brotliDecompressSync, inflateRawSync, inflateSync } from "node:zlib";
import * as A from "@automerge/automerge";
import Database from "better-sqlite3";
import { isBundle, unpackBundle } from "../../src/log/bundle.ts";
import { decodeRecord } from "../../src/log/record.ts";

/**
 * Looks for what must not be anywhere below a directory: in the bytes of every file, in every cell of every table
 * however it is packed, and in every document that a cell is a saved form of.
 */
export function traces(dir: string, canary: string, samples: readonly Uint8Array[] = []): string[] {
  const found: string[] = [];
  for (const file of filesIn(dir)) {
    const name = path.relative(dir, file);
    const bytes = readFileSync(file);
    for (const form of formsOf(canary)) if (bytes.includes(form)) found.push(`${name}: its bytes`);
    for (const sample of samples)
      if (bytes.includes(Buffer.from(sample))) found.push(`${name}: ${Buffer.from(sample).toString("hex")}`);
    if (file.endsWith(".sqlite") && bytes.length > 0) found.push(...inTables(file, name, canary));
  }
  return found;
}

/** Windows of bytes by which a packed form is known again when it is left in unused space. */
export function samplesOf(bytes: Uint8Array, every = 64, size = 24): Uint8Array[] {
  const samples: Uint8Array[] = [];
  for (let at = 0; at + size <= bytes.length; at += every) samples.push(bytes.slice(at, at + size));
  return samples;
}

/** Every body of a log and every saved form and packed value of its projections, as they are kept. */
export function keptIn(folder: string): Uint8Array[] {
  const kept: Uint8Array[] = [];
  for (const [file, sql] of [
    ["log.sqlite", "SELECT body FROM record UNION ALL SELECT body FROM incoming"],
    ["views.sqlite", "SELECT bytes FROM saved UNION ALL SELECT json FROM document WHERE json IS NOT NULL"],
  ] as const) {
    const sqlite = new Database(path.join(folder, file), { readonly: true });
    for (const cell of sqlite.prepare(sql).pluck().all())
      kept.push(typeof cell === "string" ? Buffer.from(cell) : (cell as Uint8Array));
    sqlite.close();
  }
  return kept;
}

export function filesIn(dir: string): string[] {
  return readdirSync(dir).flatMap((name) => {
    const file = path.join(dir, name);
    return statSync(file).isDirectory() ? filesIn(file) : [file];
  });
}

function formsOf(canary: string): Buffer[] {
  const plain = Buffer.from(canary);
  return [plain, Buffer.from(canary, "utf16le"), Buffer.from(plain.toString("base64").slice(0, -4))];
}

function inTables(file: string, name: string, canary: string): string[] {
  const sqlite = new Database(file, { readonly: true });
  try {
    const tables = sqlite
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
      .pluck()
      .all() as string[];
    return tables.flatMap((table) =>
      (sqlite.prepare(`SELECT * FROM "${table}"`).raw().all() as unknown[][]).flatMap((row) =>
        row.some((cell) => holds(cell, canary)) ? [`${name}: table ${table}`] : [],
      ),
    );
  } finally {
    sqlite.close();
  }
}

/** Whether a cell is the canary, or unpacks to it in any way there is. */
function holds(cell: unknown, canary: string): boolean {
  if (typeof cell === "string") return cell.includes(canary);
  if (!(cell instanceof Uint8Array)) return false;
  return unpacked(cell).some((bytes) => Buffer.from(bytes).includes(canary));
}

function unpacked(cell: Uint8Array): Uint8Array[] {
  const parts = [cell];
  const attempt = (work: () => Uint8Array[]): void => {
    try {
      parts.push(...work());
    } catch {
      // It is not in this form.
    }
  };
  attempt(() => [inflateRawSync(cell)]);
  attempt(() => [inflateSync(cell)]);
  attempt(() => [brotliDecompressSync(cell)]);
  attempt(() => [...decodeRecord(cell, 0).blocks]);
  attempt(() => {
    if (!isBundle(cell)) return [];
    // Blocks do not depend on the uid; a commit's bytes would, and are not looked at.
    return unpackBundle(uidOf, cell).flatMap(({ blocks }) => [...blocks]);
  });
  attempt(() => {
    const doc = A.load(cell);
    return [
      ...A.getAllChanges(doc).map((change) => Buffer.from(JSON.stringify(A.decodeChange(change)))),
      Buffer.from(JSON.stringify(doc)),
    ];
  });
  return parts;
}

/** Set by the test: bundles prove themselves with the db's uid. */
let uidOf: Uint8Array = new Uint8Array(16);
export function setUid(uid: Uint8Array): void {
  uidOf = uid;
}
