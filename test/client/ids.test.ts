import fc from "fast-check";
import { hashesOf, parseName } from "../../src/client/document-name.ts";
import { fromBase58Check, toBase58Check } from "../../src/ids/document-id.ts";
import { toHex } from "../../src/ids/hash.ts";
import { bytesOfBase58Check, portableBase58Check, portableDocumentId } from "../../src/ids/portable-ids.ts";
import { documentIdOf } from "../../src/log/genesis.ts";

test("a client works out the same ids as the server", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      fc.string({ unit: "grapheme" }),
      fc.string({ unit: "grapheme" }),
      (uid, collection, key) => {
        const id = documentIdOf(uid, collection, key);
        expect(portableDocumentId(uid, collection, key)).toEqual(id);
        expect(portableBase58Check(id)).toBe(toBase58Check(id));
      },
    ),
  );
});

test("what is no id is none to either", () => {
  const text = toBase58Check(new Uint8Array(16).fill(7));
  fc.assert(
    fc.property(
      fc.nat(text.length - 1),
      fc.constantFrom("1", "z", "A", "0", "O", "l", "/", " "),
      (at, letter) => {
        const spoilt = text.slice(0, at) + letter + text.slice(at + 1);
        const bytes = bytesOfBase58Check(spoilt);
        if (bytes) expect(fromBase58Check(spoilt)).toEqual(bytes);
        else expect(() => fromBase58Check(spoilt)).toThrow(/document id/);
      },
    ),
  );
  expect(bytesOfBase58Check("z".repeat(100_000))).toBeUndefined();
});

test("hashes of gossip are read, and what is none is left out", () => {
  const hash = new Uint8Array(32).map((_, i) => i);
  expect(hashesOf([toBase58Check(hash), 7, "nonsense", toBase58Check(hash.subarray(1))])).toEqual([
    toHex(hash),
  ]);
});

test("names are split at the first slash, and URLs are taken with heads and without", () => {
  const documentId = toBase58Check(new Uint8Array(16).fill(3));
  expect(parseName("a/b/c")).toEqual({ collection: "a", key: "b/c" });
  expect(parseName(`automerge:${documentId}#x|y`)).toEqual({ documentId });
  for (const wrong of ["a", "/a", "a/", "", "automerge:x", `automerge:${documentId}x`]) {
    expect(() => parseName(wrong)).toThrow(expect.objectContaining({ code: "NAME_INVALID" }) as Error);
  }
});
