import path from "node:path";
import { jest } from "@jest/globals";
import { runSkald, startServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";

/** Branches, archives, erasure and backups as somebody meets them who has read the help. */
jest.setTimeout(180_000);
const root = tempDir();
const file = (name: string): string => path.join(root, name);
beforeAll(async () => {
  await startServer(file("home"));
});

async function skald(...args: string[]): Promise<string> {
  const { code, out, err } = await runSkald([...args, "--dir", file("home")]);
  expect([code, err.match(/^[A-Z_]+:.*$/m)?.[0]]).toEqual([0, undefined]);
  return out;
}

test("a document is changed on a branch, read there, and comes into main by a merge", async () => {
  await skald("import", "notes", await lines('{"doc":"pages/a","value":{"n":1}}'), "--create");
  await skald("branch", "create", "notes", "draft");
  await skald("doc", "put", "notes", "pages/a", await lines('{"n":2}'), "--branch", "draft");
  expect(JSON.parse(await skald("doc", "get", "notes", "pages/a"))).toEqual({ n: 1 });
  expect(JSON.parse(await skald("doc", "get", "notes", "pages/a", "--branch", "draft"))).toEqual({ n: 2 });
  expect(await skald("export", "notes", "--branch", "draft")).toBe('{"doc":"pages/a","value":{"n":2}}\n');
  await skald("branch", "merge", "notes", "draft", "--close");
  expect(JSON.parse(await skald("doc", "get", "notes", "pages/a"))).toEqual({ n: 2 });
});

test("two dbs of one history are in a backup, each", async () => {
  await skald("snapshot", "export", "notes", "-o", file("notes.car"));
  await skald("snapshot", "import", "again", file("notes.car"));
  await skald("backup", file("backup"));
  const { code, out } = await runSkald(["backup", "list", file("backup"), "--json"]);
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject({ failed: [] });
});

test("an erased document says so, and is no server that does not answer", async () => {
  await skald("erase", "again", "pages/a", "--yes");
  const { code, err } = await runSkald(["doc", "get", "again", "pages/a", "--dir", file("home")]);
  expect(err).toMatch(/^ERASED: /);
  expect(code).toBe(1);
});

let written = 0;
async function lines(text: string): Promise<string> {
  const { writeFile } = await import("node:fs/promises");
  const name = file(`input-${(written += 1)}.ndjson`);
  await writeFile(name, `${text}\n`);
  return name;
}
