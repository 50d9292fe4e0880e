import { cpSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import * as A from "@automerge/automerge";
import Database from "better-sqlite3";
import { Engine } from "../src/db/engine.ts";
import { derivedOf } from "./support/derived.ts";
import { tempDir } from "./support/temp-dir.ts";

// Whoever adds a capability that writes: use it here. What is derived of it must come out of the log again.

const dir = path.join(tempDir(), "data");
const open = (at = dir): Engine => new Engine({ dir: at, reserve: 0, documents: { workers: 1 } });
let engine: Engine;

beforeAll(async () => {
  engine = open();
  await engine.create("notes");
  await engine.use("notes", async (db) => {
    const author = "ann";
    const put = (doc: string, value: unknown, more = {}) =>
      db.tx({ author, writes: [{ doc, edit: { kind: "put", value: JSON.stringify(value) } }], ...more });
    await put("c/put", { a: 1, text: "ein Text", list: [1, { two: 2 }], "": null });
    await put(
      "c/put",
      { a: 2, text: "ein anderer Text", list: [{ two: 2 }, 3] },
      { clientTxId: "second", message: "m" },
    );
    await put("c/empty", {});
    await put("c/ключ ☃ 😀", { n: 1.5 });
    await put("d/patched", { a: { b: [1, 2] } });
    await db.tx({
      author,
      writes: [{ doc: "d/patched", edit: { kind: "merge-patch", patch: '{"a":{"c":3}}' } }],
    });
    await db.tx({
      author,
      writes: [
        { doc: "d/patched", edit: { kind: "json-patch", patch: '[{"op":"add","path":"/a/b/-","value":3}]' } },
      ],
    });
    await put("c/gone", { n: 1 });
    await db.tx({ author, writes: [{ doc: "c/gone", delete: true }] });
    await put("c/back", { n: 1 });
    await db.tx({ author, writes: [{ doc: "c/back", delete: true }] });
    await put("c/back", { n: 2 });
    await db.tx({
      author: "bob",
      clientTxId: "many",
      writes: [
        { doc: "c/put", edit: { kind: "merge-patch", patch: '{"a":9}' } },
        { doc: "d/new", edit: { kind: "put", value: '{"x":1}' } },
        { doc: "c/empty", delete: true },
      ],
    });
    // Two that wrote at once, one that merged, and a change at an older point.
    const born = A.applyChanges(A.init<Record<string, unknown>>({ actor: "aa".repeat(16) }), [
      db.genesis("e/merged").bytes,
    ])[0];
    const set = (doc: typeof born, key: string, value: number) =>
      A.change(A.clone(doc, { actor: A.getActorId(doc) }), (draft) => {
        draft[key] = value;
      });
    const first = set(born, "n", 1);
    const left = set(first, "n", 2);
    const right = set(A.clone(first, { actor: "bb".repeat(16) }), "n", 3);
    const merged = set(A.merge(A.clone(left, { actor: "aa".repeat(16) }), right), "m", 4);
    const last = (doc: typeof born) => A.getLastLocalChange(doc) as Uint8Array;
    for (const [who, doc] of [
      ["ann", first],
      ["ann", left],
      ["bob", right],
      ["ann", merged],
    ] as const)
      await db.tx({ author: who, writes: [{ doc: "e/merged", changes: [last(doc)] }] });
    const old = A.changeAt(A.clone(merged, { actor: "aa".repeat(16) }), A.getHeads(first), (draft) => {
      draft["old"] = 1;
    }).newDoc;
    await db.tx({
      author,
      writes: [{ doc: "e/merged", changes: [A.getAllChanges(old).at(-1) as Uint8Array] }],
    });
    // What Automerge does not take is set aside by a commit of its own.
    const { hash: _, ...whole } = A.decodeChange(
      last(set(A.clone(merged, { actor: "cc".repeat(16) }), "bad", 1)),
    );
    const [op] = whole.ops;
    const bad = A.encodeChange({ ...whole, ops: [{ ...op, obj: `1@${"99".repeat(16)}` }] } as never);
    await db.tx({ author: "eve", writes: [{ doc: "e/merged", changes: [bad] }] }).catch(() => {});
    await db.projection.catchUp();
    for (let n = 0; n < 300; n += 1) await put("f/long", { n });
    await db.keepSaved("f/long");
    await db.log.settled();
  });
}, 120_000);
afterAll(() => engine.close());

describe("everything derived of a db", () => {
  test("is the same after it was dropped and made anew from the log", async () => {
    const before = await derivedOf(engine, "notes");
    expect(before.head).toBeGreaterThan(310);
    const entries = await engine.use("notes", (db) =>
      db.log.commits(1, 1000).flatMap(({ commit }) => commit.entries),
    );
    expect(entries.some((entry) => entry.refused)).toBe(true);
    const values = (): Promise<unknown[]> =>
      engine.use("notes", async (db) =>
        Promise.all(
          db.log.list("", "", 100).map(async ({ name }) => [name, (await db.read(name)).json] as const),
        ),
      );
    const read = await values();
    expect(read).toHaveLength(7);
    await engine.rebuild("notes");
    expect(await derivedOf(engine, "notes")).toEqual(before);
    expect(await values()).toEqual(read);
  });

  test("is the same after a process was stopped between the log and everything else", async () => {
    const before = await derivedOf(engine, "notes");
    // The log as it is now, under derived files from before most of it.
    const other = path.join(dir, "..", "behind");
    const early = open(other);
    await early.create("notes");
    await early.close();
    const target = path.join(other, "dbs", "notes");
    const source = engine.folderOf("notes");
    await engine.use("notes", (db) => db.log.tidy());
    cpSync(path.join(source, "log.sqlite"), path.join(target, "log.sqlite"));
    for (const suffix of ["-wal", "-shm"])
      expect(() => readFileSync(path.join(target, `log.sqlite${suffix}`))).toThrow();
    const late = open(other);
    expect(await derivedOf(late, "notes")).toEqual(before);
    await late.close();
    // Half of it: the catalog as after a batch, the views as before all of them.
    const sqlite = new Database(path.join(target, "views.sqlite"));
    sqlite.exec("DELETE FROM head; DELETE FROM document; DELETE FROM saved");
    sqlite.close();
    rmSync(path.join(target, "views.sqlite.seal"));
    const again = open(other);
    expect(await derivedOf(again, "notes")).toEqual(before);
    await again.close();
  });

  test("is the same after most of the log went into bundles", async () => {
    const heads = await engine.use("notes", async (db) => {
      await db.compact({ upTo: db.log.head().seq - 20 });
      return db.log.head();
    });
    const before = await derivedOf(engine, "notes");
    await engine.rebuild("notes");
    expect(await derivedOf(engine, "notes")).toEqual(before);
    expect(await engine.use("notes", (db) => db.log.head())).toEqual(heads);
  });

  test("notices a row that is not as the log makes it", async () => {
    const before = await derivedOf(engine, "notes");
    const sqlite = new Database(path.join(engine.folderOf("notes"), "views.sqlite"));
    const name = sqlite.prepare("SELECT name FROM document WHERE json IS NOT NULL LIMIT 1").pluck().get();
    sqlite.prepare("UPDATE document SET json = '{}' || ' ' WHERE name = ?").run(name);
    expect(await derivedOf(engine, "notes")).not.toEqual(before);
    sqlite.close();
    await engine.rebuild("notes");
    expect(await derivedOf(engine, "notes")).toEqual(before);
  });
});
