import fc from "fast-check";
import { toHex } from "../../src/ids/hash.ts";
import { BloomFilter } from "../../src/sync/bloom.ts";
import { decodeSyncMessage, encodeSyncMessage } from "../../src/sync/sync-message.ts";
import { changeHash } from "../../src/documents/handle.ts";
import { A2, A3 } from "./nodes.ts";

/** Documents of changes that do not build on each other, so that a filter alone decides which are sent. */
function apart(A: typeof A3, count: number) {
  const changes = Array.from({ length: count }, (_, i) => {
    const doc = A.change(
      A.init<Record<string, number>>({ actor: (i + 1).toString(16).padStart(32, "0") }),
      { time: 0 },
      (draft) => {
        draft["k"] = i;
      },
    );
    return A.getLastLocalChange(doc) as Uint8Array;
  });
  const hashes = changes.map(changeHash);
  return { doc: A.applyChanges(A.init(), changes)[0], hashes };
}

/** The filter that Automerge makes over all changes of a document. */
function theirs(A: typeof A3, doc: A3.Doc<unknown>): Uint8Array {
  const message = A.generateSyncMessage(doc, A.initSyncState())[1] as Uint8Array;
  return (decodeSyncMessage(message).have[0] as { bloom: Uint8Array }).bloom;
}

const libraries = [
  ["2.2.9", A2],
  ["3.5.0", A3],
] as const;
const SIZES = [1, 2, 3, 7, 8, 9, 64, 150];

/** Sizes for which a filter is another than Automerge's. */
function differing(A: typeof A3, make: (hashes: readonly string[]) => Uint8Array): number[] {
  return SIZES.filter((count) => {
    const { doc, hashes } = apart(A, count);
    return toHex(make(hashes)) !== toHex(theirs(A, doc));
  });
}

test.each(libraries)("a filter has the bytes of Automerge %s", (_, A) => {
  expect(differing(A, (hashes) => BloomFilter.of(hashes).encode())).toEqual([]);
});

test("the comparison notices other probes and other bits", () => {
  const broken = (probes: number) => (hashes: readonly string[]) => {
    const filter = BloomFilter.of(hashes).encode();
    filter[filter.length - Math.ceil((hashes.length * 10) / 8) - 1] = probes;
    return filter;
  };
  expect(differing(A3, broken(7))).toEqual([]);
  expect(differing(A3, broken(6))).toEqual(SIZES);
  const flipped = (hashes: readonly string[]): Uint8Array => {
    const filter = BloomFilter.of(hashes).encode();
    filter[filter.length - 1] = (filter.at(-1) as number) ^ 1;
    return filter;
  };
  expect(differing(A3, flipped)).toEqual(SIZES);
});

test.each(libraries)("it answers as Automerge %s does, also where it is wrong", (_, A) => {
  const made = apart(A, 400);
  const { hashes } = made;
  let { doc } = made;
  const held = hashes.filter((_hash, i) => i % 3 === 0);
  let wrong = 0;
  for (const some of [held, held.slice(0, 9), hashes.slice(0, 1)]) {
    const filter = BloomFilter.of(some);
    const ask = encodeSyncMessage({
      version: 1,
      heads: [],
      need: [],
      have: [{ lastSync: [], bloom: filter.encode() }],
      parts: [],
      capabilities: undefined,
    });
    const [next, state] = A.receiveSyncMessage(doc, A.initSyncState(), ask);
    doc = next;
    const answer = A.generateSyncMessage(doc, state)[1] as Uint8Array;
    const sent = new Set(A.decodeSyncMessage(answer).changes.map(changeHash));
    for (const hash of hashes) expect(filter.has(hash)).toBe(!sent.has(hash));
    wrong += hashes.filter((hash) => filter.has(hash)).length - some.length;
  }
  expect(wrong).toBeGreaterThan(0);
});

test("it never says that something is not there which is, however many bits and probes there are", () => {
  const hash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(toHex);
  fc.assert(
    fc.property(fc.array(hash, { maxLength: 50 }), (hashes) => {
      const filter = BloomFilter.decode(BloomFilter.of(hashes).encode());
      expect(filter.size).toBe(hashes.length);
      for (const one of hashes) expect(filter.has(one)).toBe(true);
    }),
  );
  expect(BloomFilter.of([]).has("00".repeat(32))).toBe(false);
  expect(BloomFilter.of([]).encode()).toEqual(new Uint8Array(0));
});
