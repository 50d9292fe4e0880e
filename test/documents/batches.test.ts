import { Worker } from "node:worker_threads";
import * as A from "@automerge/automerge";
import { ACTORS, openDocuments } from "./fixture.ts";

const ACTOR = ACTORS[0] as string;

/** An edit of a document with one change, of some 100 bytes, that takes Automerge long to unfold. */
const slowJob = (() => {
  let doc = A.init<{ list: number[] }>({ actor: "ee".repeat(16) });
  doc = A.change(doc, { time: 1 }, (draft) => {
    draft.list = Array.from({ length: 60_000 }, () => 0);
  });
  return {
    docRef: "slow",
    heads: A.getHeads(doc),
    source: () => ({ chunks: [] }),
    eager: A.getLastLocalChange(doc) as Uint8Array,
    actor: ACTOR,
    time: 1,
    edit: { kind: "merge-patch", patch: `{"list":[${"1,2,3,4,".repeat(2_000)}5]}` } as const,
  };
})();

const large = { text: "x".repeat(200_000) };

describe("jobs that wait for one thread", () => {
  const { documents, newLog } = openDocuments();

  test("travel together, and every author gets the change of its own document", async () => {
    const logs = Array.from({ length: 64 }, () => newLog());
    await Promise.all(logs.map((log, i) => log.put({ i })));
    const before = documents.stats().messages;
    for (let round = 1; round <= 3; round++) {
      await Promise.all(logs.map((log, i) => log.put({ i, round })));
    }
    // The first job of a round goes at once, the others follow in batches of 32.
    expect(documents.stats().messages - before).toBeLessThanOrEqual(3 * 3);
    const values = await Promise.all(logs.map((log) => log.value()));
    expect(values).toEqual(logs.map((_, i) => ({ i, round: 3 })));
    expect(documents.stats()).toMatchObject({ restarts: 0, queued: 0 });
  });

  test("fail one by one, each with its own error", async () => {
    const logs = Array.from({ length: 20 }, () => newLog());
    const results = await Promise.allSettled(logs.map((log, i) => log.put(i % 2 === 0 ? { i } : "[")));
    expect(results.map(({ status }) => status)).toEqual(
      logs.map((_, i) => (i % 2 === 0 ? "fulfilled" : "rejected")),
    );
    expect(results[1]).toMatchObject({ reason: { code: "BAD_JSON" } });
  });
});

describe("the jobs of one document", () => {
  const { documents, newLog } = openDocuments();

  test("run in order also when the first has to ask for its source", async () => {
    const log = newLog();
    await log.put({ v: 1 });
    const bytes = await documents.save(log.at());
    const done: string[] = [];
    const asked: string[] = [];
    const job = (name: string, docRef = "moved") =>
      documents
        .read({
          docRef,
          heads: log.heads,
          source: () => {
            asked.push(name);
            return { chunks: [bytes] };
          },
        })
        .then(() => done.push(name));
    const plug = newLog().put({});
    await Promise.all([plug, job("first"), job("second"), job("other", log.docRef), job("third")]);
    // What needs nothing does not wait for what does.
    expect(done).toEqual(["other", "first", "second", "third"]);
    expect(asked).toEqual(["first"]);
  });

  test("go on when the source of the first fails", async () => {
    const log = newLog();
    await log.put({ v: 1 });
    const at = { docRef: "gone", heads: log.heads };
    const failing = documents.read({ ...at, source: () => Promise.reject(new Error("no source")) });
    const next = documents.read({ ...at, source: () => ({ chunks: log.changes }) });
    await expect(failing).rejects.toThrow("no source");
    expect(await next).toEqual({ json: '{"v":1}' });
  });
});

describe("a job that brings its source", () => {
  const { documents, newLog } = openDocuments();

  test("takes one message, and asks only when what it brought does not lead to the heads", async () => {
    const log = newLog();
    await log.put({ v: 1 });
    const [first] = log.changes;
    const edit = { kind: "put", value: '{"v":2}' } as const;
    const job = (docRef: string) => ({ ...log.at(), docRef, actor: ACTOR, time: 1, edit });
    const before = documents.stats().messages;
    const brought = await documents.author({ ...job("brought"), eager: first as Uint8Array });
    expect(brought.json).toBe('{"v":2}');
    expect(documents.stats().messages - before).toBe(1);
    expect(log.asked).toEqual([]);

    const useless = await documents.author({ ...job("useless"), eager: new Uint8Array() });
    expect(useless).toEqual(brought);
    expect(log.asked).toEqual([[]]);
  });
});

describe("a job that overruns in the middle of a batch", () => {
  const { documents, newLog } = openDocuments();

  test("is the only one that fails", async () => {
    const logs = Array.from({ length: 6 }, () => newLog());
    await Promise.all(logs.map((log) => log.put({ v: 1 })));
    const plug = newLog().put({});
    const under = [
      ...logs.slice(0, 3).map((log) => log.put({ v: 2 })),
      documents.author({ ...slowJob, deadlineMs: 10 }),
      ...logs.slice(3).map((log) => log.put({ v: 2 })),
    ];
    const results = await Promise.allSettled(under);
    expect(results.map(({ status }) => status)).toEqual(
      under.map((_, i) => (i === 3 ? "rejected" : "fulfilled")),
    );
    expect(results[3]).toMatchObject({ reason: { code: "WORK_TIMEOUT", details: { deadline_ms: 10 } } });
    await plug;
    expect(await Promise.all(logs.map((log) => log.value()))).toEqual(logs.map(() => ({ v: 2 })));
    expect(documents.stats()).toMatchObject({ restarts: 1, queued: 0 });
  });
});

describe("a thread killed in the middle of a batch", () => {
  const { documents, newLog } = openDocuments();

  test("costs only the job that it was at", async () => {
    const threads = new Set<Worker>();
    // oxlint-disable-next-line typescript/unbound-method -- called with `apply` below
    const { postMessage } = Worker.prototype;
    Worker.prototype.postMessage = function (this: Worker, ...message: Parameters<typeof postMessage>) {
      threads.add(this);
      postMessage.apply(this, message);
    };
    const logs = Array.from({ length: 4 }, () => newLog());
    try {
      await Promise.all(logs.map((log) => log.put({ v: 1 })));
      const plug = newLog().put({});
      // So large that its answer does not wait for those of the batch that follow.
      const answered = logs[0]?.put(large);
      const killed = documents.author(slowJob);
      const others = logs.slice(1).map((log) => log.put({ v: 2 }));
      const settled = Promise.allSettled([killed, ...others]);
      await plug;
      await answered;
      await Promise.all([...threads].map((thread) => thread.terminate()));
      const results = await settled;
      expect(results.map(({ status }) => status)).toEqual([
        "rejected",
        "fulfilled",
        "fulfilled",
        "fulfilled",
      ]);
      expect(results[0]).toMatchObject({ reason: { code: "WORK_FAILED" } });
    } finally {
      Worker.prototype.postMessage = postMessage;
    }
    const values = await Promise.all(logs.map((log) => log.value()));
    expect(values).toEqual([large, { v: 2 }, { v: 2 }, { v: 2 }]);
    expect(documents.stats()).toMatchObject({ restarts: 1, queued: 0 });
  });
});
