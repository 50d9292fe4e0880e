import { readFileSync } from "node:fs";
import { deflateRawSync } from "node:zlib";
import * as A from "@automerge/automerge";
import { readChange, readChanges, readTrustedHeader } from "../../src/log/change.ts";
import type { ChangeHeader } from "../../src/log/change.ts";
import { concat, uleb } from "../support/change-chunks.ts";
import { lastChange, seeded, subjects } from "../support/change-mutations.ts";

type Golden = { name: string; bytes: string; header: Omit<ChangeHeader, "bytes"> };
const golden = JSON.parse(
  readFileSync(new URL("../../fixtures/log/changes.json", import.meta.url), "utf8"),
) as Golden[];

const fromHex = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"));

function expectAsAutomergeDecodes(bytes: Uint8Array): void {
  const header = readChange(bytes);
  const decoded = A.decodeChange(bytes);
  expect({
    hash: header.hash,
    actor: header.actor,
    seq: header.seq,
    startOp: header.startOp,
    opCount: header.opCount,
    time: header.time,
    deps: header.deps,
  }).toEqual({
    hash: decoded.hash,
    actor: decoded.actor,
    seq: decoded.seq,
    startOp: decoded.startOp,
    opCount: decoded.ops.length,
    time: decoded.time,
    deps: decoded.deps,
  });
  expect(header.maxOp).toBe(header.startOp + header.opCount - 1);
  expect(readTrustedHeader(bytes)).toEqual(header);
}

/** The deflated form (chunk type 2): the checksum stays that of the uncompressed chunk. */
function deflated(chunk: Uint8Array): Uint8Array {
  let contents = 9;
  while ((chunk[contents++] as number) >= 128);
  const packed = deflateRawSync(chunk.subarray(contents));
  return concat(chunk.subarray(0, 8), [2], uleb(packed.length), packed);
}

describe("reading a change", () => {
  test.each(golden)("gives the header on file: $name", ({ bytes, header }) => {
    const chunk = fromHex(bytes);
    expect(readChange(chunk)).toEqual({ ...header, bytes: chunk });
  });

  test.each(subjects())("agrees with Automerge's decoder: $name", ({ change }) => {
    expectAsAutomergeDecodes(change);
  });

  test("agrees with Automerge's decoder on every change of three actors editing at random", () => {
    const random = seeded(11);
    const below = (n: number): number => Math.floor(random() * n);
    type Doc = Record<string, unknown> & { l: unknown[]; t: string; c: A.Counter };
    const base = A.from<Doc>({ l: [], t: "", c: new A.Counter() }, { actor: "05".repeat(16) });
    const docs = ["aa", "00", "ff"].map((byte) => A.clone(base, { actor: byte.repeat(16) }));
    for (let i = 0; i < 150; i++) {
      const who = below(3);
      const edited = A.change(
        docs[who] as A.Doc<Doc>,
        { time: i - 20, message: i % 9 ? "" : `é${i}` },
        (d) => {
          d["n"] = i;
          for (let j = below(4); j >= 0; j--) {
            const length = d.t.length;
            const at = below(length + 1);
            A.splice(d, ["t"], at, Math.min(below(5), length - at), ["", "x", "añ", "😀wide"][below(4)]);
            if (d.t.length > 3) A.mark(d, ["t"], { start: 0, end: 2 }, "m", below(3));
            d.l.splice(below(d.l.length + 1), below(2), j, { i, deep: [j] });
            d.c.increment(j - 1);
            d[`k${below(5)}`] = [null, i, -1.5, "s", new Date(i), { a: {} }][below(6)];
            if (random() < 0.2) delete d[`k${below(5)}`];
          }
        },
      );
      docs[who] = random() < 0.5 ? A.merge(edited, docs[(who + 1 + below(2)) % 3] as A.Doc<Doc>) : edited;
    }
    const all = A.getAllChanges(
      A.merge(A.merge(A.clone(docs[0] as A.Doc<Doc>), docs[1] as A.Doc<Doc>), docs[2] as A.Doc<Doc>),
    );
    expect(all.length).toBe(151);
    for (const change of all) expectAsAutomergeDecodes(change);
    expect(readChanges(concat(...all)).map(({ hash }) => hash)).toEqual(
      all.map((change) => A.decodeChange(change).hash),
    );
  });

  test("agrees with Automerge's decoder on blocks and spans", () => {
    let doc = A.from<{ t: string }>({ t: "one two" }, { actor: "05".repeat(16) });
    doc = A.change(doc, { time: 0 }, (d) => {
      A.splitBlock(d, ["t"], 3, { type: "p", parents: [] });
      A.updateSpans(
        d,
        ["t"],
        [
          { type: "text", value: "two", marks: { bold: true } },
          { type: "block", value: { type: "h1" } },
          { type: "text", value: "three" },
        ],
      );
    });
    expectAsAutomergeDecodes(lastChange(doc));
  });

  test("takes the deflated form and gives the uncompressed bytes", () => {
    for (const { change } of subjects()) expect(readChange(deflated(change))).toEqual(readChange(change));
  });

  test("reads from the middle of a larger buffer", () => {
    const change = subjects()[0]?.change as Uint8Array;
    const larger = concat([1, 2, 3], change, [4]);
    expect(readChange(larger.subarray(3, 3 + change.length))).toEqual(readChange(change));
  });

  test("takes no changes as no headers", () => {
    expect(readChanges(new Uint8Array())).toEqual([]);
  });
});
