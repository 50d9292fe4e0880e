import * as A from "@automerge/automerge";
import type { Db } from "../../src/db/db.ts";
import { Engine } from "../../src/db/engine.ts";
import { readChange } from "../../src/log/change.ts";
import { verifyLines } from "../../src/db/verify.ts";
import { spoil } from "../support/change-chunks.ts";
import { mutate, seeded, subjects } from "../support/change-mutations.ts";
import { tempDir } from "../support/temp-dir.ts";

/** Changes that pass the guard and that Automerge does not take: they cost themselves and nothing else. */

const MALLORY = "ee".repeat(16);

type Op = Record<string, unknown>;

function openEngine(dir: string): Engine {
  return new Engine({ dir, documents: { workers: 2 }, onError: (error) => failures.push(error) });
}
const failures: unknown[] = [];
let engine: Engine;
const dir = tempDir();
beforeAll(async () => {
  engine = openEngine(dir);
  await engine.create("db");
});
afterAll(async () => {
  await engine.close();
  expect(failures).toEqual([]);
});

const use = <T>(work: (db: Db) => Promise<T> | T): Promise<T> => engine.use("db", work);
const put = (db: Db, doc: string, value: unknown, author = "alice") =>
  db.tx({ author, writes: [{ doc, edit: { kind: "put", value: JSON.stringify(value) } }] });
const send = (db: Db, doc: string, changes: Uint8Array[], author = "mallory") =>
  db.tx({ author, writes: [{ doc, changes }] });
const value = async (db: Db, doc: string, at?: string): Promise<unknown> =>
  JSON.parse((await db.read(doc, at === undefined ? {} : { at })).json);

/** A change that nobody's Automerge would make, on the document as it is. */
async function forge(db: Db, doc: string, ops: (ids: Ids) => Op[], actor = MALLORY): Promise<Uint8Array> {
  const { bytes, heads } = await db.save(doc);
  const all = A.getAllChanges(A.load(bytes)).map(A.decodeChange);
  const made = all.flatMap(({ ops: list, startOp, actor: by }) =>
    list.map((op, i) => ({ key: (op as { key?: string }).key, id: `${startOp + i}@${by}` })),
  );
  const startOp = 1 + made.reduce((most, { id }) => Math.max(most, Number.parseInt(id)), 0);
  const ids: Ids = (key) => made.find((op) => op.key === key)?.id as string;
  const change = { actor, author: null, seq: 1, startOp, time: 0, message: null, deps: [...heads] };
  return new Uint8Array(A.encodeChange({ ...change, ops: ops(ids) } as never));
}
type Ids = (key: string) => string;

const set = (op: Op): Op => ({ action: "set", value: 9, datatype: "int", pred: [], ...op });
const BAD: Record<string, (ids: Ids) => Op[]> = {
  "writes into a number, so that it does not apply": (ids) => [set({ obj: ids("a"), key: "z" })],
  "replaces the value of another key, so that the saved document panics": (ids) => [
    set({ obj: "_root", key: "a", pred: [ids("b")] }),
  ],
  "gives a list a named key, so that the saved document does not load": (ids) => [
    set({ obj: ids("l"), key: "z" }),
  ],
  "ends a mark before its start, so that the saved document does not load": (ids) => [
    {
      action: "markBegin",
      obj: ids("t"),
      elemId: "_head",
      insert: true,
      name: "bold",
      value: true,
      expand: true,
      pred: [],
    },
    { action: "markEnd", obj: ids("t"), elemId: "_head", insert: true, expand: true, pred: [] },
  ],
};
const GOOD = { a: 1, b: 2, l: [1, 2], t: "hello" };

async function verdict(of = engine): Promise<{ verdict: string; problems: unknown[] }> {
  let last = "{}";
  for await (const line of verifyLines(of, "db", new AbortController().signal)) last = line;
  return JSON.parse(last) as { verdict: string; problems: unknown[] };
}

describe.each(Object.entries(BAD))("a change that %s", (name, ops) => {
  const doc = `bad/${name.slice(0, 12)}`;
  const other = `${doc} neighbour`;

  test("is acknowledged, is set aside by a commit of its own, and spoils nothing", async () => {
    await use(async (db) => {
      await put(db, doc, GOOD);
      await put(db, other, { fine: true });
      const before = db.log.state(doc);
      const bad = await forge(db, doc, ops);
      const { hash } = readChange(bad);
      const receipt = await send(db, doc, [bad]);
      expect(receipt).toMatchObject({ duplicate: false, heads: { [doc]: [hash] } });

      await db.projection.catchUp();
      expect(await value(db, doc)).toEqual(GOOD);
      expect(await value(db, other)).toEqual({ fine: true });
      expect(JSON.parse(db.views.document(doc)?.json ?? "null")).toEqual(GOOD);
      expect(db.log.state(doc)?.heads).toEqual(before?.heads);
      expect(await value(db, doc, String(receipt.seq))).toEqual(GOOD);

      const [aside, bring] = db.history(doc, undefined, 2);
      expect(aside).toMatchObject({ author: "skald", refused: [hash], changes: 0 });
      expect(aside?.message).toMatch(/^set aside 1 change: ./);
      expect(bring).toMatchObject({ seq: receipt.seq, heads: [hash], changes: 1 });
    });
  });

  test("is a repeat when it comes again, and what builds on it is refused", async () => {
    await use(async (db) => {
      const [{ refused = [] } = {}, bring] = db.history(doc, undefined, 2);
      const [bad] = db.log.commit(bring?.seq ?? 0)?.blocks ?? [];
      expect(await send(db, doc, [bad as Uint8Array])).toMatchObject({ duplicate: true });
      const header = readChange(bad as Uint8Array);
      const next = { author: null, time: 0, message: null, ops: [set({ obj: "_root", key: "more" })] };
      const startOp = header.maxOp + 1;
      for (const change of [
        { ...next, actor: "ef".repeat(16), seq: 1, startOp, deps: [...refused] },
        {
          ...next,
          actor: MALLORY,
          seq: 2,
          startOp,
          deps: [...(db.log.stateAt(doc, db.log.head().seq)?.heads ?? [])],
        },
      ]) {
        const bytes = new Uint8Array(A.encodeChange(change as never));
        await expect(send(db, doc, [bytes])).rejects.toMatchObject({
          code: "CHANGE_REFUSED",
          details: { doc, change: readChange(bytes).hash, refused: [...refused] },
        });
      }
    });
  });

  test("leaves a document that everyone goes on with", async () => {
    await use(async (db) => {
      await db.tx({ author: "alice", writes: [{ doc, edit: { kind: "merge-patch", patch: `{"a":7}` } }] });
      const { bytes } = await db.save(doc);
      const bob = A.change(A.load<Op>(bytes, { actor: "bb".repeat(16) }), { time: 0 }, (d) => {
        d["bob"] = 1;
      });
      await send(db, doc, [A.getLastLocalChange(bob) as Uint8Array], "bob");
      await db.projection.catchUp();
      expect(await value(db, doc)).toEqual({ ...GOOD, a: 7, bob: 1 });
      expect(A.toJS(A.load((await db.save(doc)).bytes))).toEqual({ ...GOOD, a: 7, bob: 1 });
      const { patch } = await db.diff(doc, "0", undefined);
      expect(JSON.parse(patch)).toContainEqual({ op: "add", path: "/bob", value: 1 });
    });
  });
});

describe("documents that had changes set aside", () => {
  test("the log verifies", async () => {
    expect(await verdict()).toMatchObject({ verdict: "sound", problems: [] });
  });

  test("a replay gives the same rows, and reopening keeps what was set aside", async () => {
    const rows = (db: Db) => db.views.page("", 1000);
    const states = (db: Db) =>
      db.log
        .list("", "", 1000, true)
        .map(({ name, heads, refused, refusedAt }) => ({ name, heads, refused, refusedAt }));
    const before = await use(async (db) => {
      await db.projection.catchUp();
      return { rows: rows(db), states: states(db) };
    });
    expect(before.states.filter(({ refused }) => refused.size > 0)).toHaveLength(Object.keys(BAD).length);
    await engine.rebuild("db");
    expect(await use(async (db) => ({ rows: rows(db), states: states(db) }))).toEqual(before);
    await engine.close();
    engine = openEngine(dir);
    const seq = await use((db) => db.log.head().seq);
    await use(async (db) => {
      expect({ rows: rows(db), states: states(db) }).toEqual(before);
      await db.projection.catchUp();
      expect(db.log.head().seq).toBe(seq);
    });
  });
});

describe("setting aside", () => {
  test("takes along what builds on the bad change, and keeps what stands beside it", async () => {
    await use(async (db) => {
      const doc = "more/closure";
      await put(db, doc, GOOD);
      const { bytes, heads } = await db.save(doc);
      const beside = A.change(A.load<Op>(bytes, { actor: "ba".repeat(16) }), { time: 0 }, (d) => {
        d["beside"] = true;
      });
      const bad = await forge(
        db,
        doc,
        BAD["gives a list a named key, so that the saved document does not load"] as never,
      );
      const child = (actor: string, deps: string[], seq = 1) =>
        new Uint8Array(
          A.encodeChange({
            actor,
            author: null,
            seq,
            time: 0,
            message: null,
            deps,
            startOp: readChange(bad).maxOp + seq,
            ops: [set({ obj: "_root", key: "child" })],
          } as never),
        );
      const one = child("ab".repeat(16), [readChange(bad).hash]);
      const two = child("ab".repeat(16), [readChange(one).hash], 2);
      await send(db, doc, [bad, one]);
      await send(db, doc, [A.getLastLocalChange(beside) as Uint8Array], "bob");
      await send(db, doc, [two]);
      await db.projection.catchUp();
      expect(await value(db, doc)).toEqual({ ...GOOD, beside: true });
      const refused = [bad, one, two].map((change) => readChange(change).hash).sort();
      expect(db.history(doc, undefined, 1)).toMatchObject([{ refused }]);
      expect(db.log.state(doc)?.heads.has(A.getHeads(beside)[0] as string)).toBe(true);
      expect(heads).toHaveLength(1);
    });
  });

  test("comes before an author of this server builds on the bad change", async () => {
    await use(async (db) => {
      const doc = "more/author";
      await put(db, doc, GOOD);
      await send(db, doc, [
        await forge(
          db,
          doc,
          BAD["gives a list a named key, so that the saved document does not load"] as never,
        ),
      ]);
      await put(db, doc, { ...GOOD, a: 2 });
      await db.projection.catchUp();
      expect(await value(db, doc)).toEqual({ ...GOOD, a: 2 });
      expect(db.history(doc, undefined, 2)).toMatchObject([{ author: "alice" }, { author: "skald" }]);
    });
  });

  test("of a document's only change leaves it empty", async () => {
    await use(async (db) => {
      const doc = "more/only";
      const genesis = db.genesis(doc);
      const bad = A.encodeChange({
        actor: MALLORY,
        author: null,
        seq: 1,
        startOp: 1,
        time: 0,
        message: null,
        deps: [genesis.hash],
        ops: [set({ obj: "_root", key: "a" }), set({ obj: `1@${MALLORY}`, key: "z" })],
      } as never);
      let refused = "";
      try {
        readChange(bad);
      } catch (error) {
        refused = (error as { code: string }).code;
      }
      // The guard knows better as long as a change refers to itself only; a reference to another's needs the document.
      expect(refused).toBe("CHANGE_MALFORMED");
      const first = A.change(A.load<Op>(genesis.bytes, { actor: "ba".repeat(16) }), { time: 0 }, (d) => {
        d["a"] = 1;
      });
      const onFirst = A.encodeChange({
        actor: MALLORY,
        author: null,
        seq: 1,
        startOp: 2,
        time: 0,
        message: null,
        deps: A.getHeads(first),
        ops: [set({ obj: `1@${"ba".repeat(16)}`, key: "z" })],
      } as never);
      await send(db, doc, [A.getLastLocalChange(first) as Uint8Array, new Uint8Array(onFirst)]);
      expect(await value(db, doc)).toEqual({ a: 1 });
    });
  });

  test("of a change of the server's own lets it go on under its next actor", async () => {
    await use(async (db) => {
      const doc = "more/own";
      await put(db, doc, GOOD);
      const good = db.point(doc).heads;
      await put(db, doc, { ...GOOD, a: 2 });
      const lost = db.point(doc).heads;
      await db.log.setAside(doc, lost, lost, good, "a test of what follows");
      expect(await value(db, doc)).toEqual(GOOD);
      for (const a of [3, 4]) {
        await put(db, doc, { ...GOOD, a });
        expect(await value(db, doc)).toEqual({ ...GOOD, a });
      }
      const actors = [...(db.log.state(doc)?.actors ?? [])].map(([actor, { seq }]) => ({ actor, seq }));
      expect(actors).toHaveLength(2);
      const next = actors[1]?.actor as string;
      const stolen = A.change(A.load<Op>((await db.save(doc)).bytes, { actor: next }), { time: 0 }, (d) => {
        d["stolen"] = true;
      });
      await expect(send(db, doc, [A.getLastLocalChange(stolen) as Uint8Array])).rejects.toMatchObject({
        code: "CHANGE_ACTOR",
      });
    });
  });

  test("finds one bad change among more than a thousand", async () => {
    await use(async (db) => {
      const doc = "more/many";
      let doc1 = A.init<Op>({ actor: "ba".repeat(16) });
      const changes: Uint8Array[] = [];
      for (let i = 0; i < 1_200; i++) {
        doc1 = A.change(doc1, { time: 0 }, (d) => {
          d[`k${i % 50}`] = i;
        });
        changes.push(A.getLastLocalChange(doc1) as Uint8Array);
        if (i === 800) {
          const { hash, maxOp } = readChange(changes.at(-1) as Uint8Array);
          const bad = {
            actor: MALLORY,
            author: null,
            seq: 1,
            startOp: maxOp + 1,
            time: 0,
            message: null,
            deps: [hash],
          };
          const ops = [set({ obj: `1@${"ba".repeat(16)}`, key: "z" })];
          changes.push(new Uint8Array(A.encodeChange({ ...bad, ops } as never)));
        }
      }
      await send(db, doc, changes);
      expect(await value(db, doc)).toEqual(A.toJS(doc1));
      expect(db.log.state(doc)?.refused.size).toBe(1);
    });
  });
});

const CASES = Number(process.env["SKALD_TEST_SPOILT"] ?? 60);
const SEED = 411;

test(`${CASES} spoilt changes that pass the guard leave every document readable, loadable and sound (seed ${SEED})`, async () => {
  await use(async (db) => {
    const random = seeded(SEED);
    const all = subjects();
    const docs = new Set<string>();
    let sent = 0;
    for (let i = 0; sent < CASES && i < 20 * CASES; i++) {
      const subject = all[Math.floor(random() * all.length)];
      const mutation = subject === undefined ? null : mutate(subject, random);
      if (!subject || !mutation) continue;
      const doc = `fuzz/${subject.name}-${Math.floor(sent / 50)}`;
      // Actors of their own, in the same place among the others, so that a document takes several.
      const bytes = spoil(mutation.bytes, (parts) => {
        parts.actor = new Uint8Array(16).fill(0x77);
        parts.actor.set([i >> 8, i & 255], 14);
      });
      try {
        readChange(bytes);
      } catch {
        continue;
      }
      if (!docs.has(doc)) await send(db, doc, A.getAllChanges(A.load(subject.saved)), "owner");
      docs.add(doc);
      try {
        await send(db, doc, [bytes], "mallory");
        sent++;
      } catch (error) {
        expect((error as { code?: string }).code).toMatch(/^CHANGE_/);
      }
      if (i % 50 === 0) await db.projection.catchUp();
    }
    expect(sent).toBe(CASES);
    await db.projection.catchUp();
    let aside = 0;
    for (const doc of docs) {
      aside += db.log.state(doc)?.refused.size ?? 0;
      const shown = await value(db, doc);
      const { bytes, heads } = await db.save(doc);
      const loaded = A.load(bytes);
      expect(A.getHeads(loaded).sort()).toEqual([...heads]);
      expect(db.views.document(doc)).toMatchObject({ problem: undefined });
      expect(JSON.parse(db.views.document(doc)?.json ?? "null")).toEqual(shown);
    }
    expect(aside).toBeGreaterThan(CASES / 8);
  });
  expect(await verdict()).toMatchObject({ verdict: "sound" });
}, 60_000);
