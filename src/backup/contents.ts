import { cidToString } from "../ids/cid.ts";
import { fromHex } from "../ids/hash.ts";
import { isBundle } from "../log/bundle.ts";
import { bodyOf } from "../log/stored-commit.ts";
import { isSkaldError } from "../errors.ts";
import { RecordChain } from "./chain.ts";
import { packName, type BackupFolder } from "./folder.ts";
import { backupDamaged, type DbEntry, type FileEntry, type PackEntry } from "./manifest.ts";
import { readPack } from "./pack.ts";

/** A body of a db's line: a record, or a bundle in the place of several. */
export interface LineBody {
  readonly first: number;
  readonly seq: number;
  readonly body: Uint8Array;
}

/**
 * Everything that a manifest has of a db, each record checked and the packs compared with their hashes. Ends when
 * the line is whole. Throws BACKUP_DAMAGED with the file, and the seq where that is known.
 */
export async function* readLine(folder: BackupFolder, entry: DbEntry): AsyncGenerator<LineBody, void> {
  const chain = new RecordChain(fromHex(entry.uid), { seq: 0, cid: undefined });
  for (const pack of entry.packs) yield* readPart(folder, entry.uid, pack, chain);
}

/** The same of one pack, which goes on from where the chain is. */
export async function* readPart(
  folder: BackupFolder,
  uid: string,
  pack: PackEntry,
  chain: RecordChain,
): AsyncGenerator<LineBody, void> {
  const file = packName(uid, pack);
  if (chain.at.seq !== pack.first - 1)
    throw backupDamaged(file, `it does not begin after commit ${chain.at.seq}`);
  for await (const { first, last, body } of readPack(folder.packFile(uid, pack), { ...pack, uid }, file)) {
    // The rest is there for an older manifest: its bytes count for the hash, and what they are does not.
    if (first > pack.up_to) continue;
    try {
      const commits = chain.open(body);
      if (commits[0]?.commit.seq !== first || commits.length !== last - first + 1)
        throw backupDamaged(file, `a body is not commits ${first} to ${last}`, { seq: first });
      if (last <= pack.up_to) {
        chain.follow(commits);
        yield { first, seq: last, body };
        continue;
      }
      for (const stored of commits.slice(0, pack.up_to - first + 1)) {
        chain.follow([stored]);
        const { seq } = stored.commit;
        yield { first: seq, seq, body: bodyOf(stored) };
      }
    } catch (error) {
      if (!isSkaldError(error) || error.code === "BACKUP_DAMAGED") throw error;
      const { seq = chain.at.seq + 1 } = error.details as { seq?: number };
      throw backupDamaged(file, error.message, { seq });
    }
  }
  const { seq, cid } = chain.at;
  if (seq !== pack.up_to || !cid || cidToString(cid) !== pack.commit)
    throw backupDamaged(file, `commit ${pack.up_to} is not the one that the manifest names`, {
      seq: pack.up_to,
    });
}

/** The same with bundles made single where single records stand before them: a log begins with its bundles. */
export async function* readForLog(folder: BackupFolder, entry: DbEntry): AsyncGenerator<LineBody, void> {
  let single = false;
  const uid = fromHex(entry.uid);
  for await (const line of readLine(folder, entry)) {
    single ||= !isBundle(line.body);
    if (!single || !isBundle(line.body)) {
      yield line;
      continue;
    }
    const commits = new RecordChain(uid, { seq: line.first - 1, cid: undefined }).open(line.body);
    for (const stored of commits) {
      const { seq } = stored.commit;
      yield { first: seq, seq, body: bodyOf(stored) };
    }
  }
}

/** The bytes of a file of the server. Throws BACKUP_DAMAGED. */
export function* readServerFile(folder: BackupFolder, { name, bytes, blocks }: FileEntry): Generator<Buffer> {
  let total = 0;
  for (const hash of blocks) {
    const block = folder.object(hash);
    total += block.length;
    yield block;
  }
  if (total !== bytes) throw backupDamaged(name, `it has ${total} bytes, not ${bytes}`);
}
