import * as A from "@automerge/automerge";
import { ACTORS, Log, openDocuments } from "./fixture.ts";

const ACTOR = ACTORS[0] as string;

/** A change of some 100 bytes that Automerge turns into a list of `length` elements. */
function listBomb(length: number) {
  let doc = A.init<{ list: number[] }>({ actor: "ee".repeat(16) });
  doc = A.change(doc, { time: 1 }, (draft) => {
    draft.list = Array.from({ length }, () => 0);
  });
  const change = A.getLastLocalChange(doc) as Uint8Array;
  return { change, heads: A.getHeads(doc) };
}

describe("a job that overruns its deadline", () => {
  const { documents, newLog } = openDocuments();

  test("is refused, and what waited behind it on the same thread is done", async () => {
    const bomb = listBomb(60_000);
    const neighbour = newLog();
    await neighbour.put({ fine: 1 });
    const hostile = documents.read({
      docRef: "bomb",
      heads: bomb.heads,
      source: () => ({ chunks: [bomb.change] }),
      deadlineMs: 10,
    });
    const waiting = [neighbour.value(), neighbour.put({ fine: 2 }), documents.read({ ...newLog().at() })];
    await expect(hostile).rejects.toMatchObject({ code: "WORK_TIMEOUT", details: { deadline_ms: 10 } });
    await Promise.all(waiting);
    expect(await neighbour.value()).toEqual({ fine: 2 });
    expect(documents.stats()).toMatchObject({ workers: 1, restarts: 1, queued: 0 });
  });

  test("may be one that the caller authors", async () => {
    const log = newLog();
    const value = JSON.stringify({ list: Array.from({ length: 200_000 }, (_, i) => `item ${i}`) });
    const job = { ...log.at(), actor: ACTOR, time: 1, edit: { kind: "put", value } as const, deadlineMs: 50 };
    await expect(documents.author(job)).rejects.toMatchObject({ code: "WORK_TIMEOUT" });
    await log.put({ small: true });
    expect(await log.value()).toEqual({ small: true });
  });

  test("does not count the time its source takes", async () => {
    const log = newLog();
    await log.put({ a: 1 });
    const change = log.changes[0] as Uint8Array;
    let release = () => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    const read = documents.read({
      docRef: "slow-source",
      heads: log.heads,
      source: async () => {
        await held;
        return { chunks: [change] };
      },
      deadlineMs: 300,
    });
    const timer = setTimeout(release, 500);
    expect((await read).json).toBe('{"a":1}');
    clearTimeout(timer);
  });
});

describe("a worker spoiled by a panic inside Automerge", () => {
  const { documents, newLog } = openDocuments();

  test("is replaced after its answer and the others notice nothing", async () => {
    const log = newLog();
    await log.put({ a: 1 });
    const forged = A.encodeChange({
      actor: "ee".repeat(16),
      author: null,
      seq: 1,
      startOp: 2,
      time: 1,
      message: null,
      deps: log.heads,
      ops: [{ action: "set", obj: `999@${ACTOR}`, key: "z", value: 1, datatype: "int", pred: [] }],
    });
    const checked = documents.check({ ...log.at(), changes: [forged] });
    const waiting = log.value();
    expect(await checked).toMatchObject({ refused: { index: 0 } });
    expect(await waiting).toEqual({ a: 1 });
    expect(documents.stats().restarts).toBe(1);

    const poisoned = new Log(documents, "poisoned");
    poisoned.changes.push(...log.changes, forged);
    poisoned.heads = [A.decodeChange(forged).hash];
    const failing = poisoned.value();
    const neighbour = log.value();
    await expect(failing).rejects.toMatchObject({ code: "WORK_FAILED" });
    expect(await neighbour).toEqual({ a: 1 });
    expect(documents.stats()).toMatchObject({ restarts: 2, queued: 0 });
  });
});

describe("the memory of a worker", () => {
  test("holds a bounded number of documents, and every document still reads", async () => {
    const { documents, newLog } = bounded;
    const logs = Array.from({ length: 60 }, () => newLog());
    for (const [i, log] of logs.entries()) await log.put({ i, text: "x".repeat(1_000) });
    const { cachedDocuments, cachedBytes } = documents.stats();
    expect(cachedDocuments).toBeGreaterThan(0);
    expect(cachedDocuments).toBeLessThan(20);
    expect(cachedBytes).toBeLessThanOrEqual(512 * 1024);
    for (const [i, log] of logs.entries()) expect(await log.value()).toMatchObject({ i });
    expect(logs[0]?.asked).toEqual([[]]);
  });

  test("is given back by replacing the thread between jobs once it passes the threshold", async () => {
    const { documents, newLog } = recycled;
    const log = newLog();
    await log.put({ text: "x".repeat(100_000) });
    expect(documents.stats()).toMatchObject({ restarts: 1, workers: 0, cachedDocuments: 0 });
    expect(await documents.read({ ...log.at(), paths: [] })).toEqual({ json: "{}" });
  });

  test("is given back by a thread that has had no work for a while, and the next job starts another", async () => {
    const log = idle.newLog();
    await log.put({ a: 1 });
    expect(idle.documents.stats().workers).toBe(1);
    while (idle.documents.stats().workers > 0) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(idle.documents.stats()).toMatchObject({ restarts: 0, cachedDocuments: 0, cachedBytes: 0 });
    await log.put({ a: 2 });
    expect(await log.value()).toEqual({ a: 2 });
  });

  const idle = openDocuments({ idleMs: 300 });
  const bounded = openDocuments({ cacheBytesPerWorker: 512 * 1024 });
  const recycled = openDocuments({ maxWorkerMemory: 8 * 2 ** 20 });
});

describe("the queue", () => {
  const { documents, newLog } = openDocuments({ queueLimit: 3 });

  test("refuses more than it may hold and does the rest", async () => {
    const log = newLog();
    const jobs = Array.from({ length: 8 }, () => documents.read(log.at()));
    const results = await Promise.allSettled(jobs);
    expect(results.map((result) => result.status)).toEqual([
      ...Array.from({ length: 4 }, () => "fulfilled"),
      ...Array.from({ length: 4 }, () => "rejected"),
    ]);
    expect(results[7]).toMatchObject({ reason: { code: "WORK_BUSY" } });
  });
});

describe("closing", () => {
  const { documents, newLog } = openDocuments({ workers: 3 });

  test("refuses what is under way and whatever comes after", async () => {
    const logs = Array.from({ length: 9 }, () => newLog());
    await Promise.all(logs.map((log) => log.put({ a: 1 })));
    expect(documents.stats().workers).toBeGreaterThan(1);
    const under = logs.map((log) => log.value());
    const settled = Promise.allSettled(under);
    await documents.close();
    for (const result of await settled) expect(result).toMatchObject({ reason: { code: "UNAVAILABLE" } });
    await expect(logs[0]?.value()).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(documents.stats().workers).toBe(0);
    await documents.close();
  });
});
