import { jest } from "@jest/globals";
import { pull, push } from "../../src/replication/exchange.ts";
import { traces } from "../support/canary.ts";
import { carrying, codeOf, DB, lineOf, makeCopy, openEngine, peerOf, put, wrongWith } from "./fixture.ts";

jest.setTimeout(60_000);

const CANARY = "kanarienvogel-55d0";
const erase = (engine: ReturnType<typeof openEngine>, doc: string) =>
  engine.use(DB, (db) => db.erase({ author: "boss", docs: [doc] }));

test("an erasure travels: a copy that pulls it removes the bytes, and one that is made later never gets them", async () => {
  const a = openEngine();
  await a.create(DB);
  for (let n = 0; n < 20; n += 1) await put(a, "c/x", { secret: CANARY, n });
  const b = openEngine();
  await makeCopy(a, b);
  await pull({ here: peerOf(b), there: peerOf(a) }, carrying);
  expect(traces(b.dir, CANARY)).not.toEqual([]);
  await erase(a, "c/x");
  for (let n = 0; n < 300; n += 1) await put(a, "c/other", { n });
  await pull({ here: peerOf(b), there: peerOf(a) }, carrying);
  await b.use(DB, (db) => db.erased());
  const c = openEngine();
  await makeCopy(a, c);
  await pull({ here: peerOf(c), there: peerOf(a) }, carrying);
  await c.use(DB, (db) => db.erased());
  for (const copy of [b, c]) {
    expect(await codeOf(() => copy.use(DB, (db) => db.read("c/x")))).toBe("ERASED");
    expect(await lineOf(copy)).toEqual(await lineOf(a));
    expect(await wrongWith(copy)).toEqual([]);
    expect(traces(copy.dir, CANARY)).toEqual([]);
  }
});

test("two lines of which one erased a document are merged without it, whichever side merges", async () => {
  for (const here of ["eraser", "writer"] as const) {
    const a = openEngine();
    await a.create(DB);
    await put(a, "c/x", { secret: CANARY });
    const b = openEngine();
    await makeCopy(a, b);
    await pull({ here: peerOf(b), there: peerOf(a) }, carrying);
    await erase(a, "c/x");
    await put(b, "c/x", { secret: `${CANARY} more` });
    await put(b, "c/new", { n: 1 });
    const [mine, other] = here === "eraser" ? [a, b] : [b, a];
    await pull({ here: peerOf(mine), there: peerOf(other) }, carrying);
    await push({ here: peerOf(mine), there: peerOf(other) }, carrying);
    for (const side of [a, b]) {
      await side.use(DB, (db) => db.erased());
      expect(await codeOf(() => side.use(DB, (db) => db.read("c/x")))).toBe("ERASED");
      expect((await side.use(DB, (db) => db.read("c/new"))).json).toBe('{"n":1}');
      expect(await wrongWith(side)).toEqual([]);
      expect(traces(side.dir, CANARY)).toEqual([]);
    }
    expect(await lineOf(a)).toEqual(await lineOf(b));
  }
});
