import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import * as A from "@automerge/automerge";
import { runSkald, startServer, startSkald, type SkaldServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";

const files = tempDir();
let server: SkaldServer;
let dbs = 0;

beforeAll(async () => {
  server = await startServer(tempDir());
});

function file(name: string, content: string | Uint8Array): string {
  const at = path.join(files, name);
  mkdirSync(path.dirname(at), { recursive: true });
  writeFileSync(at, content);
  return at;
}

const skald = (...args: string[]) => runSkald([...args, "--dir", server.dir]);

async function info(db: string): Promise<{ seq: number; documents: number }> {
  const answer = await fetch(`${server.url}/api/v1/db/${db}`, {
    headers: { authorization: `Bearer ${server.token}` },
  });
  return answer.ok ? ((await answer.json()) as { seq: number; documents: number }) : { seq: 0, documents: 0 };
}

async function exported(db: string): Promise<Record<string, unknown>> {
  const { out } = await skald("export", db);
  const lines = out.trim().split("\n");
  return Object.fromEntries(
    lines.map((line) => {
      const { doc, value } = JSON.parse(line) as { doc: string; value: unknown };
      return [doc, value];
    }),
  );
}

/** Imports twice into a new db: the second time must change nothing. */
async function importTwice(...args: string[]): Promise<{ db: string; summary: string }> {
  const db = `db${++dbs}`;
  const first = await skald("import", db, ...args, "--create");
  expect(first).toMatchObject({ code: 0, err: "" });
  const { seq } = await info(db);
  const second = await skald("import", db, ...args);
  const count = Number(first.out.split(" ")[0]);
  expect(second.out).toBe(`${count} documents: 0 new, 0 changed, ${count} unchanged, 0 failed\n`);
  expect((await info(db)).seq).toBe(seq);
  return { db, summary: first.out };
}

const RECORDS = [
  { id: 1, name: "é 🎉", deep: { list: [1, 2.5, { x: null }] } },
  { _id: "two", yes: true },
  { note: "no key of its own" },
];

describe("what can be imported", () => {
  test("a JSON array, named by the file; what is exported of it is the same in another db", async () => {
    const source = file("things.json", JSON.stringify(RECORDS, undefined, 2));
    const { db, summary } = await importTwice(source);
    expect(summary).toBe("3 documents: 3 new, 0 changed, 0 unchanged, 0 failed\n");
    const docs = await exported(db);
    expect(docs["things/1"]).toEqual(RECORDS[0]);
    expect(docs["things/two"]).toEqual(RECORDS[1]);
    expect(Object.values(docs)).toContainEqual(RECORDS[2]);

    const lines = path.join(files, "export.ndjson");
    await skald("export", db, "-o", lines);
    const copy = await importTwice(lines);
    expect(await exported(copy.db)).toEqual(docs);
  });

  test("lines of JSON, with a key and a collection of one's choice", async () => {
    const source = file(
      "l.ndjson",
      RECORDS.map((record, i) => JSON.stringify({ ...record, sku: `s${i}` })).join("\n\n"),
    );
    const { db } = await importTwice(source, "--collection", "goods", "--key", "/sku");
    expect(Object.keys(await exported(db))).toEqual(["goods/s0", "goods/s1", "goods/s2"]);
  });

  test("an Automerge file, whose bytes come back with its history", async () => {
    let doc = A.from<Record<string, unknown>>({ title: "Draft" });
    for (let i = 0; i < 20; i += 1) doc = A.change(doc, (d) => (d[`k${i}`] = i));
    const source = file("draft.bin", A.save(doc));
    const { db } = await importTwice(source, "--doc", "pages/draft");
    expect(await exported(db)).toEqual({ "pages/draft": A.toJS(doc) });
    const back = path.join(files, "back.automerge");
    await skald("doc", "get", db, "pages/draft", "--automerge", "-o", back);
    const loaded = A.load<Record<string, unknown>>(readFileSync(back));
    expect(A.toJS(loaded)).toEqual(A.toJS(doc));
    expect(A.getAllChanges(loaded).length).toBeGreaterThanOrEqual(21);

    const named = await importTwice(source);
    expect(Object.keys(await exported(named.db))).toEqual([
      expect.stringMatching(/^automerge\/[1-9A-Za-z]{20,}$/),
    ]);
  });

  test("a folder of automerge-repo, snapshots and increments together", async () => {
    const folder = path.join(files, "repo");
    const write = (id: string, kind: string, name: string, bytes: Uint8Array): void => {
      file(path.join("repo", id.slice(0, 2), id.slice(2), kind, name), bytes);
    };
    file(path.join("repo", "st", "orage-adapter-id"), "adapter");
    let one = A.from<Record<string, unknown>>({ n: 0 });
    write("4NMNnkMhL8jXrdJ9jamS58PAVdXu", "snapshot", "aaaa", A.save(one));
    for (const n of [1, 2, 3]) {
      const before = A.getHeads(one);
      one = A.change(one, (d) => (d["n"] = n));
      // Names are hashes, so their order says nothing.
      write("4NMNnkMhL8jXrdJ9jamS58PAVdXu", "incremental", `c${9 - n}`, A.saveSince(one, before));
    }
    write("4NMNnkMhL8jXrdJ9jamS58PAVdXu", "sync-state", "peer", Buffer.from("not a chunk"));
    const two = A.from({ only: "increments" });
    write("2zY9ixJNqBHPSYkjxwQ3Q5zEjkGM", "incremental", "dddd", A.saveSince(two, []));
    const { db, summary } = await importTwice(folder);
    expect(summary).toMatch(/^2 documents: 2 new/);
    expect(await exported(db)).toEqual({
      "automerge/4NMNnkMhL8jXrdJ9jamS58PAVdXu": { n: 3 },
      "automerge/2zY9ixJNqBHPSYkjxwQ3Q5zEjkGM": { only: "increments" },
    });
    expect(await skald("import", db, files)).toMatchObject({
      code: 1,
      err: expect.stringContaining("IMPORT_INVALID"),
    });
  });

  test("a folder of exported Automerge files comes back with names, values and history", async () => {
    const long = "é/".repeat(170);
    const records = [
      { id: "a b/é", v: 1 },
      { id: long, v: 2 },
      { id: ".~*%41", v: 3 },
    ];
    await skald("import", "am", file("am.json", JSON.stringify(records)), "--create");
    await runSkald(["doc", "patch", "am", "am/a b/é", "--dir", server.dir], { input: '{"v":9}' });
    const out = path.join(files, "am-out");
    expect((await skald("export", "am", "--format", "automerge", "-o", out)).code).toBe(0);
    const bytes = readFileSync(path.join(out, "am", "a%20b%2F%C3%A9.automerge"));
    expect(A.toJS(A.load(bytes))).toEqual({ id: "a b/é", v: 9 });
    // What else lies there is no document.
    file(path.join("am-out", "am", "notes.txt"), "mine");

    const { db } = await importTwice(out);
    expect(await exported(db)).toEqual({
      "am/a b/é": { id: "a b/é", v: 9 },
      [`am/${long}`]: records[1],
      "am/.~*%41": records[2],
    });
    const back = path.join(files, "am-back.automerge");
    await skald("doc", "get", db, "am/a b/é", "--automerge", "-o", back);
    expect(A.getAllChanges(A.load(readFileSync(back)))).toEqual(A.getAllChanges(A.load(bytes)));

    const again = await skald("import", "am", out);
    expect(again.out).toBe("3 documents: 0 new, 0 changed, 3 unchanged, 0 failed\n");
    // Into the db it is of under another name: changes of the db's own actor belong to one document.
    const moved = await skald("import", "am", out, "--collection", "other");
    expect(moved).toMatchObject({ code: 1, err: expect.stringContaining("CHANGE_ACTOR") });
    expect(moved.out).toBe("3 documents: 0 new, 0 changed, 0 unchanged, 3 failed\n");
  });
});

describe("what cannot", () => {
  test("a record that is wrong is named by its index, and the others are kept", async () => {
    const source = file("mixed.json", '[{"id":1},{"id":"big","n":9007199254740993},"text",{"id":4}]');
    const { code, out, err } = await skald("import", "mixed", source, "--create");
    expect(code).toBe(1);
    expect(out).toBe("4 documents: 2 new, 0 changed, 0 unchanged, 2 failed\n");
    expect(err).toContain("record 1 (mixed/big): VALUE_INVALID");
    expect(err).toContain('at "/n"');
    expect(err).toContain("record 2: IMPORT_INVALID");
  });

  test("an array that breaks off keeps what came before and ends with 1", async () => {
    const { code, out, err } = await skald(
      "import",
      "cut",
      file("cut.json", '[{"id":1},{"id":2},{"i'),
      "--create",
    );
    expect({ code, out }).toEqual({ code: 1, out: "2 documents: 2 new, 0 changed, 0 unchanged, 0 failed\n" });
    expect(err).toContain("BAD_JSON: Not a JSON array, at element 2");
  });

  test("a db that is not there ends the import at once", async () => {
    const { code, err } = await skald("import", "nowhere", file("n.json", '[{"id":1}]'));
    expect(code).toBe(1);
    expect(err).toMatch(/^DB_NOT_FOUND: .*\n`skald db create <db>` makes it/);
  });
});

test("Ctrl-C keeps what was acknowledged, and the same import again does the rest", async () => {
  const count = 100;
  const lines = Array.from(
    { length: count },
    (_, id) => `${JSON.stringify({ id, text: `line ${id}` })}\n`,
  ).join("");
  const child = startSkald(["import", "long", "-", "--collection", "c", "--create", "--dir", server.dir]);
  const output = { out: "", err: "" };
  child.stdout.on("data", (part: Buffer) => (output.out += part.toString()));
  child.stderr.on("data", (part: Buffer) => (output.err += part.toString()));
  const closed = once(child, "close");
  // The input stays open, so the import cannot have come to its end.
  child.stdin.write(lines);
  while ((await info("long")).documents < 10);
  child.kill("SIGINT");
  expect(await closed).toEqual([130, null]);
  const { documents } = await info("long");
  expect(documents).toBeGreaterThanOrEqual(10);
  expect(output.out).toBe(`${documents} documents: ${documents} new, 0 changed, 0 unchanged, 0 failed\n`);
  const again = await runSkald(["import", "long", "-", "--collection", "c", "--dir", server.dir], {
    input: lines,
  });
  expect(again).toMatchObject({
    code: 0,
    out: `${count} documents: ${count - documents} new, 0 changed, ${documents} unchanged, 0 failed\n`,
  });
  expect((await info("long")).documents).toBe(count);
});

test("a reader that goes away ends an export silently", async () => {
  const child = startSkald(["export", "long", "--dir", server.dir]);
  let err = "";
  child.stderr.on("data", (part: Buffer) => (err += part.toString()));
  const closed = once(child, "close");
  child.stdout.once("data", () => child.stdout.destroy());
  const [code] = (await closed) as [number | null];
  expect({ code, err }).toEqual({ code: 0, err: "" });
});
