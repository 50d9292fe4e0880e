import { File, Folder, setNames, type Disk, type FileChange } from "./disk-model.ts";

/** What a power cut left: each file by its path. */
export interface DiskImage {
  /** How it was chosen, for a message. */
  readonly how: string;
  readonly files: ReadonlyMap<string, ImageFile>;
  readonly folders: ReadonlySet<string>;
}

export interface ImageFile {
  /** The same for the same bytes, within one disk. */
  readonly key: string;
  readonly bytes: () => Buffer;
}

/** Of what was not synced: nothing, everything, what came first, parts, or of each file all or nothing. */
export const CUTS = ["nothing", "all", "prefix", "some", "torn", "grown", "whole", "mixed"] as const;
export type Cut = (typeof CUTS)[number];

/** What becomes of one change: it is lost, there, cut within, or only its size is there. */
type Fate = "lost" | "there" | "torn" | "zero";

/** A crash image of a disk. The same random numbers give the same image. */
export function cutPower(disk: Disk, cut: Cut, random: () => number): DiskImage {
  const fates = fatesOf(disk, cut, random);
  const files = new Map<string, ImageFile>();
  const folders = new Set<string>();
  const walk = (folder: Folder, at: string): void => {
    folders.add(at);
    const fate = fates(folder);
    const names = new Map(folder.durable);
    for (const change of folder.pending) if (fate(change.time) !== "lost") setNames(names, change);
    for (const [name, node] of names) {
      const inside = at === "" ? name : `${at}/${name}`;
      if (node instanceof Folder) walk(node, inside);
      else files.set(inside, imageOf(node, fates(node), random));
    }
  };
  walk(disk.root, "");
  return { how: cut, files, folders };
}

function fatesOf(disk: Disk, cut: Cut, random: () => number): (of: File | Folder) => (time: number) => Fate {
  if (cut === "mixed") {
    const single = CUTS.slice(0, -1);
    return () => fatesOf(disk, single[Math.floor(random() * single.length)] as Cut, random)(disk.root);
  }
  if (cut === "nothing") return () => () => "lost";
  if (cut === "all") return () => () => "there";
  if (cut === "whole") {
    return (of) => {
      const fate = random() < 0.5 ? "there" : "lost";
      return () => (of instanceof File ? fate : random() < 0.5 ? "there" : "lost");
    };
  }
  if (cut === "prefix") {
    const times = pendingTimes(disk);
    const last = times[Math.floor(random() * times.length)] ?? 0;
    return () => (time) => (time < last ? "there" : time === last ? "torn" : "lost");
  }
  const part = random();
  const other = cut === "torn" ? "torn" : "zero";
  if (cut === "some") return () => () => (random() < part ? "there" : "lost");
  return () => () => (random() < part ? (random() < 0.5 ? other : "there") : "lost");
}

function pendingTimes(disk: Disk): number[] {
  const times: number[] = [];
  const seen = new Set<File | Folder>();
  const walk = (node: File | Folder): void => {
    if (seen.has(node)) return;
    seen.add(node);
    for (const { time } of node.pending) times.push(time);
    if (node instanceof File) return;
    for (const inside of node.durable.values()) walk(inside);
    for (const inside of node.now.values()) walk(inside);
  };
  walk(disk.root);
  return times.sort((a, b) => a - b);
}

function imageOf(file: File, fate: (time: number) => Fate, random: () => number): ImageFile {
  if (file.pending.length === 0) return { key: `${file.id}.${file.version}`, bytes: () => file.durable };
  const fates = file.pending.map((change) => fate(change.time));
  // Torn writes draw from a generator of their own, so that the bytes are made only when they are looked at.
  const tearing = fates.includes("torn") ? Math.floor(random() * 2 ** 31) : 0;
  const key = `${file.id}.${file.version}.${fates.map((one) => one[0]).join("")}.${tearing}`;
  const { durable, pending } = file;
  return { key, bytes: () => build(durable, pending, fates, tearing) };
}

const SECTOR = 512;

function build(
  durable: Buffer,
  pending: readonly FileChange[],
  fates: readonly Fate[],
  tearing: number,
): Buffer {
  const most = pending.reduce(
    (size, change) => Math.max(size, "size" in change ? change.size : change.at + change.data.length),
    durable.length,
  );
  const out = Buffer.alloc(most);
  durable.copy(out);
  let size = durable.length;
  let state = tearing;
  const random = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 8) / 2 ** 24;
  };
  pending.forEach((change, i) => {
    const fate = fates[i];
    if (fate === "lost") return;
    if ("size" in change) {
      if (change.size < size) out.fill(0, change.size, size);
      size = change.size;
      return;
    }
    const { at, data } = change;
    if (fate === "there") {
      data.copy(out, at);
      size = Math.max(size, at + data.length);
    } else if (fate === "zero") {
      // The file has grown, but none of the bytes came.
      size = Math.max(size, at + data.length);
    } else {
      let end = size;
      for (let from = 0; from < data.length;) {
        const to = Math.min(data.length, from + SECTOR - ((at + from) % SECTOR));
        const draw = random();
        if (draw < 0.5) data.copy(out, at + from, from, to);
        else if (draw < 0.6) out.fill(0, at + from, at + to);
        else if (draw < 0.7) for (let j = from; j < to; j += 1) out[at + j] = Math.floor(random() * 256);
        if (draw < 0.7) end = Math.max(end, at + to);
        from = to;
      }
      size = random() < 0.5 ? end : Math.max(end, at + data.length);
    }
  });
  return out.subarray(0, size);
}
