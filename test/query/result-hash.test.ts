import { blake3 as reference } from "@noble/hashes/blake3.js";
import { readFileSync } from "node:fs";
import { fromHex, toHex } from "../../src/ids/hash.ts";
import { hashOfRows } from "../../src/protocol/result-hash.ts";
import { ResultHash, rowText, type TypedValue } from "../../src/query/result-hash.ts";

interface Golden {
  readonly name: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (null | Readonly<Record<string, string>>)[])[];
  readonly texts: readonly string[];
  readonly encoded: string;
  readonly hash: string;
}

const golden = JSON.parse(
  readFileSync(new URL("../../fixtures/query/result-hash.json", import.meta.url), "utf8"),
) as Golden[];

function valueOf(of: null | Readonly<Record<string, string>>): TypedValue {
  if (of === null) return null;
  if (of["integer"] !== undefined) return BigInt(of["integer"]);
  if (of["real"] !== undefined) return Number(of["real"].replace("inf", "Infinity"));
  return of["blob"] === undefined ? (of["text"] as string) : fromHex(of["blob"]);
}

test.each(golden.map((one) => [one.name, one] as const))("the hash and the rows of %s stay", (_, pinned) => {
  const rows = pinned.rows.map((row) => row.map(valueOf));
  const hash = new ResultHash(pinned.columns);
  for (const row of rows) hash.row(row);
  expect(hash.digest()).toBe(pinned.hash);
  expect(rows.map(rowText)).toEqual(pinned.texts);
  // By somebody else's blake3, over the bytes as another program wrote them.
  expect(toHex(reference(fromHex(pinned.encoded)))).toBe(pinned.hash);
});

test.each(golden.map((one) => [one.name, one] as const))(
  "from the texts of its rows alone, %s has the same hash",
  (_, { columns, texts, hash }) => {
    expect(hashOfRows(columns, texts)).toBe(hash);
  },
);

test("results of any length and size of value have one hash either way", () => {
  const rows = Array.from({ length: 3000 }, (_, i): TypedValue[] => [
    (i % 2 === 0 ? 1n : -1n) * 3n ** BigInt(i % 40),
    i / 8,
    "é".repeat(i % 90),
    new Uint8Array(i === 77 ? 20_000 : i % 300).fill(i),
    null,
  ]);
  const hash = new ResultHash(["a", "b", "c", "d", "e"]);
  for (const row of rows) hash.row(row);
  expect(hashOfRows(["a", "b", "c", "d", "e"], rows.map(rowText))).toBe(hash.digest());
});

test("no two results have one hash, unless a zero's sign is all that tells them apart", () => {
  expect(new Set(golden.map(({ hash }) => hash)).size).toBe(golden.length);
});

test("the text of a row leads back to what was hashed", () => {
  for (const { texts } of golden)
    for (const text of texts) expect(() => JSON.parse(text) as unknown).not.toThrow();
  expect(JSON.parse(rowText([Infinity, -Infinity]))).toEqual([Infinity, -Infinity]);
});
