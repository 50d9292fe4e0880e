import { mkdtempSync } from "node:fs";
import path from "node:path";
import * as fc from "fast-check";
import { signerOf, type Signer } from "../../src/ids/ed25519.ts";
import { blake3 } from "../../src/ids/hash.ts";
import { decodeCommit, encodeCommit, type Commit } from "../../src/log/commit.ts";
import { CommitScan, type RawCommit } from "../../src/log/commit-scan.ts";
import { packBundle, unpackBundle } from "../../src/log/bundle.ts";
import { encodeEvent } from "../../src/log/event.ts";
import { Log, type Receipt } from "../../src/log/log.ts";
import { SERVER, rotationEvent, rotationTxId, signCommit, wrongSignature } from "../../src/log/signature.ts";
import { decodeRecord, encodeRecord } from "../../src/log/record.ts";
import type { StoredCommit } from "../../src/log/stored-commit.ts";
import { verifyLog } from "../../src/log/verify.ts";
import type { LogStorage, StoredRecord } from "../../src/store/contract.ts";
import { openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { createSqliteLog } from "../../src/store/sqlite-log.ts";
import { StorageAround } from "../support/broken-builds.ts";
import { seedOf } from "../support/fault-process.ts";
import { memoryDir } from "../support/temp-dir.ts";
import { ACTORS, copyOf, createLog, lastChange, openLog, refusal, set, tx, write } from "./fixture.ts";

const root = memoryDir();
const seed = seedOf();
const KEYS = [1, 2, 3].map((n) => signerOf(new Uint8Array(32).fill(n))) as [Signer, Signer, Signer];
const [FIRST, SECOND, THIRD] = KEYS;
const NOBODY = { retired: () => false };

function verdictOf(storage: LogStorage) {
  const steps = verifyLog(storage);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** Documents of their own, so that each write is one change. */
let names = 0;
function once(log: Log): Promise<Receipt> {
  const doc = `notes/${++names}`;
  return log.write(tx(write(doc, [lastChange(set(copyOf(log, doc, ACTORS[0]), { n: names }))])));
}

const rotate = (log: Log, from: Signer, to: Signer): Promise<Receipt> =>
  log.write(
    tx([], {
      author: SERVER,
      clientTxId: rotationTxId(from.did),
      events: [rotationEvent({ from: from.did, to: to.did })],
    }),
  );

const signersIn = (log: Log): (string | undefined)[] =>
  Array.from({ length: log.head().seq }, (_, i) => log.commit(i + 1)?.commit.signed?.signer);

test("a commit is signed by the key of its server, and what is signed is all of it", async () => {
  const { log, storage } = createLog(root, { signers: () => [FIRST] });
  await once(log);
  const { commit, bytes } = log.commit(1) as StoredCommit;
  expect(commit.signed?.signer).toBe(FIRST.did);
  expect(commit.signed?.signature).toHaveLength(64);
  const { signed: _, ...unsigned } = commit;
  expect(Buffer.from(encodeCommit(signCommit(unsigned, FIRST)))).toEqual(Buffer.from(bytes));
  expect(verdictOf(storage)).toMatchObject({ findings: [] });
  expect(verdictOf(storage).walk.signatures).toMatchObject({ commits: 1, rotations: [] });
  await log.close();
});

test("writers that share an append each have a signature of their own", async () => {
  const { log, storage } = createLog(root, { signers: () => [FIRST] });
  await Promise.all([once(log), once(log), once(log)]);
  expect(new Set(signersIn(log))).toEqual(new Set([FIRST.did]));
  const signatures = [1, 2, 3].map((seq) => Buffer.from(log.commit(seq)?.commit.signed?.signature ?? []));
  expect(new Set(signatures.map((bytes) => bytes.toString("hex"))).size).toBe(3);
  expect(verdictOf(storage).findings).toEqual([]);
  await log.close();
});

test("without a key not a byte is another", async () => {
  const { log } = createLog(root);
  await once(log);
  const { bytes } = log.commit(1) as StoredCommit;
  expect(Buffer.from(bytes).includes("sign")).toBe(false);
  await log.close();
});

test("a signature goes through bundles, scans and restarts as it is", async () => {
  const { log, storage, folder } = createLog(root, { signers: () => [FIRST] });
  for (let n = 0; n < 6; n += 1) await once(log);
  const before = log.commits(1, 10).map(({ bytes }) => Buffer.from(bytes));
  const bundle = packBundle(log.identity.uid, log.commits(1, 10));
  expect(unpackBundle(log.identity.uid, bundle).map(({ bytes }) => Buffer.from(bytes))).toEqual(before);
  await log.compact(packBundle, { upTo: 4 });
  expect(verdictOf(storage).walk.signatures.commits).toBe(6);
  const scan = new CommitScan();
  const [raw] = log.rawCommits(5, 1);
  scan.read(raw as RawCommit);
  expect(scan.seq).toBe(5);
  await log.close();
  const again = openLog(folder);
  expect(Array.from({ length: 6 }, (_, i) => Buffer.from(again.log.commit(i + 1)?.bytes ?? []))).toEqual(
    before,
  );
  await again.log.close();
});

test(`a signature of anything else is found, whatever is another (seed ${seed})`, async () => {
  const { log } = createLog(root, { signers: () => [FIRST] });
  await once(log);
  const sound = log.commit(1) as StoredCommit;
  const signed = sound.commit.signed as NonNullable<Commit["signed"]>;
  expect(wrongSignature(sound, NOBODY)).toBeUndefined();
  const flipped = (bytes: Uint8Array, at: number): Uint8Array =>
    bytes.map((byte, i) => (i === (at >> 3) % bytes.length ? byte ^ (1 << (at & 7)) : byte));
  const fields: fc.Arbitrary<Partial<Commit>> = fc.oneof(
    fc.record({ time: fc.nat() }),
    fc.record({ seq: fc.nat() }),
    fc.record({ author: fc.string() }),
    fc.record({ message: fc.string() }),
    fc.nat(127).map((at) => ({ db: flipped(sound.commit.db, at) })),
    fc.nat(511).map((at) => ({ signed: { ...signed, signature: flipped(signed.signature, at) } })),
    fc.constantFrom(SECOND.did, "", "did:key:", `${FIRST.did}1`, "did:web:example.com").map((signer) => ({
      signed: { ...signed, signer },
    })),
    fc
      .nat(70)
      .filter((n) => n !== 64)
      .map((n) => ({ signed: { ...signed, signature: new Uint8Array(n) } })),
    fc.constant({ entries: [] }),
    fc.constant({ line: sound.cid }),
    fc.constant({ parents: [sound.cid] }),
  );
  fc.assert(
    fc.property(fields, (field) => {
      const commit = { ...sound.commit, ...field };
      const same = Buffer.compare(encodeCommit(commit), sound.bytes) === 0;
      // As it would be read: from its bytes.
      const read = { ...sound, commit: decodeCommit(encodeCommit(commit)) };
      expect(wrongSignature(read, NOBODY) === undefined).toBe(same);
    }),
    { numRuns: 200, seed },
  );
  await log.close();
});

describe("a key that another one follows", () => {
  test("says so in the log with its last signature, and the other one signs from there on", async () => {
    const { log, storage, folder } = createLog(root, { signers: () => [FIRST, SECOND] });
    await once(log);
    const [, rotated] = await Promise.all([once(log), rotate(log, FIRST, SECOND), once(log)]);
    expect(signersIn(log)).toEqual([FIRST.did, FIRST.did, FIRST.did, SECOND.did]);
    expect(rotated.seq).toBe(3);
    expect(await rotate(log, FIRST, SECOND)).toMatchObject({ seq: 3, duplicate: true });
    const { findings, walk } = verdictOf(storage);
    expect({ findings, rotations: walk.signatures.rotations }).toEqual({
      findings: [],
      rotations: [{ seq: 3, from: FIRST.did, to: SECOND.did }],
    });
    await log.close();
    // Who signs follows from the log, not from what this process did.
    const again = openLog(folder, { signers: () => [FIRST, SECOND] });
    await once(again.log);
    expect(signersIn(again.log).at(-1)).toBe(SECOND.did);
    // A key that was put back does not sign again.
    expect(again.log.signer()?.did).toBe(SECOND.did);
    await again.log.close();
    const old = openLog(folder, { signers: () => [FIRST] });
    await once(old.log);
    expect(signersIn(old.log).at(-1)).toBeUndefined();
    expect(verdictOf(old.storage).findings).toEqual([]);
    await old.log.close();
  });

  test("is retired by nobody else, and not by what only looks like it", async () => {
    const { log } = createLog(root, { signers: () => [FIRST] });
    await once(log);
    expect((await refusal(rotate(log, SECOND, THIRD))).code).toBe("KEY_NOT_CURRENT");
    // A client_tx_id that somebody made up, with a write of his own.
    const doc = "notes/x";
    const changes = [lastChange(set(copyOf(log, doc, ACTORS[0]), { n: 1 }))];
    const made = tx(write(doc, changes), { author: SERVER, clientTxId: rotationTxId(FIRST.did) });
    expect((await refusal(log.write(made))).code).toBe("KEY_NOT_CURRENT");
    await once(log);
    expect(signersIn(log)).toEqual([FIRST.did, FIRST.did]);
    await log.close();
  });

  const event = rotationEvent({ from: FIRST.did, to: SECOND.did });
  const good = { author: SERVER, clientTxId: rotationTxId(FIRST.did), events: [event], signer: FIRST };
  test.each([
    ["is signed by another", { ...good, signer: SECOND }, /did not sign it/],
    ["is by another author", { ...good, author: "ann" }, /form that is none/],
    ["has another client_tx_id", { ...good, clientTxId: "x" }, /form that is none/],
    ["retires twice", { ...good, events: [event, event] }, /form that is none/],
    [
      "names itself",
      { ...good, events: [rotationEvent({ from: FIRST.did, to: FIRST.did })] },
      /form that is none/,
    ],
    [
      "names no key",
      { ...good, events: [rotationEvent({ from: FIRST.did, to: "me" })] },
      /form that is none/,
    ],
    ["has another event", { ...good, events: [encodeEvent({ type: "key.other" })] }, /does not/],
    ["has no event", { ...good, events: [] }, /does not/],
  ] as const)("by a commit that %s is wrong", async (_, { author, clientTxId, events, signer }, wrong) => {
    const { log } = createLog(root, { signers: () => [signer] });
    // Written by a server that does not look: under another id, which is then put right.
    await log.write(
      tx([], { author, clientTxId: "", events: events.length > 0 ? events : [encodeEvent({ type: "a.b" })] }),
    );
    const stored = log.commit(1) as StoredCommit;
    const { signed: _s, ...commit } = stored.commit;
    const cut = events.length === 0 ? { ...commit, events: [] } : commit;
    const seen = {
      ...stored,
      commit: signCommit(cut, signer),
      clientTxId,
      blocks: events.length === 0 ? [] : stored.blocks,
    };
    expect(wrongSignature(seen, NOBODY)).toMatch(wrong);
    await log.close();
  });

  test("signs nothing on that line after that: what it does sign is found", async () => {
    const spoilt = (sound: LogStorage): LogStorage =>
      new (class extends StorageAround {
        override append(records: readonly StoredRecord[]): Promise<void> {
          return super.append(
            records.map((record) => (record.seq === 3 ? signedAgain(record, FIRST) : record)),
          );
        }
      })(sound);
    const { log, storage } = createLog(root, { signers: () => [FIRST, SECOND] }, spoilt);
    await once(log);
    await rotate(log, FIRST, SECOND);
    await once(log);
    expect(verdictOf(storage).findings).toEqual([
      {
        what: "signature",
        where: expect.stringMatching(/^commit 3: it is signed by did:key:z6Mk\w+, which .* retires$/),
      },
    ]);
    await log.close();
  });
});

/** A record with its commit signed by another key. */
function signedAgain({ seq, body }: StoredRecord, signer: Signer): StoredRecord {
  const { blocks, clientTxId, commit: bytes } = decodeRecord(body, seq);
  const commit = encodeCommit(signCommit(decodeCommit(bytes), signer));
  return { seq, body: encodeRecord({ digest: blake3(commit), commit, blocks, clientTxId }) };
}

describe("what another server sends", () => {
  const copyFor = (uid: Uint8Array): { log: Log; storage: LogStorage } => {
    const folder = path.join(mkdtempSync(path.join(root, "copy-")), "db");
    const storage = createSqliteLog(folder, "copy", { reserve: 0, uid });
    return { storage, log: new Log(storage, openSqliteCatalog(folder), { signers: () => [THIRD] }) };
  };

  test("keeps its signatures, whoever signs here, and its keys are followed", async () => {
    const { log } = createLog(root, { signers: () => [FIRST, SECOND] });
    await once(log);
    await rotate(log, FIRST, SECOND);
    await once(log);
    const copy = copyFor(log.identity.uid);
    await copy.log.receive(
      { seq: 0, cid: undefined },
      log.bodies(1, 10, Infinity).map(({ body }) => body),
    );
    await once(copy.log);
    expect(signersIn(copy.log)).toEqual([FIRST.did, FIRST.did, SECOND.did, THIRD.did]);
    const { findings, walk } = verdictOf(copy.storage);
    expect({ findings, rotations: walk.signatures.rotations.length }).toEqual({ findings: [], rotations: 1 });
    await Promise.all([log.close(), copy.log.close()]);
  });

  test("is refused when a signature is not right, or its key was retired, and nothing of it is kept", async () => {
    const { log } = createLog(root, { signers: () => [FIRST, SECOND] });
    await once(log);
    await rotate(log, FIRST, SECOND);
    await once(log);
    const records = log.bodies(1, 10, Infinity);
    const bad = (seq: number, worse: (record: StoredRecord) => StoredRecord): Uint8Array[] =>
      records.map((record) => (record.seq === seq ? worse(record) : record).body);
    const forged = { did: FIRST.did, sign: (message: Uint8Array) => SECOND.sign(message) };
    const unknown = { did: "did:key:z6MkNobody", sign: (message: Uint8Array) => FIRST.sign(message) };
    for (const bodies of [
      bad(3, (record) => signedAgain(record, FIRST)),
      bad(3, (record) => signedAgain(record, forged)),
      bad(3, (record) => signedAgain(record, unknown)),
    ]) {
      const copy = copyFor(log.identity.uid);
      const { code, details } = await refusal(
        copy.log.receive({ seq: 0, cid: undefined }, bodies).then(() => ({}) as Receipt),
      );
      expect({ code, seq: details["seq"], head: copy.log.head().seq }).toEqual({
        code: "SYNC_INVALID",
        seq: 3,
        head: 0,
      });
      await copy.log.close();
    }
    // The second one would be another commit, so it is not a parent of the third any more; alone it is refused too.
    const copy = copyFor(log.identity.uid);
    const two = bad(2, (record) => signedAgain(record, SECOND)).slice(0, 2);
    expect(
      (await refusal(copy.log.receive({ seq: 0, cid: undefined }, two).then(() => ({}) as Receipt))).code,
    ).toBe("SYNC_INVALID");
    await copy.log.close();
    await log.close();
  });
});
