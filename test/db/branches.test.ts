import { mkdtempSync } from "node:fs";
import path from "node:path";
import * as A from "@automerge/automerge";
import { checkDb, finished } from "../../src/db/check.ts";
import { Db } from "../../src/db/db.ts";
import { JsonCache } from "../../src/db/json-cache.ts";
import { Documents } from "../../src/documents/documents.ts";
import { packBundle } from "../../src/log/bundle.ts";
import { decodeBranch, encodeBranch } from "../../src/log/branches.ts";
import { readTrustedHeader } from "../../src/log/change.ts";
import type { CatalogBatch, CatalogTable, StoredDoc } from "../../src/store/contract.ts";
import { dropSqliteCatalog, openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { openViews } from "../../src/store/sqlite-views.ts";
import { createSqliteLog, openSqliteLog } from "../../src/store/sqlite-log.ts";
import { CatalogAround } from "../support/broken-builds.ts";
import { memoryDir } from "../support/temp-dir.ts";

const root = memoryDir();
const documents = new Documents({ workers: 1 });
afterAll(() => documents.close());

function open(
  folder: string,
  isNew: boolean,
  wrap: (table: CatalogTable) => CatalogTable = (table) => table,
): Db {
  const storage = isNew ? createSqliteLog(folder, "notes", { reserve: 0 }) : openSqliteLog(folder, "notes");
  return new Db({
    storage,
    catalog: wrap(openSqliteCatalog(folder)),
    views: openViews(folder),
    documents,
    cache: new JsonCache(0),
    onError: (error) => {
      throw error;
    },
    packer: () => ({ pack: packBundle, end: async () => {} }) as never,
  });
}

const put = (db: Db, doc: string, value: object, branch?: string) =>
  db.tx({
    author: "ann",
    writes: [{ doc, edit: { kind: "put", value: JSON.stringify(value) } }],
    ...(branch === undefined ? {} : { branch }),
  });
const read = async (db: Db, doc: string, branch?: string, at?: number): Promise<unknown> =>
  JSON.parse(
    (
      await db.read(doc, {
        ...(branch === undefined ? {} : { branch }),
        ...(at === undefined ? {} : { at: String(at) }),
      })
    ).json,
  );
const findings = async (db: Db) => (await finished(checkDb(db))).findings;

test("the same document is written on several branches, each with an actor of its own, and reads back at every point", async () => {
  const folder = path.join(mkdtempSync(path.join(root, "db-")), "db");
  let db = open(folder, true);
  const wanted: { seq: number; branch: string; value: object }[] = [];
  const step = async (branch: string, value: object): Promise<void> => {
    const { seq } = await put(db, "m/a", value, branch);
    wanted.push({ seq, branch, value });
  };
  await step("main", { n: 1 });
  await step("main", { n: 2, text: "two" });
  await db.log.createBranch("one", { author: "ann" });
  await step("one", { n: 2, one: 1 });
  await db.log.createBranch("two", { author: "ann", from: "one" });
  await step("main", { n: 3 });
  await step("two", { n: 2, one: 1, two: [1, 2] });
  await step("one", { one: 2 });
  await step("main", { n: 4 });
  await db.log.createBranch("past", { author: "ann", at: 1 });
  await step("past", { n: 1, past: true });
  const look = async (): Promise<void> => {
    for (const { branch, seq, value } of wanted) expect(await read(db, "m/a", branch, seq)).toEqual(value);
    expect(await read(db, "m/a", "two", 1)).toEqual({ n: 1 });
    expect(await read(db, "m/a", "past", 1)).toEqual({ n: 1 });
    for (const branch of ["main", "one", "two", "past"])
      expect(await read(db, "m/a", branch)).toEqual(wanted.findLast((one) => one.branch === branch)?.value);
    expect(await findings(db)).toEqual([]);
  };
  await look();
  // No number of an actor has two changes, whichever branches are put together.
  const numbers = new Map<string, string>();
  for (const { commit, blocks } of db.log.commits(1, 99)) {
    if (commit.entries.length === 0) continue;
    for (const { actor, seq, hash } of blocks.map(readTrustedHeader)) {
      expect(numbers.get(`${actor} ${seq}`) ?? hash).toBe(hash);
      numbers.set(`${actor} ${seq}`, hash);
    }
  }
  const all = ["main", "one", "two", "past"].map((branch) => db.log.changes("m/a", 0, 99, branch));
  const merged = A.applyChanges(A.init<Record<string, unknown>>(), [
    db.genesis("m/a").bytes,
    ...all.flat(),
  ])[0];
  expect(A.load(A.save(merged))).toEqual(merged);
  await db.projection.catchUp();
  await db.compact();
  await look();
  await db.close();
  dropSqliteCatalog(folder);
  db = open(folder, false);
  await look();
  await step("two", { again: 1 });
  await step("past", { again: 2 });
  await look();
  await db.close();
});

test("a client cannot write as this server on any branch, and may bring what the server wrote on another", async () => {
  const db = open(path.join(mkdtempSync(path.join(root, "db-")), "db"), true);
  await put(db, "m/a", { n: 1 });
  await db.log.createBranch("draft", { author: "ann" });
  await put(db, "m/a", { n: 1, draft: 1 }, "draft");
  const [authored] = db.log.changes("m/a", 2, 9, "draft") as [Uint8Array];
  const { actor } = readTrustedHeader(authored);
  const fresh = A.change(A.init<Record<string, unknown>>({ actor }), { time: 0 }, (doc) => {
    doc["x"] = 1;
  });
  const forged = A.getLastLocalChange(fresh) as Uint8Array;
  for (const branch of ["main", "draft"])
    await expect(
      db.tx({ author: "ann", branch, writes: [{ doc: "m/b", changes: [forged] }] }),
    ).rejects.toMatchObject({
      code: "CHANGE_ACTOR",
    });
  await db.tx({ author: "bea", writes: [{ doc: "m/a", changes: [authored] }] });
  expect(await read(db, "m/a")).toEqual({ n: 1, draft: 1 });
  await put(db, "m/a", { n: 1, draft: 2 }, "draft");
  expect(await findings(db)).toEqual([]);
  await db.close();
});

describe("the check finds a catalog that", () => {
  const worse =
    (name: string, row: (row: StoredDoc) => StoredDoc): ((sound: CatalogTable) => CatalogTable) =>
    (sound) =>
      new (class extends CatalogAround {
        override doc(asked: string): StoredDoc | undefined {
          const found = super.doc(asked);
          return found && asked.startsWith(name) ? row(found) : found;
        }
        override list(prefix: string, after: string, limit: number, withDeleted: boolean): StoredDoc[] {
          return super
            .list(prefix, after, limit, withDeleted)
            .map((one) => (one.name.startsWith(name) ? row(one) : one));
        }
      })(sound);
  const forked = (row: StoredDoc): StoredDoc => {
    const branch = decodeBranch(row.state);
    return branch.id === 0 ? row : { ...row, state: encodeBranch({ ...branch, fork: branch.fork - 1 }) };
  };
  const lost = (sound: CatalogTable): CatalogTable =>
    new (class extends CatalogAround {
      override write(batch: CatalogBatch): void {
        super.write({ ...batch, docs: batch.docs.filter(({ name }) => !name.startsWith("\u0001")) });
      }
    })(sound);
  test.each<[string, (sound: CatalogTable) => CatalogTable]>([
    ["has another fork point of a branch", worse("\u0002", forked)],
    ["has another state of a document on a branch", worse("\u0001", (row) => ({ ...row, deleted: true }))],
    ["loses documents of branches", lost],
  ])("%s", async (_, wrap) => {
    const folder = path.join(mkdtempSync(path.join(root, "db-")), "db");
    let db = open(folder, true, wrap);
    await put(db, "m/a", { n: 1 });
    await put(db, "m/a", { n: 2 });
    await db.log.createBranch("draft", { author: "ann" });
    await put(db, "m/a", { draft: 1 }, "draft");
    await db.close();
    db = open(folder, false, wrap);
    const found = await findings(db);
    expect(found.map(({ what }) => what)).toContain("catalog");
    expect(found.every(({ heals }) => heals === "rebuild")).toBe(true);
    await db.close();
    dropSqliteCatalog(folder);
    db = open(folder, false);
    expect(await findings(db)).toEqual([]);
    await db.close();
  });
});
