import * as z from "zod";
import { SkaldError } from "../errors.ts";
import { blake3, toHex } from "../ids/hash.ts";
import { SERVER_FILES } from "./server-files.ts";

/**
 * What one run of a backup has: by name and hash every file that is needed to restore it. JSON in one line, and
 * in a second line the hash of the first. It is written last, so whatever it names is there and durable.
 */
const Hash = z.string().regex(/^[0-9a-f]{64}$/);
const Uid = z.string().regex(/^[0-9a-f]{32}$/);
const Seq = z.int().min(0);
const Commit = z.string().nullable();

const PackEntry = z.strictObject({
  hash: Hash,
  bytes: z.int().min(0),
  /** The commits in the file. */
  first: z.int().min(1),
  last: z.int().min(1),
  /** The commits from here on stand in the next pack in another form, or are not of this line any more. */
  up_to: z.int().min(1),
  /** Address of commit `up_to`. */
  commit: z.string(),
});

const DbEntry = z.strictObject({
  db: z.string(),
  uid: Uid,
  created: z.int(),
  /** The actor that the server authored with: a restored db gets one of its own. */
  actor: Uid,
  taken: z.string(),
  seq: Seq,
  commit: Commit,
  /** The lives after the first one. */
  lives: z.array(z.strictObject({ epoch: z.int().min(2), after: Seq })),
  /** Hash of the durable subscriptions, as `subscriptions.ts` writes them. */
  subscriptions: Hash.nullable(),
  packs: z.array(PackEntry),
});

const FileEntry = z.strictObject({
  name: z.enum(SERVER_FILES),
  bytes: z.int().min(0),
  blocks: z.array(Hash),
});

const ManifestShape = z.strictObject({
  format: z.literal("skald-backup"),
  version: z.literal(1),
  number: z.int().min(1),
  made: z.string(),
  /** The program that made it. */
  skald: z.string(),
  /** The server's own files, each in blocks: tokens, secrets, remotes, the audit log; the keys that it signs with. */
  files: z.array(FileEntry),
  dbs: z.array(DbEntry),
  /** What could not be read this time. What `dbs` has of it, if anything, is from an earlier run. */
  failed: z.array(z.strictObject({ what: z.string(), code: z.string(), detail: z.string() })),
});

export type Manifest = z.infer<typeof ManifestShape>;
export type DbEntry = z.infer<typeof DbEntry>;
export type FileEntry = z.infer<typeof FileEntry>;
export type PackEntry = z.infer<typeof PackEntry>;

export function encodeManifest(manifest: Manifest): string {
  const line = JSON.stringify(manifest);
  return `${line}\nblake3 ${toHex(blake3(Buffer.from(line)))}\n`;
}

/** Throws BACKUP_DAMAGED. `file` is for the error. */
export function decodeManifest(text: string, file: string): Manifest {
  const [line, sum, rest, ...more] = text.split("\n");
  if (
    line === undefined ||
    rest !== "" ||
    more.length > 0 ||
    sum !== `blake3 ${toHex(blake3(Buffer.from(line)))}`
  )
    throw backupDamaged(file, "it is not as it was written");
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw backupDamaged(file, "it is no JSON");
  }
  const { version } = (value ?? {}) as { version?: unknown };
  if (typeof version === "number" && version > 1)
    throw new SkaldError("BACKUP_DAMAGED", `${file} was written by a newer Skald.`, {
      hint: "Restore it with that version.",
      details: { file },
    });
  const read = ManifestShape.safeParse(value);
  if (!read.success) throw backupDamaged(file, read.error.issues[0]?.message ?? "another shape");
  for (const entry of read.data.dbs) checkPacks(entry, file);
  return read.data;
}

/** That the packs of a db follow each other up to its head. */
function checkPacks({ db, seq, commit, packs }: DbEntry, file: string): void {
  let next = 1;
  for (const { first, last, up_to } of packs) {
    if (first !== next || up_to < first || up_to > last)
      throw backupDamaged(file, `the packs of ${db} do not follow each other at commit ${next}`);
    next = up_to + 1;
  }
  if (next !== seq + 1 || (packs.at(-1)?.commit ?? null) !== commit)
    throw backupDamaged(file, `the packs of ${db} do not end at commit ${seq}`);
}

/** The error for a file of a backup that is not what it was. */
export function backupDamaged(file: string, what: string, details: { seq?: number } = {}): SkaldError {
  return new SkaldError("BACKUP_DAMAGED", `${file} is damaged: ${what}.`, {
    details: { file, ...details },
  });
}
