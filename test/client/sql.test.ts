import { tempDir } from "../support/temp-dir.ts";
import { makeNet, startDb } from "./fixture.ts";

const { clientOf } = await startDb(tempDir());
const client = clientOf();

beforeAll(async () => {
  await client.exec(
    "CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT NOT NULL, price REAL, count INTEGER)",
  );
});

test("rows are objects by column, with exact integers and bytes", async () => {
  const written = await client.exec<{ id: string; count: bigint }>(
    "INSERT INTO items VALUES (?, ?, ?, ?) RETURNING id, count",
    ["a", "Apple", 1.5, 12],
    { message: "first" },
  );
  expect(written).toMatchObject({ changed: 1, rows: [{ id: "a", count: 12 }] });
  const read = await client.query("SELECT *, :big AS big, :raw AS raw, 1 AS id FROM items", {
    big: 9223372036854775807n,
    raw: new Uint8Array([1, 2, 255]),
  });
  expect(read).toMatchObject({ seq: written.seq, commit: written.commit });
  expect(read.rows).toEqual([
    {
      id: "a",
      name: "Apple",
      price: 1.5,
      count: 12,
      raw: new Uint8Array([1, 2, 255]),
      big: 9223372036854775807n,
      id_2: 1,
    },
  ]);
  const plain = await client.query("SELECT x'0102ff' AS raw, ? AS truth, ? AS list, ? AS gone FROM items", [
    true,
    ["a", 1],
    null,
  ]);
  expect(plain.rows).toEqual([{ raw: new Uint8Array([1, 2, 255]), truth: 1, list: '["a",1]', gone: null }]);
  expect(await client.get("items/a")).toMatchObject({ name: "Apple" });
});

test("the past is read with at, and a feed goes on from an answer", async () => {
  const { cursor, seq } = await client.query("SELECT 1");
  await client.exec("UPDATE items SET name = 'Apfel'");
  const before = await client.query<{ name: string }>("SELECT name FROM items", [], { at: seq });
  expect(before.rows).toEqual([{ name: "Apple" }]);
  const events = [];
  for await (const event of client.changes({ since: cursor, follow: false })) events.push(event.seq);
  expect(events).toEqual([seq + 1]);
});

test("several statements are one commit, or nothing", async () => {
  const values = Array.from({ length: 20 }, (_, i) => [`n${i}`, `Number ${i}`, i]);
  const done = await client.batch([
    { sql: "INSERT INTO items (id, name, price) VALUES (?, ?, ?)", values },
    { sql: "DELETE FROM items WHERE id = :id", args: { id: "a" } },
  ]);
  expect(done.changed).toBe(21);
  expect((await client.query("SELECT count(*) AS n FROM items")).rows).toEqual([{ n: 20 }]);
  const failing = client.batch([
    { sql: "DELETE FROM items" },
    { sql: "INSERT INTO items (id) VALUES ('z')" },
  ]);
  await expect(failing).rejects.toMatchObject({ code: "SQL_CONSTRAINT" });
  expect((await client.query("SELECT count(*) AS n FROM items")).rows).toEqual([{ n: 20 }]);
});

test("a write whose answer was lost is written once", async () => {
  const net = makeNet();
  const cut = clientOf({ fetch: net.fetch });
  net.deaf = 1;
  const { seq } = await cut.exec("INSERT INTO items (id, name) VALUES ('once', 'Once')");
  expect(net.asked.filter((line) => line.endsWith("/query/exec"))).toHaveLength(2);
  const { seq: head } = await client.info();
  expect(head).toBe(seq);
});

test("refusals have the server's code, and an argument that SQL has no value for is refused here", async () => {
  await expect(client.query("SELECT nme FROM items")).rejects.toMatchObject({
    code: "SQL_ERROR",
    status: 400,
  });
  await expect(client.query("SELECT ?", [NaN])).rejects.toMatchObject({ code: "BAD_REQUEST", status: 0 });
  await expect(client.query("SELECT ?", [undefined as never])).rejects.toMatchObject({ code: "BAD_REQUEST" });
});
