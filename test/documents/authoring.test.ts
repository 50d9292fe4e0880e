import * as A from "@automerge/automerge";
import { applyPatch } from "rfc6902";
import { ACTORS, openDocuments } from "./fixture.ts";

const { documents, newLog } = openDocuments();
const [ALICE, BOB] = ACTORS as [string, string];

function opsOf(change: Uint8Array | undefined) {
  return change === undefined ? [] : A.decodeChange(change).ops;
}

describe("the authored change", () => {
  test("has one operation for one key of a hundred, and names actor, time and message", async () => {
    const log = newLog();
    const value = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`key${i}`, i]));
    await log.put(value);
    const { change } = await documents.author({
      ...log.at(),
      actor: BOB,
      time: 1_234_567_890,
      message: "why",
      edit: { kind: "put", value: JSON.stringify({ ...value, key7: -1 }) },
    });
    expect(A.decodeChange(change as Uint8Array)).toMatchObject({
      actor: BOB,
      seq: 1,
      time: 1_234_567_890,
      message: "why",
      deps: log.heads,
      ops: [{ action: "set", key: "key7", value: -1 }],
    });
    expect((change as Uint8Array)[8]).toBe(1);
  });

  test("is uncompressed however large it is", async () => {
    const { change } = await newLog().put({ text: "abc".repeat(50_000) });
    expect((change as Uint8Array)[8]).toBe(1);
    expect((change as Uint8Array).length).toBeGreaterThan(150_000);
  });

  test("is absent when the document already has the value", async () => {
    const log = newLog();
    const value = { a: [1, { b: "text" }], c: -0.5, d: null };
    await log.put(value);
    const again = await log.put(value);
    expect(again).toMatchObject({ change: undefined, heads: log.heads });
    expect((await newLog().put({})).change).toBeUndefined();
  });

  test("inserts and deletes list elements instead of shifting values", async () => {
    const log = newLog();
    const items = Array.from({ length: 50 }, (_, i) => ({ id: i }));
    await log.put({ items });
    const inserted = await log.put({ items: [...items.slice(0, 10), { id: "new" }, ...items.slice(10)] });
    expect(opsOf(inserted.change).map((op) => op.action)).toEqual([
      "makeMap",
      "makeText",
      "set",
      "set",
      "set",
    ]);
    const removed = await log.put({ items });
    expect(opsOf(removed.change).map((op) => op.action)).toEqual(["del"]);
    const edited = await log.put({
      items: items.map((item) => (item.id === 20 ? { id: 20, done: true } : item)),
    });
    expect(opsOf(edited.change)).toMatchObject([{ action: "set", key: "done", value: true }]);
  });

  test("touches only the characters that differ", async () => {
    const log = newLog();
    await log.put({ text: "The quick brown 😀 fox" });
    const { change } = await log.put({ text: "The quick brown 😁 fox!" });
    expect(
      opsOf(change)
        .map((op) => op.action)
        .sort(),
    ).toEqual(["del", "set", "set"]);
    expect(await log.value()).toEqual({ text: "The quick brown 😁 fox!" });
  });

  test("is bounded in work for two large texts with nothing in common", async () => {
    const log = newLog();
    await log.put({
      text: Array.from({ length: 20_000 }, (_, i) => String.fromCharCode(97 + ((i * 7) % 26))).join(""),
    });
    const other = Array.from({ length: 20_000 }, (_, i) => String.fromCharCode(97 + ((i * i) % 26))).join("");
    await log.put({ text: other });
    expect(await log.value()).toEqual({ text: other });
  });

  test("replaces a value by one of another type", async () => {
    const log = newLog();
    const values = [{ a: 1 }, [1], "x", 1, true, null, [], {}, "", 1.5];
    for (const value of values) {
      await log.put({ value, list: [value] });
      expect(await log.value()).toEqual({ value, list: [value] });
    }
  });

  test("empties the document on clear", async () => {
    const log = newLog();
    await log.put({ a: 1, b: { c: 2 } });
    const { change, json } = await log.edit({ kind: "clear" });
    expect(json).toBe("{}");
    expect(opsOf(change).map((op) => op.action)).toEqual(["del", "del"]);
  });
});

describe("concurrent edits", () => {
  test("of different keys, list places and parts of a text are all kept", async () => {
    const log = newLog();
    await log.put({ list: [1, 2, 3], text: "one two three", a: 1, b: 1 });
    const base = log.heads;
    await log.put({ list: [0, 1, 2, 3], text: "ONE two three", a: 2, b: 1 }, { actor: ALICE, heads: base });
    await log.put({ list: [1, 2, 3, 4], text: "one two THREE", a: 1, b: 2 }, { actor: BOB, heads: base });
    expect(log.heads).toHaveLength(2);
    expect(await log.value()).toEqual({ list: [0, 1, 2, 3, 4], text: "ONE two THREE", a: 2, b: 2 });
  });

  test("of one key show as a conflict until somebody writes it again", async () => {
    const log = newLog();
    await log.put({ deep: { key: 0, other: 1 }, list: ["x"] });
    const base = log.heads;
    await log.put({ deep: { key: { by: "alice" }, other: 1 }, list: [1] }, { actor: ALICE, heads: base });
    await log.put({ deep: { key: "bob", other: 1 }, list: [2] }, { actor: BOB, heads: base });
    const read = await documents.read({ ...log.at(), conflicts: true });
    const shown = JSON.parse(read.json) as { deep: { key: unknown }; list: unknown[] };
    expect(read.conflicts?.map(({ path }) => path)).toEqual(["/deep/key", "/list/0"]);
    const [key, element] = read.conflicts ?? [];
    expect(JSON.parse(key?.values[0]?.json as string)).toEqual(shown.deep.key);
    expect(key?.values.map(({ json }) => json).sort()).toEqual(['"bob"', '{"by":"alice"}']);
    expect(element?.values[0]?.json).toBe(JSON.stringify(shown.list[0]));
    expect(key?.values.every(({ op }) => /^\d+@[0-9a-f]{32}$/.test(op))).toBe(true);
    const early = await documents.read({ ...log.at(base), conflicts: true });
    expect(early.conflicts).toEqual([]);
    await log.put({ deep: { key: "both", other: 1 }, list: [3] });
    expect((await documents.read({ ...log.at(), conflicts: true })).conflicts).toEqual([]);
  });
});

describe("a conflict", () => {
  const BOTH = [
    [1, 2],
    ["one", "two"],
    [{ by: "alice" }, { by: "bob" }],
    [["a"], ["b"]],
  ] as const;
  test.each(BOTH)("between %j and %j is settled by replacing it, also by what is shown", async (a, b) => {
    for (const chosen of [0, 1]) {
      const log = newLog();
      await log.put({ deep: [{ key: 0, other: 1 }] });
      const base = log.heads;
      await log.put({ deep: [{ key: a, other: 1 }] }, { actor: ALICE, heads: base });
      await log.put({ deep: [{ key: b, other: 1 }] }, { actor: BOB, heads: base });
      const conflicts = async () => (await documents.read({ ...log.at(), conflicts: true })).conflicts ?? [];
      const value = JSON.parse((await conflicts())[0]?.values[chosen]?.json as string) as unknown;
      const patch = JSON.stringify([{ op: "replace", path: "/deep/0/key", value }]);
      await log.edit({ kind: "json-patch", patch });
      expect(await conflicts()).toEqual([]);
      expect(await log.value()).toEqual({ deep: [{ key: value, other: 1 }] });
      // Decided is decided: the same again writes nothing.
      expect((await log.edit({ kind: "json-patch", patch })).change).toBeUndefined();
    }
  });
});

describe("a merge patch", () => {
  test("sets, nests and removes as RFC 7396 says", async () => {
    const log = newLog();
    await log.put({
      title: "Goodbye!",
      author: { givenName: "John", familyName: "Doe" },
      tags: ["a", "b"],
      n: 1,
    });
    const patch =
      '{"title":"Hello!","phone":"+01","author":{"familyName":null},"tags":["a"],"deep":{"x":{"y":null,"z":1}}}';
    const { change } = await log.edit({ kind: "merge-patch", patch });
    expect(await log.value()).toEqual({
      title: "Hello!",
      author: { givenName: "John" },
      tags: ["a"],
      n: 1,
      phone: "+01",
      deep: { x: { z: 1 } },
    });
    expect(opsOf(change).filter((op) => op.action === "del").length).toBeGreaterThan(0);
    await expect(log.edit({ kind: "merge-patch", patch: "[1]" })).rejects.toMatchObject({
      code: "VALUE_INVALID",
    });
    await expect(log.edit({ kind: "merge-patch", patch: "{" })).rejects.toMatchObject({ code: "BAD_JSON" });
  });
});

describe("a JSON patch", () => {
  const patch = (...operations: unknown[]) =>
    ({ kind: "json-patch", patch: JSON.stringify(operations) }) as const;

  test("does every operation, on any key", async () => {
    const log = newLog();
    await log.put({ a: { constructor: 1 }, list: [1, 2, 3], "s/~": "x" });
    await log.edit(
      patch(
        { op: "test", path: "/a/constructor", value: 1 },
        { op: "add", path: "/list/1", value: 1.5 },
        { op: "add", path: "/list/-", value: 4 },
        { op: "remove", path: "/list/0" },
        { op: "replace", path: "/a/constructor", value: { deep: true } },
        { op: "copy", from: "/a", path: "/b" },
        { op: "move", from: "/s~1~0", path: "/b/moved" },
        { op: "add", path: "/b/__proto__", value: { own: 1 } },
      ),
    );
    expect(await log.json()).toBe(
      '{"a":{"constructor":{"deep":true}},"b":{"__proto__":{"own":1},"constructor":{"deep":true},"moved":"x"},"list":[1.5,2,3,4]}',
    );
  });

  test("that fails names its operation and changes nothing", async () => {
    const log = newLog();
    await log.put({ a: 1, list: [1] });
    const failures = [
      { op: "test", path: "/a", value: 2 },
      { op: "test", path: "/toString", value: 2 },
      { op: "remove", path: "/nothing" },
      { op: "replace", path: "/list/1", value: 0 },
      { op: "add", path: "/list/2", value: 0 },
      { op: "add", path: "/list/01", value: 0 },
      { op: "add", path: "/no/where", value: 0 },
      { op: "move", from: "/list", path: "/list/0" },
      { op: "copy", from: "/none", path: "/b" },
      { op: "remove", path: "" },
    ];
    for (const failure of failures) {
      await expect(log.edit(patch({ op: "add", path: "/b", value: 1 }, failure))).rejects.toMatchObject({
        code: "PATCH_FAILED",
        details: { index: 1, path: failure.path },
      });
    }
    expect(await log.value()).toEqual({ a: 1, list: [1] });
  });

  test("that is malformed is refused as such", async () => {
    const log = newLog();
    const malformed = [
      { op: "add", path: "/a" },
      { op: "no", path: "/a" },
      { op: "remove", path: "a" },
      { op: "move", path: "/a" },
      7,
    ];
    for (const operation of malformed) {
      await expect(log.edit(patch(operation))).rejects.toMatchObject({
        code: "PATCH_INVALID",
        details: { index: 0 },
      });
    }
    await expect(log.edit({ kind: "json-patch", patch: "{}" })).rejects.toMatchObject({
      code: "PATCH_INVALID",
    });
  });

  test("comes out of diff and is understood by other implementations", async () => {
    const log = newLog();
    const first = { list: [1, 2, 3, 4, { a: 1 }], gone: true, text: "a", same: { x: [1] } };
    const second = { list: [0, 2, 4, { a: 2, "b/": [] }, 5], text: "b", same: { x: [1] }, new: {} };
    await log.put(first);
    const from = log.heads;
    await log.put(second);
    const there = await documents.diff({ ...log.at(), from, to: log.heads });
    const target = structuredClone(first);
    expect(applyPatch(target, JSON.parse(there.patch)).every((result) => result === null)).toBe(true);
    expect(target).toEqual(second);
    const back = await documents.diff({ ...log.at(), from: log.heads, to: from });
    expect(applyPatch(target, JSON.parse(back.patch)).every((result) => result === null)).toBe(true);
    expect(target).toEqual(first);
    expect(await documents.diff({ ...log.at(), from: [], to: from })).not.toEqual({ patch: "[]" });
    expect(await documents.diff({ ...log.at(), from, to: from })).toEqual({ patch: "[]" });
  });
});
