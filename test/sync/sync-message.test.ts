import { readFileSync } from "node:fs";
import fc from "fast-check";
import { fromHex, toHex } from "../../src/ids/hash.ts";
import { BloomFilter } from "../../src/sync/bloom.ts";
import {
  capabilitiesOf,
  decodeSharedHeads,
  decodeSyncMessage,
  encodeSharedHeads,
  encodeSyncMessage,
  ownCapabilities,
  type SyncMessage,
} from "../../src/sync/sync-message.ts";
import { A2, A3 } from "./nodes.ts";

interface Pinned {
  readonly name: string;
  readonly bytes: string;
  readonly message: Omit<SyncMessage, "have" | "parts" | "capabilities"> & {
    readonly have: readonly { readonly lastSync: readonly string[]; readonly bloom: string }[];
    readonly parts: readonly string[];
  };
}
const pinned = JSON.parse(
  readFileSync(new URL("../../fixtures/sync/messages.json", import.meta.url), "utf8"),
) as Pinned[];

const plain = ({ version, heads, need, have, parts }: SyncMessage): Pinned["message"] => ({
  version,
  heads,
  need,
  have: have.map(({ lastSync, bloom }) => ({ lastSync, bloom: toHex(bloom) })),
  parts: parts.map(toHex),
});

const code = (work: () => unknown): string => {
  try {
    work();
    return "ok";
  } catch (error) {
    return (error as { code: string }).code;
  }
};

describe("messages of stock clients", () => {
  test.each(pinned.map((one) => [one.name, one] as const))("%s", (_, { bytes, message }) => {
    const decoded = decodeSyncMessage(fromHex(bytes));
    expect(plain(decoded)).toEqual(message);
    expect(toHex(encodeSyncMessage(decoded))).toBe(bytes);
    for (const { bloom } of decoded.have) expect(BloomFilter.decode(bloom).encode()).toEqual(bloom);
  });
});

const hash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(toHex);
const hashes = fc.uniqueArray(hash, { maxLength: 4 }).map((list) => list.sort());
const bloom = fc.array(hash, { maxLength: 20 }).map((list) => BloomFilter.of(list).encode());
const message: fc.Arbitrary<SyncMessage> = fc.record({
  version: fc.constantFrom(1 as const, 2 as const),
  heads: hashes,
  need: hashes,
  have: fc.array(fc.record({ lastSync: hashes, bloom }), { maxLength: 3 }),
  parts: fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 4 }),
  capabilities: fc.option(fc.uint8Array({ maxLength: 5 }), { nil: undefined }),
});

describe("any message", () => {
  test("comes back as it was", () => {
    fc.assert(
      fc.property(message, (one) => {
        const { capabilities, ...rest } = decodeSyncMessage(encodeSyncMessage(one));
        expect(plain({ ...rest, capabilities })).toEqual(plain(one));
        expect(capabilities && toHex(capabilities)).toBe(one.capabilities && toHex(one.capabilities));
      }),
    );
  });

  test.each([
    ["2.2.9", A2],
    ["3.5.0", A3],
  ])("is the same to Automerge %s, both ways", (_, A) => {
    fc.assert(
      fc.property(message, (one) => {
        const bytes = encodeSyncMessage({ ...one, capabilities: undefined });
        const theirs = A.decodeSyncMessage(bytes);
        expect({ ...theirs, have: theirs.have.map((have) => have.lastSync) }).toMatchObject({
          heads: one.heads,
          need: one.need,
          have: one.have.map((have) => have.lastSync),
        });
        expect(theirs.changes.map(toHex)).toEqual(one.parts.map(toHex));
        expect(toHex(A.encodeSyncMessage(theirs))).toBe(toHex(bytes));
      }),
    );
  });

  test("may have something behind its capabilities, which is for later versions", () => {
    const bytes = encodeSyncMessage({
      version: 2,
      heads: [],
      need: [],
      have: [],
      parts: [],
      capabilities: ownCapabilities(false),
    });
    expect(plain(decodeSyncMessage(new Uint8Array([...bytes, 1, 2, 3])))).toEqual(
      plain(decodeSyncMessage(bytes)),
    );
  });

  test("that ends too early is refused at every byte", () => {
    const bytes = fromHex((pinned.at(-1) as Pinned).bytes);
    const whole = plain(decodeSyncMessage(bytes));
    for (let end = 0; end < bytes.length; end += 1) {
      const cut = bytes.subarray(0, end);
      // Without its capabilities it is the message of an older peer.
      if (code(() => decodeSyncMessage(cut)) === "ok") expect(plain(decodeSyncMessage(cut))).toEqual(whole);
      else expect(code(() => decodeSyncMessage(cut))).toBe("SYNC_MALFORMED");
    }
  });

  test.each([
    ["nothing", ""],
    ["another type", "44000000000000"],
    ["more heads than bytes", "42ff1f"],
    ["a number that is not in its shortest form", "4280000000000"],
    ["a filter without bits that has entries", "4200000100030100070000"],
  ])("%s is no message", (_, bytes) => {
    expect(
      code(() => decodeSyncMessage(fromHex(bytes)).have.map((have) => BloomFilter.decode(have.bloom))),
    ).toBe("SYNC_MALFORMED");
  });
});

describe("what a message says of its sender", () => {
  const says = (bytes: number[] | undefined, version: 1 | 2 = 1) =>
    capabilitiesOf({
      version,
      heads: [],
      need: [],
      have: [],
      parts: [],
      capabilities: bytes && new Uint8Array(bytes),
    });

  test("is nothing before capabilities, except by its version", () => {
    expect(says(undefined)).toEqual({ version2: false, readOnly: false, reset: false });
    expect(says(undefined, 2).version2).toBe(true);
  });

  test("is a list, in which what is not known is passed over", () => {
    expect(says([1])).toEqual({ version2: false, readOnly: false, reset: false });
    expect(says([1, 2, 3, 77])).toEqual({ version2: true, readOnly: false, reset: false });
    expect(says([2, 0x84])).toEqual({ version2: true, readOnly: false, reset: false });
    expect(says([2, 0x87])).toEqual({ version2: true, readOnly: true, reset: true });
  });

  test.each([
    ["of ours that writes", false],
    ["of ours that only reads", true],
  ])("is understood by Automerge: %s", (_, readOnly) => {
    const bytes = encodeSyncMessage({
      version: 1,
      heads: [],
      need: [],
      have: [],
      parts: [],
      capabilities: ownCapabilities(readOnly),
    });
    let [doc, state] = [A3.init(), A3.initSyncState()];
    [doc, state] = A3.receiveSyncMessage(doc, state, bytes);
    expect((state as unknown as { peerReadOnly: boolean }).peerReadOnly).toBe(readOnly);
    // And the very bytes that it writes itself.
    expect(toHex(A3.generateSyncMessage(A3.init(), A3.initSyncState({ readOnly }))[1] as Uint8Array)).toMatch(
      new RegExp(`02${toHex(ownCapabilities(readOnly))}$`),
    );
    expect(A2.decodeSyncMessage(bytes).heads).toEqual([]);
    A3.free(doc);
  });
});

test("heads that both have are kept in the bytes of Automerge's own state", () => {
  fc.assert(
    fc.property(hashes, (heads) => {
      const bytes = encodeSharedHeads(heads);
      expect(decodeSharedHeads(bytes)).toEqual(heads);
      for (const A of [A2, A3]) {
        const state = A.decodeSyncState(bytes);
        expect(state.sharedHeads).toEqual(heads);
        expect(toHex(A.encodeSyncState(state))).toBe(toHex(bytes));
      }
    }),
  );
  expect(code(() => decodeSharedHeads(fromHex("42")))).toBe("SYNC_MALFORMED");
  expect(code(() => decodeSharedHeads(fromHex("4301aa")))).toBe("SYNC_MALFORMED");
});
