import { jest } from "@jest/globals";
import { cpSync, mkdtempSync } from "node:fs";
import path from "node:path";
import * as A from "@automerge/automerge";
import { checkDb } from "../../src/db/check.ts";
import type { Db } from "../../src/db/db.ts";
import { Engine } from "../../src/db/engine.ts";
import { applyErasures } from "../../src/db/erasure.ts";
import { applyRetention, setRetention } from "../../src/db/retention.ts";
import { readChange as header } from "../../src/log/change.ts";
import { encodeRecord } from "../../src/log/record.ts";
import { cidDigest } from "../../src/ids/cid.ts";
import { realWorld, type World } from "../../src/world.ts";
import { keptIn, samplesOf, setUid, traces } from "../support/canary.ts";
import { derivedOf } from "../support/derived.ts";
import { tempDir } from "../support/temp-dir.ts";

jest.setTimeout(120_000);

const root = tempDir();
const CANARY = "kanarienvogel-7f3a9c51";
const DB = "notes";
const engines: Engine[] = [];
const make = (dir = mkdtempSync(path.join(root, "e-")), world: World = realWorld): Engine => {
  const engine = new Engine({ dir, world, reserve: 0, documents: { workers: 1 } });
  engines.push(engine);
  return engine;
};
afterAll(async () => {
  for (const engine of engines) await engine.close().catch(() => {});
});

const put = (db: Db, doc: string, value: unknown) =>
  db.tx({ author: "ann", writes: [{ doc, edit: { kind: "put", value: JSON.stringify(value) } }] });
const code = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => "none",
    (error: unknown) => (error as { code?: string }).code ?? String(error),
  );
async function findings(db: Db) {
  const steps = checkDb(db, { sample: 4 });
  for (let step = await steps.next(); ; step = await steps.next()) if (step.done) return step.value;
}

/** A db with a document everywhere: in bundles, single records, with others in one commit, saved, large, deleted once. */
async function everywhere(engine: Engine): Promise<void> {
  await engine.create(DB);
  await engine.use(DB, async (db) => {
    for (let n = 0; n < 12; n += 1) {
      await put(db, "c/x", { secret: `${CANARY} ${n}`, n });
      await put(db, "c/other", { n, text: "kept" });
    }
    await db.compact();
    for (let n = 0; n < 6; n += 1) {
      const value = (doc: string) => ({
        doc,
        edit: { kind: "put" as const, value: JSON.stringify({ a: `${CANARY} both`, n }) },
      });
      const other = { doc: "c/other", edit: { kind: "put" as const, value: JSON.stringify({ n: -n }) } };
      await db.tx({ author: "bea", clientTxId: `both-${n}`, writes: [value("c/x"), other] });
    }
    const text = Array.from({ length: 900 }, (_, n) => `${CANARY} line ${n * 7919}`).join("\n");
    await put(db, "c/x", { text });
    await put(db, "d/large", { text });
    // Changes of somebody else's, many enough for a saved form.
    let doc = A.applyChanges(A.init<Record<string, unknown>>(), [db.genesis("c/many").bytes])[0];
    for (let n = 0; n < 260; n += 1) {
      doc = A.change(doc, (draft) => void (draft["secret"] = `${CANARY} ${n}`));
      await db.tx({
        author: "eve",
        writes: [{ doc: "c/many", changes: [A.getLastLocalChange(doc) as Uint8Array] }],
      });
    }
    expect(await db.keepSaved("c/many")).toBe(true);
    await db.tx({ author: "ann", writes: [{ doc: "c/x", delete: true }] });
    await put(db, "c/x", { again: CANARY });
    await db.projection.catchUp();
  });
}

const ERASED = ["c/x", "c/many", "d/large"];

let prepared = "";
beforeAll(async () => {
  const engine = make();
  await everywhere(engine);
  await engine.close();
  prepared = engine.dir;
});

/** A copy of that db. */
function copied(): Engine {
  const dir = path.join(mkdtempSync(path.join(root, "c-")), "dir");
  cpSync(prepared, dir, { recursive: true });
  return make(dir);
}

test("nothing of an erased document is left in any file, in any form, and the rest is as it was", async () => {
  const engine = copied();
  const folder = engine.folderOf(DB);
  const before = keptIn(folder);
  expect(traces(engine.dir, CANARY)).not.toEqual([]);
  const heads = await engine.use(DB, (db) =>
    Array.from({ length: db.log.head().seq }, (_, i) => db.log.commit(i + 1)?.cid),
  );
  await engine.use(DB, async (db) => {
    setUid(db.log.identity.uid);
    const address = db.log.commit(db.log.state("c/x")?.last ?? 0)?.commit.entries[0]
      ?.changes[0] as Uint8Array;
    const { receipt, removed, blocks } = await db.erase({ author: "boss", docs: ERASED, reason: "asked" });
    expect(removed).toBe(true);
    expect(blocks).toBeGreaterThan(280);
    for (const doc of ERASED) {
      expect(await code(db.read(doc))).toBe("ERASED");
      expect(await code(db.read(doc, { at: "5" }))).toBe("ERASED");
      expect(await code(db.save(doc))).toBe("ERASED");
      expect(await code(db.diff(doc, "0", undefined))).toBe("ERASED");
      expect(await code(put(db, doc, { new: 1 }))).toBe("ERASED");
      expect(() => db.log.changes(doc, 0, receipt.seq)).toThrow(/was erased/);
      expect(db.history(doc, undefined, 1)).toMatchObject([{ seq: receipt.seq, author: "boss" }]);
    }
    expect(() => db.log.block(address)).toThrow(/was erased/);
    expect((await db.read("c/other")).json).toBe('{"n":-5}');
    expect((await db.read("c/other", { at: "24" })).json).toBe('{"n":11,"text":"kept"}');
    expect(db.log.counts()).toEqual({ documents: 1, deleted: 3 });
    expect(heads.map((_, i) => db.log.commit(i + 1)?.cid)).toEqual(heads);
    // Doing it again does nothing.
    const again = await db.erase({ author: "boss", docs: ["c/x"] });
    expect(again.receipt).toMatchObject({ duplicate: true, seq: receipt.seq });
    const checked = await findings(db);
    expect(checked.findings).toEqual([]);
    expect(checked.walk.erased()).toEqual({ documents: 3, blocks });
  });
  // What was kept of them in packed forms: windows of it that nothing that is kept now has.
  const now = Buffer.concat(keptIn(folder));
  const samples = before
    .flatMap((bytes) => samplesOf(bytes))
    .filter((sample) => !now.includes(Buffer.from(sample)));
  expect(samples.length).toBeGreaterThan(100);
  expect(traces(engine.dir, CANARY, samples)).toEqual([]);
  const derived = await derivedOf(engine, DB);
  await engine.close();
  expect(traces(engine.dir, CANARY, samples)).toEqual([]);

  const again = make(engine.dir);
  await again.rebuild(DB);
  expect(await derivedOf(again, DB)).toEqual(derived);
  await again.use(DB, async (db) => {
    expect(await code(db.read("c/x"))).toBe("ERASED");
    // What is derived was dropped, so all of it is looked at again.
    await db.erased();
    expect(db.log.erasing()).toEqual([]);
    expect((await findings(db)).findings).toEqual([]);
    // What is written and bundled later has no more of it.
    await put(db, "c/other", { n: 99 });
    await db.compact();
    expect((await findings(db)).findings).toEqual([]);
  });
  await again.close();
  expect(traces(engine.dir, CANARY, samples)).toEqual([]);
});

test("an erasure that broke off after its commit is finished by the next opening, wherever it had got to", async () => {
  const engine = copied();
  await engine.use(DB, (db) => db.log.write(erasing(["c/x", "c/many", "d/large"])));
  // Nothing had a turn to remove anything when this copy is made: it is what a kill right then leaves.
  const at = path.join(mkdtempSync(path.join(root, "k-")), "dir");
  cpSync(engine.dir, at, { recursive: true });
  await engine.use(DB, (db) => db.erased());
  await engine.close();
  expect(traces(engine.dir, CANARY)).toEqual([]);
  const again = make(at);
  await again.use(DB, async (db) => {
    expect(await code(db.read("c/x"))).toBe("ERASED");
    await db.erased();
    expect(db.log.erasing()).toEqual([]);
    expect((await findings(db)).findings).toEqual([]);
    expect(again.erasures(db.log.identity.uid).map(({ doc }) => doc)).toEqual(["c/many", "c/x", "d/large"]);
  });
  await again.close();
  expect(traces(at, CANARY)).toEqual([]);
});

const erasing = (docs: string[]) => ({
  author: "boss",
  clientTxId: "",
  writes: docs.map((doc) => ({ doc, changes: [], deleted: true, erase: {} })),
});

test("readers, writers and followers beside an erasure get what was there before or its name, never anything else", async () => {
  const engine = make();
  await engine.create(DB);
  await engine.use(DB, async (db) => {
    for (let n = 0; n < 30; n += 1) await put(db, "c/x", { secret: CANARY, n });
    await db.compact();
    await put(db, "c/x", { secret: CANARY, n: 30 });
    let stop = false;
    const outcomes = new Set<string>();
    const loop = async (work: () => Promise<unknown>): Promise<void> => {
      while (!stop) {
        const found = await code(work());
        outcomes.add(String(found));
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const readers = [
      loop(async () => expect((await db.read("c/x")).json).toBe(`{"n":30,"secret":"${CANARY}"}`)),
      loop(async () => expect((await db.read("c/x", { at: "7" })).json).toBe(`{"n":6,"secret":"${CANARY}"}`)),
      loop(async () => expect(A.load<{ n: number }>((await db.save("c/x")).bytes).n).toBe(30)),
      loop(async () => expect(db.log.changes("c/x", 0, db.log.head().seq).length).toBe(31)),
      loop(() => put(db, "c/other", { n: Math.random() })),
      loop(async () => {
        for (const { commit, blocks } of db.log.commits(1, 20))
          if (commit.entries[0]?.doc === "c/x") expect([0, 1]).toContain(Math.sign(blocks[0]?.length ?? -1));
      }),
    ];
    await new Promise((resolve) => setTimeout(resolve, 100));
    const { removed } = await db.erase({ author: "boss", docs: ["c/x"] });
    expect(removed).toBe(true);
    await new Promise((resolve) => setTimeout(resolve, 100));
    stop = true;
    await Promise.all(readers);
    expect([...outcomes].sort()).toEqual(["ERASED", "none"]);
    expect((await findings(db)).findings).toEqual([]);
  });
  await engine.close();
  expect(traces(engine.dir, CANARY)).toEqual([]);
});

test("a backup from before an erasure erases again what the list of elsewhere says, and names that are not there", async () => {
  const engine = copied();
  await engine.use(DB, () => {});
  await engine.close();
  const old = path.join(mkdtempSync(path.join(root, "b-")), "dir");
  cpSync(engine.dir, old, { recursive: true });
  const first = make(engine.dir);
  const list = await first.use(DB, async (db) => {
    await db.erase({ author: "boss", docs: ERASED });
    await put(db, "c/new", { n: 1 });
    await db.erase({ author: "boss", docs: ["c/new"] });
    return first.erasures(db.log.identity.uid);
  });
  expect(list.map(({ doc }) => doc)).toEqual(["c/many", "c/new", "c/x", "d/large"]);
  const second = make(old);
  await second.use(DB, async (db) => {
    expect((await db.read("c/x")).json).toContain(CANARY);
    expect(await applyErasures(db, list)).toBe(4);
    expect(await applyErasures(db, list)).toBe(0);
    expect(await code(put(db, "c/new", { n: 1 }))).toBe("ERASED");
    expect((await findings(db)).findings).toEqual([]);
  });
  await second.close();
  expect(traces(old, CANARY)).toEqual([]);
});

test("a document is erased on every branch, also one that only a branch has", async () => {
  const engine = make();
  await engine.create(DB);
  await engine.use(DB, async (db) => {
    const { log } = db;
    const write = (doc: string, branch: string | undefined, text: string) => {
      const { bytes } = db.genesis(doc);
      const made = A.change(A.applyChanges(A.init<Record<string, unknown>>(), [bytes])[0], (draft) => {
        draft["secret"] = `${CANARY} ${text}`;
      });
      return db.log.write({
        author: "eve",
        clientTxId: "",
        writes: [{ doc, changes: [header(A.getLastLocalChange(made) as Uint8Array)] }],
        ...(branch === undefined ? {} : { branch }),
      });
    };
    await write("c/x", undefined, "main");
    await log.write({
      author: "ann",
      clientTxId: "",
      writes: [],
      branch: "draft",
      step: { kind: "create", from: "main" },
    });
    await write("c/x", "draft", "draft");
    await write("c/own", "draft", "only there");
    await write("c/x", undefined, "main again");
    await db.erase({ author: "boss", docs: ["c/x", "c/own"] });
    for (const doc of ["c/x", "c/own"]) {
      expect(() => log.changes(doc, 0, log.head().seq, "draft")).toThrow(/was erased/);
      expect(await code(write(doc, "draft", "new"))).toBe("ERASED");
    }
    expect(await code(db.erase({ author: "boss", docs: ["c/none"] }))).toBe("DOC_NOT_FOUND");
    expect((await findings(db)).findings).toEqual([]);
  });
  const derived = await derivedOf(engine, DB);
  await engine.rebuild(DB);
  expect(await derivedOf(engine, DB)).toEqual(derived);
  await engine.close();
  expect(traces(engine.dir, CANARY)).toEqual([]);
});

test("retention erases what was deleted longer ago than a rule allows, and what expires, and says so in the log", async () => {
  let now = 1_800_000_000_000;
  const engine = make(undefined, { ...realWorld, now: () => now });
  await engine.create(DB);
  await engine.use(DB, async (db) => {
    for (const doc of ["log/gone", "log/kept", "session/old", "other/gone"])
      await put(db, doc, { secret: CANARY });
    for (const doc of ["log/gone", "other/gone"])
      await db.tx({ author: "ann", writes: [{ doc, delete: true }] });
    await setRetention(db, "ann", { collection: "log", maxAge: 3600, expire: false });
    await setRetention(db, "ann", { collection: "session", maxAge: 60, expire: true });
    expect(await applyRetention(db)).toMatchObject({ documents: 0 });
    now += 61_000;
    await put(db, "session/new", { n: 1 });
    expect(await applyRetention(db)).toMatchObject({ documents: 1, removed: true });
    expect(await code(db.read("session/old"))).toBe("ERASED");
    now += 3_600_000;
    await put(db, "session/new", { n: 2 });
    expect(await applyRetention(db)).toMatchObject({ documents: 1, removed: true });
    expect(db.log.erasures().map(({ name }) => name)).toEqual(["log/gone", "session/old"]);
    expect((await db.read("log/kept")).json).toContain(CANARY);
    await setRetention(db, "ann", { collection: "session", maxAge: undefined, expire: false });
    expect(db.log.retention()).toEqual([
      expect.objectContaining({ collection: "log", maxAge: 3600, expire: false }),
    ]);
    expect((await findings(db)).findings).toEqual([]);
  });
  const derived = await derivedOf(engine, DB);
  await engine.rebuild(DB);
  expect(await derivedOf(engine, DB)).toEqual(derived);
});

test("a record without the bytes of its change that nothing erased is damage, and is not taken from another server", async () => {
  const engine = make();
  await engine.create(DB);
  await engine.use(DB, async (db) => {
    const uid = db.log.identity.uid;
    await put(db, "c/x", { secret: CANARY });
    const stored = db.log.commit(1);
    if (!stored) throw new Error("no commit");
    const { cid, bytes, blocks, clientTxId } = stored;
    const stub = encodeRecord({
      digest: cidDigest(cid),
      commit: bytes,
      blocks: blocks.map(() => new Uint8Array(0)),
      clientTxId,
    });
    await engine.create("copy", uid);
    await engine.use("copy", async (copy) => {
      const nowhere = { seq: 0, cid: undefined };
      expect(await code(copy.log.receive(nowhere, [stub]))).toBe("SYNC_INVALID");
      expect(
        await code(copy.log.receive(nowhere, [stub], { mayErase: false, mayDefine: false, erased: ["c/x"] })),
      ).toBe("SYNC_INVALID");
      // Told that it is erased later, the copy takes it, gives nothing of it, and says until then that it is owed that.
      await copy.log.receive(nowhere, [stub], { mayErase: true, mayDefine: false, erased: ["c/x"] });
      expect(await code(copy.read("c/x"))).toBe("ERASED");
      expect((await findings(copy)).findings.map(({ what }) => what)).toEqual(["erased"]);
      await db.erase({ author: "boss", docs: ["c/x"] });
      const rest = db.log.bodies(2, 10, 1e6).map(({ body }) => body);
      expect(
        await code(
          copy.log.receive(copy.log.head(), rest, { mayErase: false, mayDefine: false, erased: [] }),
        ),
      ).toBe("FORBIDDEN");
      await copy.log.receive(copy.log.head(), rest);
      await copy.erased();
      expect((await findings(copy)).findings).toEqual([]);
    });
  });
});
