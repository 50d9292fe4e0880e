import path from "node:path";
import type { DiskOp } from "./disk-trace.ts";

/**
 * What a disk holds for sure and what it may hold, after some calls of a trace. The model is stricter than
 * the file systems in use:
 * - what was done to a file is durable once the file was synced after it;
 * - a name that was made or taken away is durable once its folder was synced after it, and a sync of the
 *   file does nothing for its name;
 * - of everything else each part is there or not, independent of all others.
 * Two things it takes as SQLite does: a write changes no byte outside of its range (power-safe overwrite),
 * and a sync that came back is true.
 */
export class Disk {
  readonly root = new Folder(0);
  readonly #files = new Map<number, File>();
  #clock = 0;
  #ids = 1;

  /** A disk that holds these files and nothing else, all of it durable. */
  static of(files: ReadonlyMap<string, Buffer>, folders: Iterable<string>): Disk {
    const disk = new Disk();
    const put = (name: string, node: File | Folder): void => disk.#name(name, node, 0);
    for (const folder of [...folders].filter((name) => name !== "").sort())
      put(folder, new Folder(disk.#ids++));
    for (const [name, bytes] of files) {
      const file = new File(disk.#ids++);
      file.apply({ at: 0, data: bytes, time: 0 });
      put(name, file);
    }
    for (const folder of folders) disk.#folder(folder).sync();
    return disk;
  }

  /** Another disk that holds and may hold the same. Files keep their ids. */
  copy(): Disk {
    const disk = new Disk();
    disk.#clock = this.#clock;
    disk.#ids = this.#ids;
    const copies = new Map<File | Folder, File | Folder>([[this.root, disk.root]]);
    const copied = (node: File | Folder): File | Folder => {
      const known = copies.get(node);
      if (known) return known;
      const made = node instanceof File ? node.copy() : new Folder(node.id);
      copies.set(node, made);
      if (node instanceof Folder) fill(node, made as Folder);
      return made;
    };
    const fill = (folder: Folder, to: Folder): void => {
      to.version = folder.version;
      for (const [name, node] of folder.durable) to.durable.set(name, copied(node));
      for (const [name, node] of folder.now) to.now.set(name, copied(node));
      to.pending = folder.pending.map(({ sets, time }) => ({
        sets: sets.map(([name, node]) => [name, node && copied(node)] as const),
        time,
      }));
    };
    fill(this.root, disk.root);
    for (const [id, file] of this.#files) disk.#files.set(id, copied(file) as File);
    return disk;
  }

  /** Takes over the next call of the trace. `prefix` is cut off its paths. */
  apply(op: DiskOp, prefix = ""): void {
    this.#clock += 1;
    const time = this.#clock;
    const name = "path" in op ? path.relative(prefix, op.path) : "";
    switch (op.kind) {
      case "open": {
        let file = op.created ? undefined : this.#at(name);
        if (!file) {
          if (!op.created) throw new Error(`${name} was opened and is not there`);
          file = new File(this.#ids++);
          this.#name(name, file, time);
        }
        if (!(file instanceof File)) throw new Error(`${name} is a folder`);
        this.#files.set(op.file, file);
        if (op.emptied) file.change({ size: 0, time });
        return;
      }
      case "write":
        this.#file(op.file).change({ at: op.at, data: op.data, time });
        return;
      case "truncate":
        this.#file(op.file).change({ size: op.size, time });
        return;
      case "sync":
        this.#file(op.file).sync();
        return;
      case "sync folder":
        this.#folder(name).sync();
        return;
      case "unlink":
      case "rmdir":
        this.#name(name, undefined, time);
        return;
      case "mkdir":
        this.#name(name, new Folder(this.#ids++), time);
        return;
      case "rename": {
        const moved = this.#at(name);
        if (!moved || path.dirname(name) !== path.dirname(path.relative(prefix, op.to)))
          throw new Error(`a rename of ${name} that has no model`);
        const folder = this.#folder(path.dirname(name));
        folder.change({
          sets: [
            [path.basename(name), undefined],
            [path.basename(op.to), moved],
          ],
          time,
        });
        return;
      }
      case "mark":
    }
  }

  #file(id: number): File {
    const file = this.#files.get(id);
    if (!file) throw new Error(`file ${id} was not opened`);
    return file;
  }

  #at(name: string): File | Folder | undefined {
    let node: File | Folder | undefined = this.root;
    for (const part of name.split("/").filter((piece) => piece !== "" && piece !== ".")) {
      node = node instanceof Folder ? node.now.get(part) : undefined;
    }
    return node;
  }

  #folder(name: string): Folder {
    const folder = this.#at(name);
    if (!(folder instanceof Folder)) throw new Error(`${name} is no folder`);
    return folder;
  }

  #name(name: string, node: File | Folder | undefined, time: number): void {
    this.#folder(path.dirname(name)).change({ sets: [[path.basename(name), node]], time });
  }
}

/** A change of a file that is not synced: bytes at a place, or another size. */
export type FileChange =
  | { readonly at: number; readonly data: Buffer; readonly time: number }
  | { readonly size: number; readonly time: number };

export class File {
  readonly id: number;
  /** Number of syncs that made something durable: with `id`, it names the durable bytes. */
  version = 0;
  pending: FileChange[] = [];
  #bytes = Buffer.alloc(0);
  #size = 0;

  constructor(id: number) {
    this.id = id;
  }

  copy(): File {
    const copy = new File(this.id);
    copy.version = this.version;
    copy.pending = [...this.pending];
    copy.apply({ at: 0, data: this.durable, time: 0 });
    return copy;
  }

  get durable(): Buffer {
    return this.#bytes.subarray(0, this.#size);
  }

  change(change: FileChange): void {
    this.pending.push(change);
  }

  sync(): void {
    if (this.pending.length === 0) return;
    for (const change of this.pending) this.apply(change);
    this.pending = [];
    this.version += 1;
  }

  /** Makes a change of the durable bytes. */
  apply(change: FileChange): void {
    const size = "size" in change ? change.size : Math.max(this.#size, change.at + change.data.length);
    if (size > this.#bytes.length) {
      const grown = Buffer.alloc(size * 2);
      this.durable.copy(grown);
      this.#bytes = grown;
    } else if (size < this.#size) this.#bytes.fill(0, size, this.#size);
    this.#size = size;
    if ("data" in change) change.data.copy(this.#bytes, change.at);
  }
}

/** Names of a folder that are made or taken away in one step. */
export interface FolderChange {
  readonly sets: readonly (readonly [name: string, node: File | Folder | undefined])[];
  readonly time: number;
}

export class Folder {
  readonly id: number;
  version = 0;
  readonly durable = new Map<string, File | Folder>();
  /** As the running process sees it. */
  readonly now = new Map<string, File | Folder>();
  pending: FolderChange[] = [];

  constructor(id: number) {
    this.id = id;
  }

  change(change: FolderChange): void {
    this.pending.push(change);
    setNames(this.now, change);
  }

  sync(): void {
    if (this.pending.length === 0) return;
    for (const change of this.pending) setNames(this.durable, change);
    this.pending = [];
    this.version += 1;
  }
}

export function setNames(names: Map<string, File | Folder>, { sets }: FolderChange): void {
  for (const [name, node] of sets) {
    if (node) names.set(name, node);
    else names.delete(name);
  }
}
