import path from "node:path";
import type { Thread } from "../../src/documents/messages.ts";
import { startWorker } from "../../src/documents/worker-pool.ts";
import { Engine } from "../../src/db/engine.ts";
import { realWorld } from "../../src/world.ts";
import { tempDir } from "../support/temp-dir.ts";

describe("the documents projection", () => {
  test("holds a document whose thread ended for another's sake while it was read", async () => {
    let deaths = 0;
    const engine = new Engine({
      dir: path.join(tempDir(), "data"),
      reserve: 0,
      // The JSON that an author leaves behind would be taken from memory.
      cacheBytes: 0,
      documents: {
        workers: 1,
        thread: (options): Thread => {
          const worker = startWorker(options);
          const post = worker.postMessage.bind(worker);
          worker.postMessage = (batch, buffers) => {
            if (deaths > 0 || batch.items[0]?.work.kind !== "read") return post(batch, buffers);
            deaths += 1;
            void worker.terminate();
          };
          return worker;
        },
      },
    });
    await engine.create("db");
    const row = await engine.use("db", async (db) => {
      await db.tx({ author: "ann", writes: [{ doc: "c/a", edit: { kind: "put", value: '{"x":1}' } }] });
      await db.projection.catchUp();
      return db.views.document("c/a");
    });
    await engine.close();
    expect(deaths).toBe(1);
    expect(row).toMatchObject({ json: '{"x":1}', problem: undefined });
  });

  test("follows within ten seconds under writers without a pause, whatever the clock is set to", async () => {
    // Timers that fire when the test says, and a wall clock that was set back by a year.
    let monotonic = 1000;
    let wall = Date.UTC(2026, 0, 1);
    let timers: { at: number; work: () => void }[] = [];
    const world = {
      ...realWorld,
      now: () => wall,
      monotonic: () => monotonic,
      timer: (ms: number, work: () => void) => {
        const timer = { at: monotonic + ms, work };
        timers.push(timer);
        return () => {
          timers = timers.filter((other) => other !== timer);
        };
      },
    };
    const engine = new Engine({
      dir: path.join(tempDir(), "data"),
      reserve: 0,
      world,
      documents: { workers: 1, world: realWorld },
    });
    await engine.create("db");
    const held = engine.hold("db");
    if (!held) throw new Error("the db is closing");
    const { db } = held;
    for (let i = 0; i < 120 && db.projection.head() === 0; i += 1) {
      await db.tx({ author: "ann", writes: [{ doc: "c/a", edit: { kind: "put", value: `{"x":${i}}` } }] });
      monotonic += 100;
      if (i === 3) wall -= 365 * 24 * 3_600_000;
      const due = timers.filter(({ at }) => at <= monotonic);
      timers = timers.filter(({ at }) => at > monotonic);
      for (const { work } of due) work();
      if (due.length > 0) await db.projection.catchUp();
    }
    expect(db.projection.head()).toBeGreaterThan(0);
    held.release();
    await engine.close();
  });
});
