import { cpSync, existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import Database from "better-sqlite3";

const PAGE = 4096;

/** A file's bytes by kind: what a flip there hits. */
export interface Place {
  readonly file: string;
  readonly kind: string;
  readonly from: number;
  readonly to: number;
}

/** The files of a db as they were, to be put back after each damage. */
export class Image {
  readonly files = new Map<string, Buffer>();

  constructor(folder: string) {
    for (const name of readdirSync(folder)) {
      if (!name.endsWith("-shm")) this.files.set(name, readFileSync(path.join(folder, name)));
    }
  }

  restore(folder: string): void {
    for (const name of readdirSync(folder)) {
      if (!this.files.has(name)) rmSync(path.join(folder, name));
    }
    for (const [name, bytes] of this.files) writeFileSync(path.join(folder, name), bytes);
  }

  bytes(name: string): Buffer {
    return this.files.get(name) as Buffer;
  }

  /** Every byte of every file, by kind. */
  places(scratch: string): Place[] {
    const places: Place[] = [];
    for (const [file, bytes] of this.files) {
      if (file.endsWith("-wal")) places.push(...walPlaces(file, bytes));
      else if (file.endsWith(".sqlite")) places.push(...pagePlaces(file, bytes, this.#tables(file, scratch)));
      else places.push({ file, kind: `${file} text`, from: 0, to: bytes.length });
    }
    return places.filter(({ from, to }) => to > from);
  }

  /** Page number to table or index, of the file alone without its write-ahead log. */
  #tables(file: string, scratch: string): Map<number, string> {
    const copy = path.join(scratch, "pages.sqlite");
    for (const suffix of ["", "-wal", "-shm"]) rmSync(copy + suffix, { force: true });
    writeFileSync(copy, this.bytes(file));
    const sqlite = new Database(copy);
    const rows = sqlite.prepare("SELECT name, pageno FROM dbstat").all() as {
      name: string;
      pageno: number;
    }[];
    sqlite.close();
    return new Map(rows.map(({ name, pageno }) => [pageno, name]));
  }
}

function pagePlaces(file: string, bytes: Buffer, tables: Map<number, string>): Place[] {
  const places: Place[] = [];
  const add = (kind: string, from: number, to: number): void => {
    places.push({ file, kind: `${file} ${kind}`, from, to });
  };
  for (let page = 1; (page - 1) * PAGE < bytes.length; page += 1) {
    const start = (page - 1) * PAGE;
    const head = page === 1 ? start + 100 : start;
    if (page === 1) add("header", start, head);
    const table = tables.get(page);
    const type = bytes[head] as number;
    if (table === undefined) add("free page or map", start, start + PAGE);
    else if (type !== 2 && type !== 5 && type !== 10 && type !== 13)
      add(`${table} overflow`, start, start + PAGE);
    else {
      const interior = type < 10;
      const cells = bytes.readUInt16BE(head + 3);
      const content = bytes.readUInt16BE(head + 5) || 65536;
      const end = head + (interior ? 12 : 8) + 2 * cells;
      add(`${table} ${interior ? "interior" : "leaf"} header`, head, end);
      add("unused", end, start + content);
      add(`${table} ${interior ? "interior" : "leaf"} cells`, start + content, start + PAGE);
    }
  }
  return places;
}

function walPlaces(file: string, bytes: Buffer): Place[] {
  if (bytes.length < 32) return [];
  const places: Place[] = [{ file, kind: `${file} header`, from: 0, to: 32 }];
  for (let at = 32; at + 24 + PAGE <= bytes.length; at += 24 + PAGE) {
    places.push({ file, kind: `${file} frame header`, from: at, to: at + 24 });
    places.push({ file, kind: `${file} frame page`, from: at + 24, to: at + 24 + PAGE });
  }
  return places;
}

export interface Damage {
  readonly kind: string;
  /** In words, to do it again by hand. */
  readonly what: string;
  readonly file: string;
  readonly bytes: Buffer;
}

export function flip(image: Image, place: Place, random: () => number): Damage {
  const bytes = Buffer.from(image.bytes(place.file));
  const at = place.from + Math.floor(random() * (place.to - place.from));
  const bit = Math.floor(random() * 8);
  bytes[at] = (bytes[at] as number) ^ (1 << bit);
  const what = `bit ${bit} of byte ${at} of ${place.file} (page ${Math.floor(at / PAGE) + 1})`;
  return { kind: place.kind, what, file: place.file, bytes };
}

/** A page that is zeros, two that stand in each other's place, or a file cut short. */
export function spoil(image: Image, file: string, random: () => number): Damage {
  const bytes = Buffer.from(image.bytes(file));
  const pages = Math.floor(bytes.length / PAGE);
  const one = Math.floor(random() * pages) * PAGE;
  const two = Math.floor(random() * pages) * PAGE;
  const way = random();
  if (way < 0.35) {
    bytes.fill(0, one, one + PAGE);
    return { kind: `${file}: page zeroed`, what: `page ${one / PAGE + 1} of ${file}`, file, bytes };
  }
  if (way < 0.7) {
    bytes.copy(bytes, one, two, two + PAGE);
    image.bytes(file).copy(bytes, two, one, one + PAGE);
    const what = `pages ${one / PAGE + 1} and ${two / PAGE + 1} of ${file}`;
    return { kind: `${file}: pages swapped`, what, file, bytes };
  }
  const length = way < 0.85 ? one : Math.floor(random() * bytes.length);
  const kind = `${file}: cut ${way < 0.85 ? "at a page" : "anywhere"}`;
  return { kind, what: `to ${length} bytes`, file, bytes: bytes.subarray(0, length) };
}

export function apply(folder: string, { file, bytes }: Damage): void {
  writeFileSync(path.join(folder, file), bytes);
}

/** Copies a db's folder as a crash leaves it: whoever has it open must close it right after. */
export function crashCopy(from: string, to: string): void {
  cpSync(from, to, { recursive: true });
  for (const name of readdirSync(to)) if (name.endsWith("-shm")) rmSync(path.join(to, name));
  if (!existsSync(path.join(to, "log.sqlite-wal")) || statSync(path.join(to, "log.sqlite-wal")).size === 0)
    throw new Error("nothing is left in the write-ahead log");
}
