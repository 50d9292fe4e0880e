import { readFileSync } from "node:fs";
import * as A from "@automerge/automerge";
import { readChange } from "../../src/log/change.ts";
import { documentIdOf, genesisOf } from "../../src/log/genesis.ts";
import { lastChange } from "../support/change-mutations.ts";

interface Golden {
  uid: string;
  collection: string;
  key: string;
  documentId: string;
  actor: string;
  hash: string;
  bytes: string;
}
const golden = JSON.parse(
  readFileSync(new URL("../../fixtures/log/genesis.json", import.meta.url), "utf8"),
) as Golden[];

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const UID = Uint8Array.from({ length: 16 }, (_, i) => i);

describe("the first change of a named document", () => {
  test.each(golden)("has the bytes on file for $collection / $key", (expected) => {
    const uid = new Uint8Array(Buffer.from(expected.uid, "hex"));
    const { actor, hash, bytes } = genesisOf(uid, expected.collection, expected.key);
    expect({ actor, hash, bytes: hex(bytes) }).toEqual({
      actor: expected.actor,
      hash: expected.hash,
      bytes: expected.bytes,
    });
    expect(hex(documentIdOf(uid, expected.collection, expected.key))).toBe(expected.documentId);
  });

  test("is what Automerge makes as an empty change of that actor at time 0", () => {
    const { actor, hash, bytes } = genesisOf(UID, "notes", "first");
    const made = A.emptyChange(A.init({ actor }), { time: 0 });
    expect(hex(bytes)).toBe(hex(lastChange(made)));
    expect(A.getHeads(made)).toEqual([hash]);
    expect(readChange(bytes)).toMatchObject({
      actor,
      hash,
      seq: 1,
      startOp: 1,
      opCount: 0,
      maxOp: 0,
      deps: [],
    });
  });

  test("is taken by Automerge, and the change that follows has startOp 1 and seq 1", () => {
    const { hash, bytes } = genesisOf(UID, "notes", "first");
    const [doc] = A.applyChanges(A.init<{ a?: number }>({ actor: "ab".repeat(16) }), [bytes]);
    expect(A.getHeads(doc)).toEqual([hash]);
    const edited = A.change(doc, { time: 0 }, (draft) => {
      draft.a = 1;
    });
    expect(readChange(lastChange(edited))).toMatchObject({ seq: 1, startOp: 1, maxOp: 1, deps: [hash] });
    expect(A.load<{ a?: number }>(A.save(edited)).a).toBe(1);
  });

  test("lets copies that began apart converge", () => {
    const { bytes } = genesisOf(UID, "notes", "first");
    const begin = (actor: string): A.Doc<Record<string, unknown>> =>
      A.applyChanges(A.init<Record<string, unknown>>({ actor: actor.repeat(16) }), [bytes])[0];
    const one = A.change(begin("01"), { time: 0 }, (draft) => {
      draft["one"] = 1;
    });
    const two = A.change(begin("02"), { time: 0 }, (draft) => {
      draft["two"] = 2;
    });
    expect(A.toJS(A.merge(A.clone(one), two))).toEqual({ one: 1, two: 2 });
    expect(A.getAllChanges(A.merge(one, two))).toHaveLength(3);
  });

  test("differs by uid, collection, key and where one ends and the other begins", () => {
    const uid = new Uint8Array(16);
    const all = [
      genesisOf(uid, "a", "bc"),
      genesisOf(uid, "ab", "c"),
      genesisOf(uid, "abc", ""),
      genesisOf(uid, "", "abc"),
      genesisOf(UID, "a", "bc"),
    ].map(({ actor }) => actor);
    expect(new Set(all).size).toBe(all.length);
    expect(hex(documentIdOf(uid, "a", "bc"))).not.toBe(all[0]);
  });
});
