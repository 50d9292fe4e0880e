import { mkdtempSync } from "node:fs";
import path from "node:path";
import { checkDb, finished } from "../../src/db/check.ts";
import { Db } from "../../src/db/db.ts";
import { JsonCache } from "../../src/db/json-cache.ts";
import { writeEvents, type SchemaEvent } from "../../src/db/write-events.ts";
import { packBundle } from "../../src/log/bundle.ts";
import { encodeSchemaEvent } from "../../src/log/schema-events.ts";
import { Documents } from "../../src/documents/documents.ts";
import type { CatalogBatch, CatalogTable } from "../../src/store/contract.ts";
import { openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { createSqliteLog } from "../../src/store/sqlite-log.ts";
import { openViews } from "../../src/store/sqlite-views.ts";
import { CatalogAround } from "../support/broken-builds.ts";
import { memoryDir } from "../support/temp-dir.ts";
import { refusal } from "../log/fixture.ts";

/** Statements of schemas and stored ones, as a db takes them. */
const root = memoryDir();
const documents = new Documents({ workers: 1 });
afterAll(() => documents.close());

function open(wrap: (table: CatalogTable) => CatalogTable = (table) => table): Db {
  const folder = path.join(mkdtempSync(path.join(root, "db-")), "db");
  return new Db({
    storage: createSqliteLog(folder, "notes", { reserve: 0 }),
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

const make = (sql: string): SchemaEvent => ({ type: "schema.change", sql });
const author = "ann";

test("statements are one commit with nothing else, on their branch, and a repeat gets its receipt", async () => {
  const db = open();
  const first = await writeEvents(db, { author, events: [make("a")], clientTxId: "one", message: "why" });
  expect(first).toMatchObject({ seq: 1, duplicate: false, heads: {} });
  expect(db.log.commit(1)?.commit).toMatchObject({ author, message: "why", entries: [] });
  expect(await writeEvents(db, { author, events: [make("a")], clientTxId: "one" })).toMatchObject({
    seq: 1,
    duplicate: true,
  });
  expect(await writeEvents(db, { author, events: [make("b")], dryRun: true })).toMatchObject({ seq: 2 });
  expect(db.log.head().seq).toBe(1);
  await db.log.createBranch("side", { author });
  await writeEvents(db, { author, events: [make("c")], branch: "side", expectSeq: 2 });
  expect(db.log.schemaAt("side", 3).map(({ sql }) => sql)).toEqual(["a", "c"]);
  expect(db.log.schemaAt(undefined, 3).map(({ sql }) => sql)).toEqual(["a"]);
  expect((await finished(checkDb(db))).findings).toEqual([]);
  await db.close();
});

test.each<[string, Parameters<typeof writeEvents>[1], string]>([
  ["no events", { author, events: [] }, "TX_EMPTY"],
  ["no SQL", { author, events: [make("")] }, "BAD_REQUEST"],
  ["half a surrogate pair", { author, events: [make("\ud800")] }, "BAD_REQUEST"],
  ["a name with a dot", { author, events: [{ type: "query.remove", name: "a.b" }] }, "NAME_INVALID"],
  ["a branch that is not there", { author, events: [make("a")], branch: "none" }, "BRANCH_NOT_FOUND"],
  ["another head", { author, events: [make("a")], expectSeq: 7 }, "SEQ_CONFLICT"],
  ["a client_tx_id that is none", { author, events: [make("a")], clientTxId: " " }, "NAME_INVALID"],
])("%s: nothing is kept", async (_what, request, code) => {
  const db = open();
  expect(await refusal(writeEvents(db, request))).toMatchObject({ code });
  expect(db.log.head().seq).toBe(0);
  await db.close();
});

/** Facts of one kind are not kept. */
class Without extends CatalogAround {
  readonly #kind: string;
  constructor(sound: CatalogTable, kind: string) {
    super(sound);
    this.#kind = kind;
  }
  override write(batch: CatalogBatch): void {
    this.sound.write({ ...batch, facts: (batch.facts ?? []).filter(({ kind }) => kind !== this.#kind) });
  }
}

test.each(["schema", "statement"])(
  "a check notices a catalog that lost what it knew of a %s",
  async (kind) => {
    const db = open((table) => new Without(table, kind));
    // Not by way of who counts them first: they are to be read from the table.
    const said = [make("a"), { type: "query.save", name: "q", sql: "select 1" } as const];
    await db.log.write({ author, clientTxId: "", writes: [], events: said.map(encodeSchemaEvent) });
    db.log.tidy();
    const { findings } = await finished(checkDb(db));
    expect(findings.map(({ what }) => what)).toContain("catalog");
    await db.close();
  },
);

test("who may only write documents brings nothing of the schema with records", async () => {
  const db = open();
  await writeEvents(db, { author, events: [make("CREATE TABLE t (id TEXT PRIMARY KEY)")] });
  await writeEvents(db, { author, events: [{ type: "query.save", name: "all", sql: "SELECT 1" }] });
  const bodies = db.log.bodies(1, 10, 1e6).map(({ body }) => body);
  const folder = path.join(mkdtempSync(path.join(root, "copy-")), "db");
  const copy = new Db({
    storage: createSqliteLog(folder, "notes", { reserve: 0, uid: db.log.identity.uid }),
    catalog: openSqliteCatalog(folder),
    views: openViews(folder),
    documents,
    cache: new JsonCache(0),
    onError: (error) => {
      throw error;
    },
    packer: () => ({ pack: packBundle, end: async () => {} }) as never,
  });
  const nowhere = { seq: 0, cid: undefined };
  for (const some of [bodies, bodies.slice(0, 1)]) {
    const rights = { mayErase: true, mayDefine: false, erased: [] };
    expect((await refusal(() => copy.log.receive(nowhere, some, rights))).code).toBe("FORBIDDEN");
    expect(copy.log.head().seq).toBe(0);
  }
  await copy.log.receive(nowhere, bodies, { mayErase: false, mayDefine: true, erased: [] });
  expect(copy.log.statements().map(({ name }) => name)).toEqual(["all"]);
  await copy.close();
  await db.close();
});
