import * as A from "@automerge/automerge";
import { brokenBy, isDerivedDamage } from "../../src/db/derived-damage.ts";
import { Engine } from "../../src/db/engine.ts";
import { sqliteFiles } from "../../src/db/files.ts";
import { Documents } from "../../src/documents/documents.ts";
import { SkaldError } from "../../src/errors.ts";
import type { CatalogBatch } from "../../src/store/contract.ts";
import { CatalogAround, viewsAround } from "../support/broken-builds.ts";
import { workload } from "../support/check-workload.ts";
import { tempDir } from "../support/temp-dir.ts";

const root = tempDir();
const documents = new Documents({ workers: 1 });
afterAll(() => documents.close());

test("damage is of what is derived when its file is, and only then made anew", () => {
  const { derived, log } = {
    derived: { "/db/catalog.sqlite": "catalog", "/db/views.sqlite": "projection" },
    log: ["/db/log.sqlite", "/service.sqlite", undefined],
  };
  for (const code of ["DB_DAMAGED", "DB_FOREIGN", "DB_NEWER"] as const) {
    for (const [file, what] of Object.entries(derived)) {
      const error = new SkaldError(code, "no", { details: { file } });
      expect([code, file, isDerivedDamage(error), brokenBy(error)]).toEqual([code, file, true, what]);
    }
    for (const file of log)
      expect([code, file, isDerivedDamage(new SkaldError(code, "no", { details: { file } }))]).toEqual([
        code,
        file,
        false,
      ]);
  }
  const missing = new SkaldError("DB_MISSING", "no", { details: { file: "/db/catalog.sqlite" } });
  expect(isDerivedDamage(missing)).toBe(false);
  expect(isDerivedDamage(new TypeError("a bug"))).toBe(false);
  expect(brokenBy(new SkaldError("DERIVED_DAMAGED", "no"))).toBe("catalog");
});

test("a catalog that lost a commit of a document has no good change set aside", async () => {
  const { db, ledger, close } = await workload(root, documents, {
    catalog: (sound) =>
      new (class extends CatalogAround {
        override write(batch: CatalogBatch): void {
          const docs = batch.docs.map((doc) => ({ ...doc, touches: doc.touches.filter((seq) => seq !== 5) }));
          super.write({ ...batch, docs });
        }
      })(sound),
  });
  // Without commit 5 the changes after it build on something that is not there.
  await expect(db.read("c/a", { at: String(db.log.head().seq), conflicts: true })).rejects.toMatchObject({
    code: "DERIVED_DAMAGED",
  });
  expect(db.log.state("c/a")?.refused.size).toBe(0);
  const found = await ledger.compare(db);
  expect(found).toContainEqual(
    expect.objectContaining({ what: "catalog", where: expect.stringContaining("c/a"), heals: "rebuild" }),
  );
  expect(found.filter((finding) => !("heals" in finding))).toEqual([]);
  await close();
});

type Copy = A.Doc<Record<string, unknown>>;
const set = (doc: Copy, actor: string, values: Record<string, unknown>): Copy =>
  A.change(A.clone(doc, { actor: actor.repeat(16) }), { time: 0 }, (draft) => {
    Object.assign(draft, values);
  });
const lastOf = (doc: Copy): Uint8Array => A.getLastLocalChange(doc) as Uint8Array;

test.each([
  ["holds a change that the log has not", (before: Copy) => A.save(set(before, "cc", { other: 1 }))],
  ["lacks a change that it should have", (_: Copy, first: Copy) => A.save(first)],
  ["is none", () => new Uint8Array([1, 2, 3])],
])("with a saved form that %s the bad change is set aside and no good one", async (name, wrong) => {
  let form: { seq: number; bytes: Uint8Array } | undefined;
  const engine = new Engine({
    dir: tempDir(),
    reserve: 0,
    documents: { workers: 1 },
    onError: () => {},
    files: {
      ...sqliteFiles,
      openViews: (folder) => {
        const sound = sqliteFiles.openViews(folder);
        return viewsAround(sound, { saved: () => form });
      },
    },
  });
  try {
    await engine.create("db");
    const send = (change: Uint8Array) =>
      engine.use("db", (db) => db.tx({ author: "eve", writes: [{ doc: "c/a", changes: [change] }] }));
    const start = await engine.use("db", (db) =>
      A.applyChanges(A.init<Record<string, unknown>>(), [db.genesis("c/a").bytes]),
    );
    const first = set(start[0], "aa", { a: 1 });
    const before = set(first, "bb", { b: 1 });
    await send(lastOf(first));
    await send(lastOf(before));
    // From here on everything up to commit 2 counts as good.
    await engine.use("db", (db) => db.projection.catchUp());
    form = { seq: 2, bytes: wrong(before, first) };
    const good = set(before, "cc", { good: 1 });
    const { hash: _, ...parts } = A.decodeChange(lastOf(set(good, "dd", { bad: 1 })));
    const ops = [{ ...parts.ops[0], obj: `1@${"99".repeat(16)}` }];
    const broken = new Uint8Array(A.encodeChange({ ...parts, ops } as never));
    await send(lastOf(good));
    await send(broken);
    await engine.use("db", (db) => db.projection.catchUp()).catch(() => {});
    const refused = await engine.use("db", async (db) => {
      await db.read("c/a").catch(() => {});
      return [...(db.log.state("c/a")?.refused.keys() ?? [])];
    });
    expect([name, refused]).toEqual([name, [A.decodeChange(broken).hash]]);
    form = undefined;
    await engine.rebuild("db");
    expect(JSON.parse(await engine.use("db", async (db) => (await db.read("c/a")).json))).toEqual({
      a: 1,
      b: 1,
      good: 1,
    });
  } finally {
    await engine.close();
  }
});

test("a change on a document's common start is not set aside with a bad one, where the history is another's", async () => {
  const engine = new Engine({ dir: tempDir(), reserve: 0, documents: { workers: 1 } });
  try {
    await engine.create("db");
    await engine.use("db", async (db) => {
      const send = (change: Uint8Array) =>
        db.tx({ author: "eve", writes: [{ doc: "c/a", changes: [change] }] });
      const [start] = A.applyChanges(A.init<Record<string, unknown>>(), [db.genesis("c/a").bytes]);
      await send(lastOf(set(A.init<Record<string, unknown>>(), "aa", { own: 1 })));
      await db.projection.catchUp();
      const good = set(start, "cc", { good: 1 });
      const { hash: _, ...parts } = A.decodeChange(lastOf(set(good, "dd", { bad: 1 })));
      const ops = [{ ...parts.ops[0], obj: `1@${"99".repeat(16)}` }];
      const broken = new Uint8Array(A.encodeChange({ ...parts, ops } as never));
      await send(lastOf(good));
      await send(broken);
      await db.projection.catchUp();
      expect([...(db.log.state("c/a")?.refused.keys() ?? [])]).toEqual([A.decodeChange(broken).hash]);
      expect(JSON.parse((await db.read("c/a")).json)).toEqual({ own: 1, good: 1 });
    });
  } finally {
    await engine.close();
  }
});
