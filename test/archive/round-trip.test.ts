import { readCar, wholeCar } from "./independent-car.ts";
import { CODEC_DAG_CBOR, cidOf, cidToString } from "../../src/ids/cid.ts";
import { decodeOpening } from "../../src/archive/opening.ts";
import type { DocState } from "../../src/log/doc-state.ts";
import type { Log } from "../../src/log/log.ts";
import { codeOf, lineOf, openEngine, put, read, wrongWith } from "../replication/fixture.ts";
import { traces } from "../support/canary.ts";
import { everything, historyOf, importInto, stateOf } from "./fixture.ts";

const engine = openEngine();
const other = openEngine();

beforeAll(async () => {
  await everything(engine, "notes");
}, 60_000);

describe("a history", () => {
  test("is the same db again, down to its addresses and receipts, and is written the same again", async () => {
    const file = await historyOf(engine, "notes");
    const done = await importInto(other, "copy", file);
    expect(done).toMatchObject({ kind: "history", bytes: file.length });
    expect(await lineOf(other, "copy")).toEqual(await lineOf(engine, "notes"));
    expect(await wrongWith(other, "copy")).toEqual([]);
    const [branches, copied] = await Promise.all([
      engine.use("notes", ({ log }) => log.branches()),
      other.use("copy", ({ log }) => log.branches()),
    ]);
    expect(copied).toEqual(branches);
    expect(branches.map(({ name, state }) => [name, state])).toEqual([
      ["main", "open"],
      ["draft", "open"],
      ["below", "closed"],
    ]);
    expect((await historyOf(other, "copy")).equals(file)).toBe(true);
    const bits = await Promise.all(
      [engine, other].map((side, i) =>
        side.use(i ? "copy" : "notes", ({ log }) => ({
          uid: Buffer.from(log.identity.uid).toString("hex"),
          counts: log.counts(),
          states: statesOf(log).map(({ name, heads, refused, deleted, last }) => ({
            name,
            heads,
            refused: [...refused.keys()],
            deleted,
            last,
          })),
        })),
      ),
    );
    expect(bits[1]).toEqual(bits[0]);
    expect(bits[0]?.counts.deleted).toBe(1);
    expect(bits[0]?.states.some(({ refused }) => refused.length > 0)).toBe(true);
    // Each copy has an actor of its own, so that both may write.
    const actors = await Promise.all([
      engine.use("notes", ({ log }) => log.identity.actor),
      other.use("copy", ({ log }) => log.identity.actor),
    ]);
    expect(Buffer.compare(actors[0], actors[1])).not.toBe(0);
    for (const clientTxId of ["first", "here", "there", "after"]) {
      const [first, repeat] = await Promise.all([
        put(engine, "items/one", { again: 1 }, { db: "notes", clientTxId }).catch(codeFrom),
        put(other, "items/one", { again: 1 }, { db: "copy", clientTxId }).catch(codeFrom),
      ]);
      expect(repeat).toEqual(first);
    }
  });

  test("comes in pieces of any size", async () => {
    const file = await historyOf(engine, "notes");
    for (const size of [1, 7, 1000]) {
      await importInto(other, `pieces-${size}`, file, size);
      expect((await historyOf(other, `pieces-${size}`)).equals(file)).toBe(true);
    }
  });

  test("up to a commit in the past has that commit as its root and nothing later", async () => {
    const line = await lineOf(engine, "notes");
    for (const seq of [1, 5, line.length - 1]) {
      const file = await historyOf(engine, "notes", seq);
      expect(wholeCar(file).roots).toEqual([line[seq - 1]]);
      await importInto(other, `up-to-${seq}`, file);
      expect(await lineOf(other, `up-to-${seq}`)).toEqual(line.slice(0, seq));
      expect(await wrongWith(other, `up-to-${seq}`)).toEqual([]);
    }
  });

  test("of a db without commits is one as well", async () => {
    await engine.create("empty");
    const file = await historyOf(engine, "empty");
    const { roots, blocks } = wholeCar(file);
    expect(blocks.map(({ cid }) => cid)).toEqual(roots);
    await importInto(other, "empty", file);
    expect((await historyOf(other, "empty")).equals(file)).toBe(true);
  });

  test("goes on as the db: what is written to both copies can be brought together", async () => {
    await importInto(other, "goes-on", await historyOf(engine, "notes"));
    await put(other, "items/new", { n: 1 }, { db: "goes-on" });
    expect(await read(other, "items/new", "goes-on")).toEqual({ n: 1 });
    expect(await wrongWith(other, "goes-on")).toEqual([]);
  });

  test("is not put in the place of a db that is there", async () => {
    const file = await historyOf(engine, "notes");
    expect(await codeOf(() => importInto(engine, "notes", file))).toBe("DB_EXISTS");
    // A second copy under another name is a copy like any.
    await importInto(engine, "second", file);
    expect(await lineOf(engine, "second")).toEqual(await lineOf(engine, "notes"));
  });
});

describe("a state", () => {
  test("has the documents under their names, with their histories and Automerge ids, and no commits of the db's", async () => {
    const file = await stateOf(engine, "notes");
    await importInto(other, "state", file);
    const names = (db: string, side = engine) =>
      side.use(db, ({ log }) =>
        statesOf(log)
          .filter(({ deleted }) => !deleted)
          .map(({ name, heads }) => [name, [...heads.keys()].sort()] as const),
      );
    expect(await names("state", other)).toEqual(await names("notes"));
    for (const [doc] of await names("notes"))
      expect(await read(other, doc, "state")).toEqual(await read(engine, doc, "notes"));
    expect(await wrongWith(other, "state")).toEqual([]);
    const [uid, head, count] = await other.use("state", ({ log }) => [
      Buffer.from(log.identity.uid).toString("hex"),
      log.head().seq,
      log.counts(),
    ]);
    expect([uid, count]).toEqual([
      await engine.use("notes", ({ log }) => Buffer.from(log.identity.uid).toString("hex")),
      { documents: (await names("notes")).length, deleted: 0 },
    ]);
    expect(head).toBe(1);
  });

  test("of a point has the documents as they were there", async () => {
    const file = await stateOf(engine, "notes", 3);
    await importInto(other, "state-3", file);
    expect(await read(other, "items/gone", "state-3")).toEqual({ n: 1 });
    const names = await other.use("state-3", ({ log }) => log.list("", "", 100).map(({ name }) => name));
    expect(names).toEqual(["items/back", "items/gone", "items/one"]);
  });

  test("of a branch has the documents that it has", async () => {
    await importInto(other, "state-draft", await stateOf(engine, "notes", undefined, "draft"));
    expect(await read(other, "items/one", "state-draft")).toEqual({ n: 3, draft: true });
    expect(await read(other, "items/drafted", "state-draft")).toEqual({ n: 1 });
    expect(await wrongWith(other, "state-draft")).toEqual([]);
  });

  test("is named by its root, which is the same when it is made again", async () => {
    const [one, two] = [await stateOf(engine, "notes"), await stateOf(engine, "notes")];
    expect(two.equals(one)).toBe(true);
    const { roots, blocks } = wholeCar(one);
    expect(blocks[0]?.cid).toBe(roots[0]);
  });

  test("of a db without documents is one as well", async () => {
    await engine.create("empty-state");
    const done = await importInto(other, "empty-state", await stateOf(engine, "empty-state"));
    expect(done).toMatchObject({ kind: "state", documents: 0 });
  });
});

describe("any other reader of CAR files", () => {
  test("reads each block of a history once, under its address, and finds every commit and change", async () => {
    const file = await historyOf(engine, "notes");
    const { roots, blocks } = wholeCar(file);
    const line = await lineOf(engine, "notes");
    expect(roots).toEqual([line.at(-1)]);
    const found = new Map(blocks.map(({ cid, data }) => [cid, data]));
    expect(found.size).toBe(blocks.length);
    expect(line.every((cid) => found.has(cid))).toBe(true);
    await engine.use("notes", async ({ log }) => {
      let changes = 0;
      for (let seq = 1; seq <= log.head().seq; seq += 1) {
        const commit = log.commit(seq);
        for (const cid of [
          ...(commit?.commit.entries ?? []).flatMap((entry) => entry.changes),
          ...(commit?.commit.events ?? []),
        ]) {
          changes += 1;
          await log.locate(cid);
          expect(found.get(cidToString(cid))).toEqual(new Uint8Array(log.block(cid) as Uint8Array));
        }
      }
      expect(changes).toBeGreaterThan(20);
    });
  });

  test("finds in a state the documents that its root leads to", async () => {
    const { roots, blocks } = wholeCar(await stateOf(engine, "notes"));
    const [root] = blocks;
    const data = root?.data as Uint8Array;
    const opening = decodeOpening({ index: 0, offset: 0, cid: cidOf(CODEC_DAG_CBOR, data), data });
    const found = new Map(blocks.map(({ cid, data }) => [cid, data]));
    expect(root?.cid).toBe(roots[0]);
    expect(opening.pages.every((page) => found.has(cidToString(page)))).toBe(true);
    // The first block, its page, and a chunk for each document.
    expect(blocks).toHaveLength(1 + opening.pages.length + opening.documents);
  });

  test("notices what is wrong, so that what it read means something", async () => {
    const file = await historyOf(engine, "notes");
    const spoilt = Buffer.from(file);
    spoilt[file.length - 1] = (spoilt[file.length - 1] as number) ^ 1;
    expect(() => readCar(spoilt)).toThrow("hash");
    expect(() => readCar(file.subarray(0, -1))).toThrow();
  });
});

const codeFrom = (error: unknown): string => String((error as { code?: unknown }).code);

const statesOf = (log: Log): DocState[] =>
  log.list("", "", 100, true).map(({ name }) => log.state(name) as DocState);

test("what was erased of a db on this server stays erased when an older archive of it comes back", async () => {
  const here = openEngine();
  await here.create("notes");
  await put(here, "people/ann", { secret: CANARY }, { db: "notes" });
  await put(here, "people/bob", { n: 1 }, { db: "notes" });
  const file = await historyOf(here, "notes");
  await here.use("notes", (db) => db.erase({ author: "ann", docs: ["people/ann"] }));
  await importInto(here, "again", file);
  expect(await codeOf(() => read(here, "people/ann", "again"))).toBe("ERASED");
  expect(await read(here, "people/bob", "again")).toEqual({ n: 1 });
  await here.use("again", (db) => db.erased());
  expect(await wrongWith(here, "again")).toEqual([]);
  await here.close();
  expect(traces(here.dir, CANARY)).toEqual([]);
});

const CANARY = "canary-93c2-that-nobody-may-read";
