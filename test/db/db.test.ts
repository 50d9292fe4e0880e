import { checkDb, finished } from "../../src/db/check.ts";
import { startPacker } from "../../src/db/compaction.ts";
import type { Db } from "../../src/db/db.ts";
import { Engine } from "../../src/db/engine.ts";
import { sqliteFiles } from "../../src/db/files.ts";
import { verifyLines } from "../../src/db/verify.ts";
import { SkaldError } from "../../src/errors.ts";
import { cidToString } from "../../src/ids/cid.ts";
import type { StoredCommit } from "../../src/log/log.ts";
import { copyOf, lastChange, refusal, set, ACTORS } from "../log/fixture.ts";
import { tempDir } from "../support/temp-dir.ts";

const told: string[] = [];
const engine = new Engine({
  dir: tempDir(),
  reserve: 0,
  documents: { workers: 1 },
  onError: (error) => told.push((error as { code: string }).code),
});
afterAll(() => engine.close());
let count = 0;

/** A db with five commits: c/a three times, c/b, and c/gone made and deleted. */
async function inDb(work: (db: Db) => Promise<void>): Promise<string> {
  const dbId = `db-${++count}`;
  await engine.create(dbId);
  await engine.use(dbId, async (db) => {
    for (const n of [1, 2]) await put(db, "c/a", { n, list: [n], deep: { x: n } });
    await put(db, "c/gone", { n: 3 });
    await db.tx({ author: "ann", writes: [{ doc: "c/gone", delete: true }] });
    await put(db, "c/b", {});
    await work(db);
  });
  return dbId;
}
const put = (db: Db, doc: string, value: unknown) =>
  db.tx({ author: "ann", writes: [{ doc, edit: { kind: "put", value: JSON.stringify(value) } }] });

describe("a document", () => {
  test("is read whole, in parts, and with what others wrote at the same time", () =>
    inDb(async (db) => {
      expect(JSON.parse((await db.read("c/a", { paths: ["/n"] })).json)).toEqual({ "/n": 2 });
      expect(await db.read("c/a", { paths: ["/n"] })).not.toHaveProperty("conflicts");
      expect((await db.read("c/a", { conflicts: true })).conflicts).toEqual([]);
      const rivals = [0, 1].map((i) =>
        lastChange(set(copyOf(db.log, "c/two", ACTORS[i] as string), { n: i })),
      );
      await db.tx({ author: "ann", writes: [{ doc: "c/two", changes: rivals }] });
      const both = await db.read("c/two", { conflicts: true });
      expect(both.conflicts).toHaveLength(1);
      expect(both.heads).toHaveLength(2);
      expect(JSON.parse((await db.read("c/two")).json)).toEqual(JSON.parse(both.json));
    }));

  test("is read at a seq, at a commit's address, and not before it was or after it was deleted", () =>
    inDb(async (db) => {
      const first = cidToString(db.log.commit(1)?.cid as Uint8Array);
      for (const at of ["1", first])
        expect(JSON.parse((await db.read("c/a", { at })).json)).toMatchObject({ n: 1 });
      await db.compact();
      await db.locate(first);
      expect(JSON.parse((await db.read("c/a", { at: first })).json)).toMatchObject({ n: 1 });
      expect(JSON.parse((await db.read("c/gone", { at: "3" })).json)).toEqual({ n: 3 });
      for (const at of ["2", "4", "5"])
        expect(await refusal(() => db.point("c/gone", at))).toMatchObject({
          code: "DOC_NOT_FOUND",
          details: { doc: "c/gone", deleted: at !== "2" },
        });
      expect((await db.save("c/a", { at: "1" })).seq).toBe(1);
    }));

  test("that was never there has no history and no difference; one that was has both", () =>
    inDb(async (db) => {
      const none = { code: "DOC_NOT_FOUND", details: { doc: "c/none", deleted: false } };
      expect(await refusal(() => db.history("c/none", undefined, 10))).toEqual(none);
      const diff = db.diff("c/none", "1", undefined).then(
        () => ({ code: "none" }),
        (error: unknown) => error,
      );
      expect(await diff).toMatchObject(none);
      expect(db.history("c/gone", undefined, 10)).toMatchObject([
        { seq: 4, deleted: true, author: "ann" },
        { seq: 3, deleted: false, changes: 1, message: undefined },
      ]);
      const patches = await Promise.all([
        db.diff("c/gone", "0", "3"),
        db.diff("c/gone", "3", "4"),
        db.diff("c/gone", "4", "4"),
      ]);
      expect(patches.map(({ patch }) => JSON.parse(patch) as unknown)).toEqual([
        [{ op: "add", path: "/n", value: 3 }],
        [{ op: "remove", path: "/n" }],
        [],
      ]);
    }));

  test("is answered from the log when its row cannot be read", () =>
    inDb(async (db) => {
      await db.projection.catchUp();
      const row = db.views.document.bind(db.views);
      db.views.document = () => {
        throw new SkaldError("INTERNAL", "the row cannot be read");
      };
      told.length = 0;
      expect(JSON.parse((await db.read("c/a", { at: "1" })).json)).toMatchObject({ n: 1 });
      expect(told).toContain("INTERNAL");
      db.views.document = row;
    }));

  test("keeps no saved form that reads back differently", () =>
    inDb(async (db) => {
      let doc = copyOf(db.log, "c/many", ACTORS[0]);
      const changes = Array.from({ length: 300 }, (_, i) =>
        lastChange((doc = set(doc, { [`k${i % 7}`]: i }))),
      );
      for (const change of changes)
        await db.tx({ author: "ann", writes: [{ doc: "c/many", changes: [change] }] });
      const check = db.documents.check.bind(db.documents);
      db.documents.check = async (job) =>
        job.keep ? { refused: { index: -1, reason: "it does not load as it was" } } : check(job);
      expect(await db.keepSaved("c/many").catch((error: unknown) => error)).toMatchObject({
        code: "DOC_UNREADABLE",
      });
      db.documents.check = check;
      expect(db.views.saved("c/many")).toBeUndefined();
      expect(await db.keepSaved("c/many")).toBe(true);
      expect(await db.keepSaved("c/many")).toBe(false);
      expect(await db.keepSaved("c/gone")).toBe(false);
      expect(await db.keepSaved("c/none")).toBe(false);
      expect(db.views.saved("c/many")?.seq).toBe(305);
      // From there a cold worker starts.
      expect((await finished(checkDb(db))).findings).toEqual([]);
    }));
});

describe("compacting", () => {
  test("stands when only the tidying of what is derived fails, and is one at a time", () =>
    inDb(async (db) => {
      db.views.tidy = () => {
        throw new SkaldError("STORAGE_FULL", "no room to tidy");
      };
      told.length = 0;
      const [one, two] = await Promise.all([db.compact(), db.compact()]);
      expect(one).toMatchObject({ bundles: 1, commits: 5 });
      expect(two).toBe(one);
      expect(told).toEqual(["STORAGE_FULL"]);
    }));

  test("that fails says so, and the db closes all the same", async () => {
    const other = new Engine({
      dir: tempDir(),
      reserve: 0,
      documents: { workers: 1 },
      packer: () =>
        ({
          pack: () => Promise.reject(new SkaldError("INTERNAL", "it does not come back")),
          close: () => {},
        }) as never,
      onError: () => {},
    });
    await other.create("db");
    await other.use("db", async (db) => {
      await put(db, "c/a", { n: 1 });
      await put(db, "c/a", { n: 2 });
      const compacted = db.compact().catch((error: unknown) => error);
      expect(await compacted).toBeInstanceOf(Error);
      expect(db.storage.ranges()).toEqual([]);
    });
    await other.close();
  });
});

test("commits that do not come back from a thread's bundle stay as they are", async () => {
  const other = new Engine({
    dir: tempDir(),
    reserve: 0,
    documents: { workers: 1 },
    packer: () => {
      const packer = startPacker();
      const spoilt = (commits: readonly StoredCommit[]) =>
        commits.map((stored) => ({ ...stored, bytes: stored.bytes.map((byte) => byte ^ 1) }));
      return { pack: (uid, commits) => packer.pack(uid, spoilt(commits)), end: () => packer.end() };
    },
  });
  await other.create("db");
  await other.use("db", async (db) => {
    for (const n of [1, 2]) await put(db, "c/a", { n });
    await expect(db.compact()).rejects.toMatchObject({ code: "INTERNAL" });
    expect(db.storage.ranges()).toEqual([]);
    expect(JSON.parse((await db.read("c/a", { at: "1" })).json)).toEqual({ n: 1 });
  });
  await other.close();
});

describe("verify", () => {
  const lines = async (dbId: string, options = {}, signal = new AbortController().signal) => {
    const all: Record<string, unknown>[] = [];
    for await (const line of verifyLines(engine, dbId, signal, options))
      all.push(JSON.parse(line) as Record<string, unknown>);
    return all;
  };

  test("tells how far it is, and what it compared", async () => {
    const receipts: { seq: number; commit: string }[] = [];
    const dbId = await inDb(async (db) => {
      const { seq, commit } = await put(db, "c/a", { n: 9 });
      receipts.push({ seq, commit }, { seq, commit });
    });
    const all = await lines(dbId, { receipts });
    expect(all.at(-1)).toMatchObject({ verdict: "sound", checked: 6, of: 6, receipts: 2, problems: [] });
    expect(all[0]).toEqual({ stage: "log", checked: 0, of: 6 });
    const alone = await lines(dbId, { only: "log" });
    expect(alone.at(-1)).toMatchObject({ verdict: "sound", stages: ["log"], commit: receipts[0]?.commit });
    expect(alone.at(-1)).not.toHaveProperty("receipts");
    const wrong = [
      { seq: 6, commit: receipts[0]?.commit.replace(/.$/, (last) => (last === "a" ? "i" : "a")) },
      ...receipts,
      { seq: 7, commit: "b" },
    ];
    expect((await lines(dbId, { receipts: wrong })).at(-1)).toMatchObject({
      verdict: "damaged",
      problems: [
        { what: "acknowledged", where: expect.stringContaining("commit 6 was acknowledged as") as string },
        { what: "acknowledged", where: expect.stringContaining("commit 7 (b) is not in the log") as string },
      ],
    });
  });

  test("of an empty db says that it has no commit", async () => {
    await engine.create("empty");
    expect((await lines("empty")).at(-1)).toMatchObject({ verdict: "sound", checked: 0, commit: null });
  });

  test("says what a rebuild heals, and what it means", async () => {
    const dbId = await inDb(async (db) => {
      await db.projection.catchUp();
    });
    await engine.use(dbId, (db) => {
      const row = db.views.document.bind(db.views);
      db.views.document = (doc) => {
        const there = row(doc);
        return there && doc === "c/a" ? { ...there, json: "{}" } : there;
      };
    });
    expect((await lines(dbId)).at(-1)).toMatchObject({
      verdict: "damaged",
      problems: [
        {
          what: "projection",
          where: expect.stringContaining("c/a") as string,
          heals: "rebuild",
          means: expect.any(String) as string,
        },
      ],
    });
  });

  test("ends quietly when nobody listens any more, in either part", async () => {
    const dbId = await inDb(async () => {});
    const gone = new AbortController();
    gone.abort();
    expect(await lines(dbId, {}, gone.signal)).toEqual([]);
    const later = new AbortController();
    const seen: unknown[] = [];
    for await (const line of verifyLines(engine, dbId, later.signal)) {
      const { stage } = JSON.parse(line) as { stage?: string };
      seen.push(stage);
      if (stage === "catalog") later.abort();
    }
    expect(seen).not.toContain(undefined);
    expect(seen.at(-1)).toBe("catalog");
  });

  test("breaks off when somebody waits for the db to close, and waits itself while it closes", async () => {
    const dbId = await inDb(async () => {});
    const steps = verifyLines(engine, dbId, new AbortController().signal);
    for (let step = await steps.next(); !step.done; step = await steps.next())
      if ((JSON.parse(step.value) as { stage?: string }).stage === "feed") break;
    const rebuilt = engine.rebuild(dbId);
    await expect(
      (async () => {
        for await (const _ of steps);
      })(),
    ).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await rebuilt;
    const again = engine.rebuild(dbId);
    expect((await lines(dbId)).at(-1)).toMatchObject({ verdict: "sound" });
    await again;
  });
});

describe("an engine whose files fail", () => {
  const failing = (parts: Partial<typeof sqliteFiles>, more = {}) =>
    new Engine({
      dir: tempDir(),
      reserve: 0,
      documents: { workers: 1 },
      files: { ...sqliteFiles, ...parts },
      onError: (error) => told.push((error as { code: string }).code),
      ...more,
    });

  test("makes no db of half of one, and makes it the next time", async () => {
    let full = true;
    const other = failing({
      createLog: (...of) => {
        const storage = sqliteFiles.createLog(...of);
        if (!full) return storage;
        storage.close();
        throw new SkaldError("STORAGE_FULL", "no room");
      },
    });
    expect(await other.create("db").catch((error: unknown) => error)).toMatchObject({ code: "STORAGE_FULL" });
    expect([other.has("db"), other.stats()]).toEqual([false, { known: 0, open: 0 }]);
    full = false;
    expect(await other.create("db")).toBe(true);
    expect(await other.create("db")).toBe(false);
    await other.close();
  });

  test("opens no db whose derived files cannot be opened for another reason than their own damage", async () => {
    let fails: SkaldError | undefined;
    const other = failing({
      openViews: (folder) => {
        if (fails) throw fails;
        return sqliteFiles.openViews(folder);
      },
    });
    await other.create("db");
    fails = new SkaldError("STORAGE_FULL", "no room");
    expect(await other.use("db", () => 0).catch((error: unknown) => error)).toBe(fails);
    expect(other.stats().open).toBe(0);
    fails = undefined;
    expect(await other.use("db", (db) => db.log.head().seq)).toBe(0);
    await other.close();
  });

  test("says so when a db does not close well, after it has closed the others", async () => {
    const other = failing({
      openLog: (folder, dbId, options) => {
        const storage = sqliteFiles.openLog(folder, dbId, options);
        if (dbId === "bad")
          storage.tidy = () => {
            throw new SkaldError("STORAGE_FAILED", "the disk failed");
          };
        return storage;
      },
    });
    for (const dbId of ["bad", "good"]) {
      await other.create(dbId);
      await other.use(dbId, () => 0);
    }
    expect(await other.close().catch((error: unknown) => error)).toMatchObject({ code: "STORAGE_FAILED" });
  });

  test("lets no more dbs be in use than it is told", async () => {
    const other = failing({}, { dbsInUse: 1 });
    await other.create("a");
    await other.create("b");
    const held = other.hold("a");
    expect(await refusal(() => other.hold("b"))).toMatchObject({ code: "UNAVAILABLE" });
    held?.release();
    held?.release();
    await other.close();
  });
});
