import { readFileSync } from "node:fs";
import { CODEC_DAG_CBOR, CODEC_RAW, cidFromString, cidOf, cidToString } from "../src/ids/cid.ts";
import { decodeCursor, encodeCursor } from "../src/ids/cursor.ts";
import { fromBase58Check, toBase58Check } from "../src/ids/document-id.ts";
import { blake3, fromHex, toHex } from "../src/ids/hash.ts";
import { dbFolder } from "../src/ids/names.ts";
import { decodeCommit, encodeCommit, type Commit } from "../src/log/commit.ts";
import { documentIdOf } from "../src/log/genesis.ts";
import { decodeRecord, encodeRecord } from "../src/log/record.ts";

// What is pinned here is on disks, in links and at clients. A test that fails says which of it moved:
// then the data that is out there no longer reads, and the change wants a new version, not new fixtures.

function fixture<T>(file: string): T {
  return JSON.parse(readFileSync(new URL(`../fixtures/${file}`, import.meta.url), "utf8")) as T;
}

interface CommitFixture {
  name: string;
  commit: Omit<Commit, "db" | "parents" | "events" | "entries"> & {
    db: string;
    parents: string[];
    events: string[];
    entries: (Omit<Commit["entries"][number], "changes"> & { changes: string[] })[];
  };
  bytes: string;
  address: string;
}

function commitOf({ commit }: CommitFixture): Commit {
  return {
    ...commit,
    db: fromHex(commit.db),
    parents: commit.parents.map(cidFromString),
    events: commit.events.map(cidFromString),
    entries: commit.entries.map((entry) => ({ ...entry, changes: entry.changes.map(cidFromString) })),
  };
}

const plain = (commit: Commit): unknown =>
  JSON.parse(
    JSON.stringify(commit, (_, value: unknown) =>
      ArrayBuffer.isView(value) ? toHex(value as Uint8Array) : value,
    ),
  );

describe("the format of", () => {
  const commits = fixture<CommitFixture[]>("log/commits.json");
  test.each(commits.map((pinned) => [pinned.name, pinned] as const))("a commit %s stays", (_, pinned) => {
    const commit = commitOf(pinned);
    expect(toHex(encodeCommit(commit))).toBe(pinned.bytes);
    expect(cidToString(cidOf(CODEC_DAG_CBOR, fromHex(pinned.bytes)))).toBe(pinned.address);
    expect(plain(decodeCommit(fromHex(pinned.bytes)))).toEqual(plain(commit));
  });

  const records =
    fixture<{ name: string; commit: string; blocks: string[]; clientTxId: string; bytes: string }[]>(
      "log/records.json",
    );
  test.each(records.map((pinned) => [pinned.name, pinned] as const))("a record %s stays", (_, pinned) => {
    const commit = fromHex(pinned.commit);
    const { clientTxId } = pinned;
    const body = encodeRecord({
      digest: blake3(commit),
      commit,
      blocks: pinned.blocks.map(fromHex),
      clientTxId,
    });
    expect(toHex(body)).toBe(pinned.bytes);
    const back = decodeRecord(fromHex(pinned.bytes), 1);
    expect(toHex(back.commit)).toBe(pinned.commit);
    expect(back.blocks.map(toHex)).toEqual(pinned.blocks);
    expect(back.clientTxId).toBe(clientTxId);
  });

  const ids = fixture<{
    addresses: { codec: string; text: string; address: string }[];
    documentIds: { uid: string; collection: string; key: string; documentId: string; url: string }[];
    cursors: { uid: string; epoch: number; seq: number; cursor: string }[];
    folders: { dbId: string; folder: string }[];
  }>("ids/ids.json");

  test.each(ids.addresses)("the $codec address of '$text' stays", ({ codec, text, address }) => {
    const cid = cidOf(codec === "raw" ? CODEC_RAW : CODEC_DAG_CBOR, new Uint8Array(Buffer.from(text)));
    expect(cidToString(cid)).toBe(address);
    expect(toHex(cidFromString(address))).toBe(toHex(cid));
  });

  test.each(ids.documentIds)(
    "the document id of $collection/$key stays",
    ({ uid, collection, key, documentId, url }) => {
      expect(toHex(documentIdOf(fromHex(uid), collection, key))).toBe(documentId);
      expect(toBase58Check(fromHex(documentId))).toBe(url);
      expect(toHex(fromBase58Check(url))).toBe(documentId);
    },
  );

  test.each(ids.cursors)("the cursor of epoch $epoch, seq $seq stays", ({ uid, epoch, seq, cursor }) => {
    expect(encodeCursor(fromHex(uid), { epoch, seq })).toBe(cursor);
    expect(decodeCursor(fromHex(uid), cursor)).toEqual({ epoch, seq });
  });

  test.each(ids.folders)("the folder of the db $dbId stays", ({ dbId, folder }) => {
    expect(dbFolder(dbId)).toBe(folder);
  });
});
