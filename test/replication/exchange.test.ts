import * as A from "@automerge/automerge";
import type { Engine } from "../../src/db/engine.ts";
import { pull, push, relate } from "../../src/replication/exchange.ts";
import { seedOf, seeded } from "../support/fault-process.ts";
import {
  closeEngine,
  carrying,
  codeOf,
  DB,
  headOf,
  lineOf,
  makeCopy,
  openEngine,
  peerOf,
  put,
  read,
  wrongWith,
} from "./fixture.ts";

const seed = seedOf();
const random = seeded(seed);
const below = (n: number): number => Math.floor(random() * n);

/** A db with documents written in every way. */
async function filled(commits = 40): Promise<Engine> {
  const engine = openEngine();
  await engine.create(DB);
  for (let n = 0; n < commits; n += 1) {
    if (n % 10 === 9) {
      await engine.use(DB, (db) =>
        db.tx({ author: "bea", writes: [{ doc: `items/${n - 9 - ((n - 9) % 3)}`, delete: true }] }),
      );
    } else if (n % 10 === 5) {
      await engine.use(DB, (db) => {
        const { bytes } = db.genesis(`sent/${n}`);
        const [doc] = A.applyChanges(A.init<Record<string, unknown>>(), [bytes]);
        const made = A.getLastLocalChange(A.change(doc, (draft) => void (draft["n"] = n))) as Uint8Array;
        return db.tx({
          author: "cleo",
          clientTxId: `sent-${n}`,
          writes: [{ doc: `sent/${n}`, changes: [made] }],
        });
      });
    } else await put(engine, `items/${n - (n % 3)}`, { n, text: "x".repeat(n) }, { clientTxId: `put-${n}` });
  }
  return engine;
}

async function copied(from: Engine): Promise<Engine> {
  const to = openEngine();
  await makeCopy(from, to);
  await pull({ here: peerOf(to), there: peerOf(from) }, carrying);
  return to;
}

describe("a copy", () => {
  let a: Engine;
  let b: Engine;
  beforeAll(async () => {
    a = await filled();
    b = await copied(a);
  });

  test("has every commit under its address, every receipt, and nothing wrong", async () => {
    expect(await lineOf(b)).toEqual(await lineOf(a));
    expect(await wrongWith(b)).toEqual([]);
    expect(await read(b, "items/36")).toEqual(await read(a, "items/36"));
    const again = await put(b, "items/0", { other: true }, { clientTxId: "put-0" });
    expect(again).toMatchObject({ duplicate: true, seq: 1 });
    expect(await lineOf(b)).toEqual(await lineOf(a));
    // Whose an actor is came along.
    const actor = await a.use(DB, (db) => [...(db.log.state("sent/5")?.actors ?? [])][0]);
    expect(actor?.[1].principal).toBe("cleo");
    expect(await b.use(DB, (db) => [...(db.log.state("sent/5")?.actors ?? [])][0])).toEqual(actor);
  });

  test("gets what came since, and no more", async () => {
    await put(a, "items/new", { n: 1 });
    const done = await pull({ here: peerOf(b), there: peerOf(a) }, carrying);
    expect(done).toMatchObject({ received: { commits: 1 }, head: { seq: 41 }, ahead: 0, behind: 0 });
    expect(await pull({ here: peerOf(b), there: peerOf(a) }, carrying)).toMatchObject({
      received: { commits: 0, bytes: 0 },
    });
    expect(await lineOf(b)).toEqual(await lineOf(a));
  });

  test("sends what it wrote itself; a pull from one that is behind does nothing", async () => {
    await put(b, "items/mine", { n: 1 });
    await put(b, "items/new", { n: 2 });
    expect(await pull({ here: peerOf(b), there: peerOf(a) }, carrying)).toMatchObject({
      received: { commits: 0 },
      ahead: 2,
    });
    expect(await push({ here: peerOf(b), there: peerOf(a) }, carrying)).toMatchObject({
      sent: { commits: 2 },
      head: { seq: 43 },
    });
    expect(await push({ here: peerOf(b), there: peerOf(a) }, carrying)).toMatchObject({
      sent: { commits: 0 },
    });
    expect(await lineOf(a)).toEqual(await lineOf(b));
    expect(await read(a, "items/new")).toEqual({ n: 2 });
    // Both servers write the document with an actor of their own.
    await put(a, "items/new", { n: 3 });
    await pull({ here: peerOf(b), there: peerOf(a) }, carrying);
    expect(await read(b, "items/new")).toEqual({ n: 3 });
    expect([await wrongWith(a), await wrongWith(b)]).toEqual([[], []]);
  });

  test("can be of a log whose commits are in bundles, and of a part of one", async () => {
    const c = openEngine();
    await makeCopy(a, c);
    const line = await lineOf(a);
    await a.use(DB, (db) => db.compact({ upTo: 30 }));
    await pull({ here: peerOf(c), there: peerOf(a) }, carrying);
    expect(await lineOf(c)).toEqual(line);
    // It stops within what becomes a bundle.
    const d = await copied(c);
    await put(a, "items/later", { n: 1 });
    await put(a, "items/later", { n: 2 });
    await a.use(DB, (db) => db.compact());
    await pull({ here: peerOf(d), there: peerOf(a) }, carrying);
    expect(await lineOf(d)).toEqual(await lineOf(a));
    expect(await wrongWith(d)).toEqual([]);
  });

  test("of an empty db is empty, and a db of another uid is none", async () => {
    const empty = openEngine();
    await empty.create(DB);
    expect((await headOf(await copied(empty))).seq).toBe(0);
    for (const exchange of [pull, push])
      expect(await codeOf(() => exchange({ here: peerOf(empty), there: peerOf(a) }, carrying))).toBe(
        "SYNC_OTHER_DB",
      );
    const uid = await a.use(DB, (db) => db.log.identity.uid);
    expect(await empty.create(DB, uid)).toBe(false);
  });
});

describe(`a line that breaks (seed ${seed})`, () => {
  test("leaves what came whole, and the next time goes on from there", async () => {
    const a = await filled(30);
    const line = await lineOf(a);
    const whole = await bytesOf(a);
    expect(whole).toBeGreaterThan(5000);
    const runs = Number(process.env["SKALD_TEST_CUTS"] ?? 3);
    for (let run = 0; run < runs; run += 1) {
      const b = openEngine();
      await makeCopy(a, b);
      const cut = run === 0 ? 0 : 1 + below(whole);
      const broken = { here: peerOf(b), there: peerOf(a, DB, { cut: () => cut }) };
      const code = await codeOf(() => pull(broken, carrying));
      const come = await lineOf(b);
      expect({ cut, code, come }).toEqual({
        cut,
        code: expect.stringMatching(/ECONNRESET|none/),
        come: line.slice(0, come.length),
      });
      await pull({ here: peerOf(b), there: peerOf(a) }, carrying);
      expect(await lineOf(b)).toEqual(line);
      await closeEngine(b);
    }
  });

  test("is tried again for as long as it gets on, and every byte of it may be the last one", async () => {
    const a = await filled(30);
    const b = openEngine();
    await makeCopy(a, b);
    // Just enough for the largest record each time.
    const there = peerOf(a, DB, { cut: () => 1500 + below(300) });
    await pull({ here: peerOf(b), there }, carrying);
    expect(await lineOf(b)).toEqual(await lineOf(a));
    expect(await wrongWith(b)).toEqual([]);
  });

  test("loses pushes and answers, and nothing is written twice", async () => {
    const a = await filled(20);
    const b = await copied(a);
    for (let n = 0; n < 30; n += 1) await put(b, `items/${n % 4}`, { n });
    const lost = () => (random() < 0.5 ? (["before", "after"] as const)[below(2)] : undefined);
    const pair = { here: peerOf(b), there: peerOf(a, DB, { lost }) };
    for (let tries = 0; (await headOf(a)).seq < 50; tries += 1) {
      expect(tries).toBeLessThan(100);
      expect(await codeOf(() => push(pair, carrying))).toMatch(/ECONNRESET|none/);
    }
    expect(await lineOf(a)).toEqual(await lineOf(b));
    expect(await wrongWith(a)).toEqual([]);
  });
});

async function bytesOf(engine: Engine): Promise<number> {
  let bytes = 0;
  for await (const part of await peerOf(engine).pull({ seq: 0, cid: undefined }, (await headOf(engine)).seq))
    bytes += part.length;
  return bytes;
}

test("a db that is being written is copied until both are equal", async () => {
  const a = await filled(10);
  const b = openEngine();
  await makeCopy(a, b);
  let writing = true;
  const writers = [0, 1, 2].map(async (writer) => {
    for (let n = 0; writing || n < 30; n += 1) await put(a, `busy/${writer}`, { n });
  });
  for (let n = 0; n < 10; n += 1) await pull({ here: peerOf(b), there: peerOf(a) }, carrying);
  writing = false;
  await Promise.all(writers);
  await pull({ here: peerOf(b), there: peerOf(a) }, carrying);
  expect(await lineOf(b)).toEqual(await lineOf(a));
  expect([await wrongWith(a), await wrongWith(b)]).toEqual([[], []]);
});

test("the last commit that two copies share is found wherever it is", async () => {
  const a = await filled(12);
  const b = await copied(a);
  for (const [mine, theirs] of [
    [1, 1],
    [70, 3],
    [5, 150],
    [1, 0],
  ] as const) {
    const shared = (await headOf(a)).seq;
    expect((await lineOf(b)).slice(0, shared)).toEqual(await lineOf(a));
    const c = await copied(a);
    const d = await copied(a);
    for (let n = 0; n < mine; n += 1) await put(c, "items/c", { n });
    for (let n = 0; n < theirs; n += 1) await put(d, "items/d", { n });
    for (const [x, y] of [
      [c, d],
      [d, c],
    ] as const) {
      expect((await relate(peerOf(x), peerOf(y))).common.seq).toBe(shared);
    }
    if (theirs > 0) {
      const unmerged = () => push({ here: peerOf(c), there: peerOf(d) }, carrying, { merge: false });
      expect(await codeOf(unmerged)).toBe("SYNC_DIVERGED");
    }
    await Promise.all([closeEngine(c), closeEngine(d)]);
    for (let n = 0; n < 40; n += 1) await put(a, "items/a", { n });
    await pull({ here: peerOf(b), there: peerOf(a) }, carrying);
  }
});
