import path from "node:path";
import { readFileSync, writeFileSync } from "node:fs";
import Database from "better-sqlite3";
import { checkCatalog } from "../../src/store/catalog-check.ts";
import type { CatalogBatch, CatalogTable } from "../../src/store/contract.ts";
import { dropSqliteCatalog, openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { dropViews, openViews } from "../../src/store/sqlite-views.ts";
import { createSqliteLog } from "../../src/store/sqlite-log.ts";
import { tempDir } from "../support/temp-dir.ts";

const root = tempDir();
let count = 0;
function place(): string {
  const folder = path.join(root, `db-${++count}`);
  createSqliteLog(folder, "notes").close();
  return folder;
}

const state = new Uint8Array([1, 2, 3]);
function batch(head: number, parts: Partial<CatalogBatch> = {}): CatalogBatch {
  return { head, docs: [], addresses: [], receipts: [], ...parts };
}
let ids = 0;
function doc(
  name: string,
  touches: number[],
  more: { id?: number; first?: number; deleted?: boolean; automerge?: number } = {},
) {
  return {
    id: more.id,
    name,
    automerge: more.automerge ?? (ids += 1),
    state,
    first: more.first ?? (touches[0] as number),
    last: touches.at(-1) as number,
    deleted: more.deleted ?? false,
    touches,
  };
}
const names = (table: CatalogTable, prefix: string, after: string, limit: number, withDeleted = false) =>
  table.list(prefix, after, limit, withDeleted).map((row) => row.name);

describe("a seal", () => {
  const written = (): { folder: string; seal: string } => {
    const folder = place();
    const table = openSqliteCatalog(folder);
    table.write(batch(1, { docs: [doc("a/1", [1])] }));
    table.close();
    return { folder, seal: path.join(folder, "catalog.sqlite.seal") };
  };

  test.each([0, 1, 30, -1])("of which only %i bytes came to the disk says nothing of the file", (length) => {
    const { folder, seal } = written();
    writeFileSync(seal, readFileSync(seal).subarray(0, length));
    const again = openSqliteCatalog(folder);
    expect(names(again, "", "", 10)).toEqual(["a/1"]);
    again.close();
  });

  test("that is whole and says something else is damage", () => {
    const { folder, seal } = written();
    const text = readFileSync(seal, "utf8");
    writeFileSync(seal, text.replace(/.\n$/, text.endsWith("0\n") ? "1\n" : "0\n"));
    expect(() => openSqliteCatalog(folder)).toThrow(expect.objectContaining({ code: "DB_DAMAGED" }));
  });
});

describe("the catalog's table", () => {
  test("holds what was written, also after it was opened again", () => {
    const folder = place();
    const table = openSqliteCatalog(folder);
    expect(table.head()).toBe(0);
    table.write(
      batch(3, {
        docs: [doc("a/1", [1, 3]), doc("a/2", [2], { deleted: true })],
        addresses: [
          [2 ** 52 - 1, 1],
          [0, 2],
          [0, 3],
        ],
        receipts: [["me", "tx", 2]],
      }),
    );
    table.close();
    const again = openSqliteCatalog(folder);
    expect(again.head()).toBe(3);
    const row = again.doc("a/1");
    expect(row).toMatchObject({ name: "a/1", first: 1, last: 3, deleted: false });
    expect([...(row?.state ?? [])]).toEqual([...state]);
    expect(again.doc("a/2")?.deleted).toBe(true);
    expect(again.doc("a/3")).toBeUndefined();
    expect(again.find(2 ** 52 - 1)).toEqual([1]);
    expect(again.find(0)).toEqual([2, 3]);
    expect(again.find(5)).toEqual([]);
    expect(again.receipt("me", "tx")).toBe(2);
    expect(again.receipt("you", "tx")).toBeUndefined();
    expect(again.counts()).toEqual({ documents: 1, deleted: 1 });
    again.close();
  });

  test("writes a batch whole or not at all", () => {
    const table = openSqliteCatalog(place());
    table.write(batch(1, { docs: [doc("a/1", [1])] }));
    expect(() => table.write(batch(2, { docs: [doc("a/2", [2]), doc("a/1", [2])] }))).toThrow();
    expect(table.head()).toBe(1);
    expect(table.doc("a/2")).toBeUndefined();
    expect(table.counts().documents).toBe(1);
    table.close();
  });

  test("brings a document up to date and keeps where it began", () => {
    const table = openSqliteCatalog(place());
    table.write(batch(1, { docs: [doc("a/1", [1])] }));
    const id = table.doc("a/1")?.id as number;
    table.write(batch(5, { docs: [doc("a/1", [4, 5], { id, first: 1, deleted: true })] }));
    expect(table.doc("a/1")).toMatchObject({ id, first: 1, last: 5, deleted: true });
    expect(table.touches(id, 5, 10)).toEqual([5, 4, 1]);
    expect(table.touches(id, 4, 1)).toEqual([4]);
    expect(table.touchesAfter(id, 1, 5)).toEqual([4, 5]);
    expect(table.touchesAfter(id, 1, 4)).toEqual([4]);
    table.close();
  });

  test("keeps the first seq of an address and of a receipt that come twice", () => {
    const table = openSqliteCatalog(place());
    table.write(batch(1, { addresses: [[7, 1]], receipts: [["me", "tx", 1]] }));
    table.write(batch(2, { addresses: [[7, 1]], receipts: [["me", "tx", 2]] }));
    expect(table.find(7)).toEqual([1]);
    expect(table.receipt("me", "tx")).toBe(1);
    table.close();
  });

  test("gives documents by the hundred, as one by one, and says when one is gone that was there", () => {
    const folder = place();
    const table = openSqliteCatalog(folder);
    const all = Array.from({ length: 250 }, (_, i) => `a/${i}`);
    const half = all.filter((_, i) => i % 2 === 0);
    const rows = table.write(batch(1, { docs: half.map((name) => doc(name, [1])) }));
    const found = table.docs(all);
    expect(found.map(({ name }) => name).sort()).toEqual(half.toSorted());
    for (const row of found) expect(table.doc(row.name)).toEqual(row);
    expect(rows).toEqual(half.map((name) => table.doc(name)?.id));
    expect(table.docs([])).toEqual([]);
    const sqlite = new Database(path.join(folder, "catalog.sqlite"));
    sqlite.prepare("DELETE FROM doc WHERE name = 'a/248'").run();
    sqlite.close();
    expect(() => table.docs(all)).toThrow(expect.objectContaining({ code: "DERIVED_DAMAGED" }));
    expect(table.docs(all.slice(0, 200))).toHaveLength(100);
    table.close();
  });

  test("counts the addresses that are new among many", () => {
    const folder = place();
    const table = openSqliteCatalog(folder);
    const pairs = Array.from({ length: 100 }, (_, i) => [i * 7, 1] as const);
    table.write(batch(1, { addresses: pairs }));
    table.write(
      batch(2, { addresses: [...pairs.slice(50), ...pairs.map(([prefix]) => [prefix, 2] as const)] }),
    );
    expect(table.find(7)).toEqual([1, 2]);
    table.close();
    const sqlite = new Database(path.join(folder, "catalog.sqlite"));
    expect(sqlite.prepare("SELECT addresses FROM head").pluck().get()).toBe(200);
    expect(checkCatalog(sqlite, "catalog.sqlite")).toBeUndefined();
    sqlite.close();
  });

  test("lists in the order of the names' bytes, by prefix, after a name", () => {
    const table = openSqliteCatalog(place());
    const all = ["a/1", "a/10", "a/2", "a/\u{e9}", "a/\u{ffff}", "a/\u{1f600}", "ab/1", "b/1"];
    table.write(
      batch(1, { docs: all.toReversed().map((name) => doc(name, [1], { deleted: name === "a/2" })) }),
    );
    expect(names(table, "", "", 100, true)).toEqual(all);
    expect(names(table, "a/", "", 100)).toEqual(["a/1", "a/10", "a/\u{e9}", "a/\u{ffff}", "a/\u{1f600}"]);
    expect(names(table, "a/", "a/10", 2)).toEqual(["a/\u{e9}", "a/\u{ffff}"]);
    expect(names(table, "a/1", "", 100)).toEqual(["a/1", "a/10"]);
    expect(names(table, "c", "", 100)).toEqual([]);
    table.close();
  });

  test("finds documents by the start of their Automerge ids, and misses a row that is gone", () => {
    const folder = place();
    const table = openSqliteCatalog(folder);
    const same = 2 ** 52 - 1;
    table.write(
      batch(1, {
        docs: [
          doc("a/1", [1], { automerge: same }),
          doc("a/2", [1], { automerge: same }),
          doc("a/3", [1], { automerge: 7 }),
        ],
      }),
    );
    expect(table.named(same)).toEqual(["a/1", "a/2"]);
    expect(table.named(7)).toEqual(["a/3"]);
    expect(table.named(8)).toEqual([]);
    table.write(batch(2, { docs: [doc("a/3", [2], { id: table.doc("a/3")?.id as number, first: 1 })] }));
    expect(table.named(7)).toEqual(["a/3"]);
    const sqlite = new Database(path.join(folder, "catalog.sqlite"));
    const damaged = expect.objectContaining({ code: "DERIVED_DAMAGED" }) as Error;
    const check = () => checkCatalog(sqlite, "catalog.sqlite");
    sqlite.exec("DELETE FROM automerge WHERE id = 7");
    expect(check).toThrow(damaged);
    expect(() => table.named(7)).toThrow(damaged);
    sqlite.exec("INSERT INTO automerge SELECT 7, id FROM doc WHERE name = 'a/3'");
    check();
    sqlite.exec("UPDATE automerge SET id = 9 WHERE id = 7");
    expect(check).toThrow(damaged);
    sqlite.exec("UPDATE automerge SET id = 7, doc = 99 WHERE id = 9");
    expect(check).toThrow(damaged);
    expect(() => table.named(7)).toThrow(damaged);
    sqlite.close();
    table.close();
  });

  test("starts empty once it was dropped", () => {
    const folder = place();
    const table = openSqliteCatalog(folder);
    table.write(batch(1, { docs: [doc("a/1", [1])] }));
    table.close();
    dropSqliteCatalog(folder);
    const again = openSqliteCatalog(folder);
    expect([again.head(), again.doc("a/1")]).toEqual([0, undefined]);
    again.close();
  });

  test("of another program is refused", () => {
    const folder = place();
    writeFileSync(path.join(folder, "catalog.sqlite"), "no database at all, but a text. ".repeat(400));
    expect(() => openSqliteCatalog(folder)).toThrow(expect.objectContaining({ code: "DB_FOREIGN" }));
  });
});

describe("the table of documents", () => {
  test("moves its head together with its rows and pages in name order", () => {
    const folder = place();
    const views = openViews(folder);
    const row = (name: string, seq: number) => ({
      name,
      seq,
      deleted: false,
      json: `{"at":${seq}}`,
      problem: undefined,
    });
    views.write([row("b/1", 1), row("a/1", 2)], 2);
    views.write([row("b/1", 3)], 4);
    views.close();
    const again = openViews(folder);
    expect(again.head()).toBe(4);
    expect(again.page("", 10).map(({ name, seq }) => [name, seq])).toEqual([
      ["a/1", 2],
      ["b/1", 3],
    ]);
    expect(again.page("a/1", 10)).toHaveLength(1);
    expect(again.document("c/1")).toBeUndefined();
    again.putSaved("a/1", 2, state);
    again.putSaved("a/1", 4, new Uint8Array([9]));
    expect(again.saved("a/1")).toMatchObject({ seq: 4 });
    expect(again.saved("b/1")).toBeUndefined();
    again.close();
    dropViews(folder);
    const empty = openViews(folder);
    expect([empty.head(), empty.page("", 10)]).toEqual([0, []]);
    empty.close();
  });
});
