import { readFileSync } from "node:fs";
import { CODEC_DAG_CBOR, CODEC_RAW, cidFromString, cidOf, cidToString } from "../src/ids/cid.ts";
import { decodeCheckpoint, encodeCheckpoint, signedCheckpoint } from "../src/ids/checkpoint.ts";
import { parseDidKey } from "../src/ids/did-key.ts";
import { isSignature, signerOf } from "../src/ids/ed25519.ts";
import { decodeCursor, encodeCursor } from "../src/ids/cursor.ts";
import { fromBase58Check, toBase58Check } from "../src/ids/document-id.ts";
import { blake3, fromHex, sha256Hex, toHex } from "../src/ids/hash.ts";
import { dbFolder } from "../src/ids/names.ts";
import { decodeCommit, encodeCommit, type Commit } from "../src/log/commit.ts";
import { documentIdOf } from "../src/log/genesis.ts";
import { rotationEvent, signCommit } from "../src/log/signature.ts";
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

  test.each([
    ["history-1.car", "ea08710ebd18bab86883a966486fab0a384a8474fd9f563ad911603dd9bc1958"],
    ["state-1.car", "710ed627776dde9c63a05dd3095eef29331340095e1adc4d46d6c3a23a36b983"],
  ])("the golden archive %s stays", (name, hash) => {
    expect(sha256Hex(readFileSync(new URL(`../fixtures/archive/${name}`, import.meta.url)))).toBe(hash);
  });

  test.each(ids.folders)("the folder of the db $dbId stays", ({ dbId, folder }) => {
    expect(dbFolder(dbId)).toBe(folder);
  });

  const checkpoints = fixture<
    {
      name: string;
      secret: string | null;
      uid: string;
      branch: string;
      seq: number;
      commit: string | null;
      time: number | null;
      signer: string | null;
      text: string;
    }[]
  >("ids/checkpoints.json");
  test.each(checkpoints)("a checkpoint $name stays", ({ secret, uid, signer, text, ...pinned }) => {
    const of = {
      uid: fromHex(uid),
      branch: pinned.branch,
      seq: pinned.seq,
      commit: pinned.commit === null ? undefined : cidFromString(pinned.commit),
      time: pinned.time ?? undefined,
    };
    const made = signedCheckpoint(of, secret === null ? undefined : signerOf(fromHex(secret)));
    expect(made.signed?.signer ?? null).toBe(signer);
    expect(encodeCheckpoint(made)).toBe(text);
    const read = decodeCheckpoint(text);
    expect(encodeCheckpoint(read)).toBe(text);
    expect([read.seq, read.branch, toHex(read.uid), read.time ?? null]).toEqual([
      pinned.seq,
      pinned.branch,
      uid,
      pinned.time,
    ]);
    expect(read.commit ? cidToString(read.commit) : null).toBe(pinned.commit);
  });

  const signed = fixture<{
    secret: string;
    unsigned: string;
    signer: string;
    signature: string;
    bytes: string;
    rotation: { from: string; to: string; event: string };
  }>("log/signed.json");
  test("a signed commit and of a key's end stays", () => {
    const signer = signerOf(fromHex(signed.secret));
    const commit = signCommit(decodeCommit(fromHex(signed.unsigned)), signer);
    expect(signer.did).toBe(signed.signer);
    expect(toHex(commit.signed?.signature ?? new Uint8Array(0))).toBe(signed.signature);
    expect(toHex(encodeCommit(commit))).toBe(signed.bytes);
    // What is signed, without our own code: the prefix and the bytes of the commit without the two fields.
    const message = Buffer.concat([Buffer.from("skald commit 1\n"), fromHex(signed.unsigned)]);
    expect(isSignature(signed.signer, message, fromHex(signed.signature))).toBe(true);
    expect(toHex(rotationEvent(signed.rotation))).toBe(signed.rotation.event);
  });

  test("a did:key and an Ed25519 signature is that of others", () => {
    // The method's first test vector: 32 zeros as the secret.
    const zeros = signerOf(new Uint8Array(32));
    expect(zeros.did).toBe("did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp");
    expect(toHex(parseDidKey(zeros.did) ?? new Uint8Array(0))).toBe(
      "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29",
    );
    // RFC 8032, section 7.1, test 1.
    const first = signerOf(fromHex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"));
    expect(toHex(first.sign(new Uint8Array(0)))).toBe(
      "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    );
  });
});
