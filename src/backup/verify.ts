import { isSkaldError } from "../errors.ts";
import { cidFromString } from "../ids/cid.ts";
import { fromHex } from "../ids/hash.ts";
import { RecordChain } from "./chain.ts";
import { readPart, readServerFile } from "./contents.ts";
import { manifestName, objectName, packName, type BackupFolder } from "./folder.ts";
import type { DbEntry, Manifest } from "./manifest.ts";
import { decodeSubscriptions } from "./subscription-rows.ts";

export interface BackupProblem {
  /** In the backup's folder. */
  readonly file: string;
  /** The commit where it shows. */
  readonly seq?: number;
  readonly what: string;
  /** The manifests that need it. */
  readonly manifests: readonly number[];
}

export interface BackupVerdict {
  readonly manifests: number;
  readonly commits: number;
  readonly bytes: number;
  readonly problems: readonly BackupProblem[];
}

/** Reads everything that manifests name: every hash, every record, and that the commits follow each other. */
export async function verifyBackup(
  folder: BackupFolder,
  onProgress: (commits: number, bytes: number) => void = () => {},
): Promise<BackupVerdict> {
  const check = new Check(folder, onProgress);
  const numbers = folder.numbers();
  for (const number of numbers.toReversed()) await check.manifest(number);
  return {
    manifests: numbers.length,
    commits: check.commits,
    bytes: check.bytes,
    problems: [...check.problems.values()],
  };
}

class Check {
  commits = 0;
  bytes = 0;
  readonly problems = new Map<string, BackupProblem>();
  readonly #folder: BackupFolder;
  readonly #onProgress: (commits: number, bytes: number) => void;
  /** What was read, by all that says what it is: a pack is in many manifests. */
  readonly #done = new Map<string, BackupProblem | undefined>();

  constructor(folder: BackupFolder, onProgress: (commits: number, bytes: number) => void) {
    this.#folder = folder;
    this.#onProgress = onProgress;
  }

  async manifest(number: number): Promise<void> {
    const file = manifestName(number);
    let manifest: Manifest | undefined;
    await this.#once(number, file, file, () => {
      manifest = this.#folder.manifest(number);
    });
    if (!manifest) return;
    for (const entry of manifest.files) {
      for (const hash of entry.blocks)
        await this.#once(number, hash, objectName(hash), () => {
          this.bytes += this.#folder.object(hash).length;
        });
      await this.#once(number, `${file} ${entry.name}`, file, () => {
        for (const _ of readServerFile(this.#folder, entry));
      });
    }
    for (const entry of manifest.dbs) await this.#db(number, entry);
  }

  async #db(number: number, { uid, packs, subscriptions }: DbEntry): Promise<void> {
    if (subscriptions !== null)
      await this.#once(number, subscriptions, objectName(subscriptions), () => {
        const bytes = this.#folder.object(subscriptions);
        decodeSubscriptions(bytes, objectName(subscriptions));
        this.bytes += bytes.length;
      });
    let before: string | undefined;
    for (const pack of packs) {
      const at = { seq: pack.first - 1, cid: before === undefined ? undefined : cidFromString(before) };
      const key = `${uid} ${pack.hash} ${pack.up_to} ${before}`;
      before = pack.commit;
      await this.#once(number, key, packName(uid, pack), async () => {
        const chain = new RecordChain(fromHex(uid), at);
        for await (const { first, seq, body } of readPart(this.#folder, uid, pack, chain)) {
          this.commits += seq - first + 1;
          this.bytes += body.length;
          this.#onProgress(this.commits, this.bytes);
        }
      });
    }
  }

  async #once(number: number, key: string, file: string, work: () => void | Promise<void>): Promise<void> {
    if (!this.#done.has(key)) {
      this.#done.set(key, undefined);
      try {
        await work();
      } catch (error) {
        if (!isSkaldError(error)) throw error;
        const { seq, file: named = file } = error.details as { seq?: number; file?: string };
        const what = error.message;
        this.#done.set(key, { file: named, what, manifests: [], ...(seq === undefined ? {} : { seq }) });
      }
    }
    const problem = this.#done.get(key);
    if (!problem) return;
    const id = `${problem.file} ${problem.seq} ${problem.what}`;
    const known = this.problems.get(id) ?? problem;
    if (known.manifests.includes(number)) return;
    this.problems.set(id, { ...known, manifests: [...known.manifests, number] });
  }
}
