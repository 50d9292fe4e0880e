import * as A from "@automerge/automerge";
import { ACTORS, openDocuments } from "./fixture.ts";

const { documents, newLog } = openDocuments();
const [ALICE, BOB] = ACTORS as [string, string];

describe("a document at given heads", () => {
  test("reads as it was then, whatever the worker has loaded", async () => {
    const log = newLog();
    const points: string[][] = [];
    for (let i = 0; i < 5; i++) {
      await log.put({ count: i, text: "x".repeat(i) });
      points.push(log.heads);
    }
    for (const i of [4, 0, 3, 1, 2])
      expect(await log.value(points[i])).toEqual({ count: i, text: "x".repeat(i) });
    expect(await log.value([])).toEqual({});
  });

  test("saves its history up to there and no further", async () => {
    const log = newLog();
    await log.put({ count: 1 });
    const early = log.heads;
    await log.put({ count: 2 });
    for (const heads of [early, log.heads]) {
      const loaded = A.load<{ count: number }>(await documents.save(log.at(heads)));
      expect(A.getHeads(loaded)).toEqual(heads);
    }
    expect(A.getHeads(A.load(await documents.save(log.at([]))))).toEqual([]);
  });

  test("projects the paths that exist", async () => {
    const log = newLog();
    await log.put({ a: { b: [10, { c: "x" }] }, "k/": null });
    const { json } = await documents.read({
      ...log.at(),
      paths: ["/a/b/1/c", "/k~1", "/a/b/2", "/toString", "/a/b/0"],
    });
    expect(json).toBe('{"/a/b/0":10,"/a/b/1/c":"x","/k~1":null}');
    expect((await documents.read({ ...log.at(), paths: [""] })).json).toBe(`{"":${await log.json()}}`);
    await expect(documents.read({ ...log.at(), paths: ["a"] })).rejects.toMatchObject({
      code: "PATH_INVALID",
    });
  });

  test("is unreadable, and says what is missing, when the chunks do not lead there", async () => {
    const log = newLog();
    await log.put({ a: 1 });
    await log.put({ a: 2 });
    const unknown = "ab".repeat(32);
    await expect(log.value([unknown])).rejects.toMatchObject({
      code: "DOC_UNREADABLE",
      details: { missing: [unknown] },
    });
    const holed = newLog();
    holed.changes.push(log.changes[1] as Uint8Array);
    await expect(holed.value(log.heads)).rejects.toMatchObject({
      code: "DOC_UNREADABLE",
      details: { missing: log.heads },
    });
    const truncated = newLog();
    truncated.changes.push(log.changes[0] as Uint8Array, (log.changes[1] as Uint8Array).slice(0, -3));
    await expect(truncated.value(log.heads)).rejects.toMatchObject({ code: "DOC_UNREADABLE" });
    const garbage = newLog();
    garbage.changes.push(new Uint8Array(100).fill(7));
    await expect(garbage.value(log.heads)).rejects.toMatchObject({ code: "DOC_UNREADABLE" });
    expect(await log.value()).toEqual({ a: 2 });
  });

  test("gives the error of its source callback as it is", async () => {
    const failing = {
      docRef: "failing",
      heads: ["ab".repeat(32)],
      source: () => Promise.reject(new Error("disk")),
    };
    await expect(documents.read(failing)).rejects.toThrow("disk");
  });
});

describe("a change that was authored", () => {
  test("needs no source again once it is committed", async () => {
    const log = newLog();
    for (let i = 0; i < 5; i++) {
      await log.put({ count: i });
      expect(await log.value()).toEqual({ count: i });
    }
    expect(log.asked).toEqual([]);
  });

  test("leaves no trace when it is not committed", async () => {
    const log = newLog();
    await log.put({ a: 1 });
    const refused = await log.author({ kind: "put", value: '{"a":2}' });
    expect(await log.value()).toEqual({ a: 1 });
    const second = await log.author({ kind: "put", value: '{"a":3}' });
    expect(A.decodeChange(second.change as Uint8Array)).toMatchObject({ seq: 2, deps: log.heads });
    expect(second.heads).not.toEqual(refused.heads);
    await expect(documents.save(log.at(refused.heads))).rejects.toMatchObject({ code: "DOC_UNREADABLE" });
    log.commit(second, log.heads);
    expect(await log.value()).toEqual({ a: 3 });
    const loaded = A.load(await documents.save(log.at()));
    expect(A.getHeads(loaded)).toEqual(second.heads);
  });

  test("continues the actor's count from the heads it builds on", async () => {
    const log = newLog();
    await log.put({ a: 1 }, { actor: ALICE });
    const old = log.heads;
    await log.put({ a: 2 }, { actor: BOB });
    await log.put({ a: 3 }, { actor: BOB });
    const onOld = await log.author({ kind: "put", value: '{"a":1,"b":1}' }, { actor: ALICE, heads: old });
    expect(A.decodeChange(onOld.change as Uint8Array)).toMatchObject({ seq: 2, deps: old });
    log.commit(onOld, old);
    expect(await log.value()).toEqual({ a: 3, b: 1 });
    const merged = await log.put({ a: 4, b: 1 }, { actor: ALICE });
    expect(A.decodeChange(merged.change as Uint8Array).seq).toBe(3);
  });

  test("asks only for what the worker lacks when somebody else wrote meanwhile", async () => {
    const log = newLog();
    await log.put({ a: 1 });
    await log.value();
    const before = log.heads;
    const elsewhere = A.applyChanges(A.init<Record<string, number>>({ actor: BOB }), log.changes)[0];
    const changed = A.change(elsewhere, (doc) => {
      doc["b"] = 2;
    });
    const job = {
      docRef: log.docRef,
      heads: A.getHeads(changed),
      source: (have: string[]) => {
        log.asked.push(have);
        return {
          chunks:
            have.length === 0 ? A.getAllChanges(changed) : [A.getLastLocalChange(changed) as Uint8Array],
        };
      },
    };
    expect((await documents.read(job)).json).toBe('{"a":1,"b":2}');
    expect(log.asked).toEqual([before]);
  });
});

describe("checking changes", () => {
  type Ops = Parameters<typeof A.encodeChange>[0]["ops"];

  async function base() {
    const log = newLog();
    await log.put({ a: 1, list: [1, 2] });
    const maxOp = A.decodeChange(log.changes[0] as Uint8Array).ops.length;
    const change = (ops: Ops, over: { seq?: number; deps?: string[]; startOp?: number } = {}) =>
      A.encodeChange({
        actor: BOB,
        author: null,
        seq: 1,
        startOp: maxOp + 1,
        time: 1,
        message: null,
        deps: log.heads,
        ops,
        ...over,
      });
    return { log, change };
  }

  const set = (obj: string, pred: string[] = []) => [
    { action: "set", obj, key: "z", value: 1, datatype: "int", pred },
  ];

  test("takes good ones, alone and in a row", async () => {
    const { log, change } = await base();
    const good = change(set("_root"));
    const onGood = change(set("_root"), {
      seq: 2,
      deps: [A.decodeChange(good).hash],
      startOp: A.decodeChange(good).startOp + 1,
    });
    expect((await documents.check({ ...log.at(), changes: [good] })).refused).toBeUndefined();
    expect((await documents.check({ ...log.at(), changes: [good, onGood] })).refused).toBeUndefined();
    expect((await documents.check({ ...log.at(), changes: [] })).refused).toBeUndefined();
    expect(await log.value()).toEqual({ a: 1, list: [1, 2] });
  });

  test("names the first bad one", async () => {
    const { log, change } = await base();
    const good = change(set("_root"));
    const next = { seq: 2, deps: [A.decodeChange(good).hash], startOp: A.decodeChange(good).startOp + 1 };
    const bad = {
      "an object that is not there": change(set(`999@${ALICE}`), next),
      "a predecessor that is not there": change(set("_root", [`999@${ALICE}`]), next),
      "a dependency that is not there": change(set("_root"), { ...next, deps: ["ab".repeat(32)] }),
      "an operation id that is taken": change(set("_root"), { ...next, startOp: 1 }),
      "a gap in its actor's count": change(set("_root"), { ...next, seq: 7 }),
      "bytes that are no change": new Uint8Array(64),
    };
    for (const [what, change] of Object.entries(bad)) {
      const { refused } = await documents.check({ ...log.at(), changes: [good, change] });
      expect({ what, index: refused?.index, reason: typeof refused?.reason }).toEqual({
        what,
        index: 1,
        reason: "string",
      });
    }
    expect(await log.value()).toEqual({ a: 1, list: [1, 2] });
  });
});

describe("splitting a saved file", () => {
  test("gives its single changes, every one after what it depends on", async () => {
    const log = newLog();
    await log.put({ text: "abc".repeat(1_000) });
    const first = log.heads;
    await log.put({ text: "abc".repeat(1_000), a: 1 }, { actor: ALICE, heads: first });
    await log.put({ text: "abc".repeat(1_000), b: 1 }, { actor: BOB, heads: first });
    const bytes = await documents.save(log.at());
    const split = await documents.split({ bytes });
    expect([...split.heads].sort()).toEqual([...log.heads].sort());
    const hex = (changes: Uint8Array[]) =>
      new Set(changes.map((change) => Buffer.from(change).toString("hex")));
    expect(hex(split.changes)).toEqual(hex(log.changes));
    expect(Buffer.from(split.changes[0] as Uint8Array).equals(log.changes[0] as Uint8Array)).toBe(true);
  });

  test("refuses what is not a whole file", async () => {
    const log = newLog();
    await log.put({ a: "text" });
    const bytes = await documents.save(log.at());
    for (const broken of [bytes.slice(0, -4), new Uint8Array(0), new Uint8Array(40), bytes.slice(3)]) {
      await expect(documents.split({ bytes: broken })).rejects.toMatchObject({ code: "IMPORT_INVALID" });
    }
  });
});
