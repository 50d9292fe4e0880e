import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { runSkald, startServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";

type Way = "--url" | "the directory of a running server" | "a plain directory";

/** The settings with which a command reaches a fresh Skald in this way. */
async function reach(way: Way): Promise<Record<string, string>> {
  const dir = path.join(tempDir(), "data");
  if (way === "a plain directory") return { SKALD_DIR: dir };
  const server = await startServer(dir);
  return way === "--url"
    ? { SKALD_URL: server.url, SKALD_TOKEN: server.token ?? "", SKALD_DIR: "/nonexistent" }
    : { SKALD_DIR: dir };
}

type Run = (line: string, input?: string) => Promise<string>;

function runner(env: Record<string, string>): Run {
  return async (line, input = "") => {
    const { code, out, err } = await runSkald(line.split(" "), { env, input });
    expect({ line, code, err: code === 0 ? "" : err }).toEqual({ line, code: 0, err: "" });
    return out;
  };
}

function jsonOf(out: string): unknown[] {
  return out
    .trim()
    .split("\n")
    .map((text) => JSON.parse(text) as unknown);
}

test.each<Way>(["--url", "the directory of a running server"])("every command works by %s", async (way) => {
  const skald = runner(await reach(way));
  expect(await skald("db create shop")).toBe("shop\n");
  await skald("doc put shop items/1 -", '{"price":9,"name":"cup"}');
  await skald("doc patch shop items/1", '{"price":10}');
  await skald("doc patch shop items/1 --json-patch", '[{"op":"add","path":"/tags","value":["new"]}]');
  const [now, then, diff, history, list, info, exported] = await Promise.all([
    skald("doc get shop items/1"),
    skald("doc get shop items/1 --at 1"),
    skald("doc diff shop items/1 --from 1 --to 2"),
    skald("doc history shop items/1 --json"),
    skald("doc list shop --collection items --prefix 1 --values --json"),
    skald("db info shop --json"),
    skald("export shop"),
  ]);
  expect(jsonOf(now)).toEqual([{ name: "cup", price: 10, tags: ["new"] }]);
  expect(then).toBe('{"name":"cup","price":9}\n');
  expect(diff).toBe('{"op":"replace","path":"/price","value":10}\n');
  expect(jsonOf(history)).toMatchObject([{ seq: 3 }, { seq: 2 }, { seq: 1 }]);
  expect(jsonOf(list)).toMatchObject([{ doc: "items/1", value: { price: 10 } }]);
  expect(jsonOf(info)).toMatchObject([{ db: "shop", seq: 3, documents: 1 }]);
  expect(exported).toBe('{"doc":"items/1","value":{"name":"cup","price":10,"tags":["new"]}}\n');

  await skald("doc delete shop items/1");
  expect(await skald("import shop - --quiet", exported)).toBe(
    "1 documents: 1 new, 0 changed, 0 unchanged, 0 failed\n",
  );
  expect(await skald("rebuild shop")).toBe("shop: rebuilt\n");
  expect(await skald("verify shop")).toMatch(/^shop: sound, 5 commits, head bafy/);

  const token = await skald("token create --label t --scope shop:doc.read --expires 30d");
  expect(token).toMatch(/^skald_\S+\n$/);
  const tokens = jsonOf(await skald("token list --json")) as { id: string; label: string }[];
  await skald(`token revoke ${tokens.find(({ label }) => label === "t")?.id}`);
  expect(jsonOf(await skald("status --json"))).toMatchObject([{ dbs: { known: 1 } }]);
  await skald("db delete shop --yes");
  expect(await skald("db list")).toBe("db  created\n");
});

test("on a plain directory each command starts what it needs, and leaves what it wrote", async () => {
  const skald = runner(await reach("a plain directory"));
  await skald("db create shop");
  await skald("doc put shop items/1", '{"price":9}');
  expect(await skald("doc get shop items/1")).toBe('{"price":9}\n');
  expect(await skald("token create --label t --scope shop:doc.read")).toMatch(/^skald_/);
  expect(await skald("verify --all")).toMatch(/^shop: sound, 1 commits/);
  await skald("db delete shop --yes");
  expect(await skald("db list --json")).toBe("");
});

describe("what goes wrong", () => {
  test("wrong usage ends with 2 and says what is wrong", async () => {
    const wrong = [
      ["nonsense"],
      ["db", "create"],
      ["doc", "diff", "a", "b/c"],
      ["verify"],
      ["db", "list", "--what"],
    ];
    const results = await Promise.all(wrong.map((args) => runSkald(args)));
    expect(results.map(({ code }) => code)).toEqual([2, 2, 2, 2, 2]);
    expect(results.every(({ out, err }) => out === "" && err !== "")).toBe(true);
  });

  test("help and version end with 0 on stdout", async () => {
    const [help, version] = await Promise.all([runSkald(["doc", "get", "--help"]), runSkald(["--version"])]);
    expect(help).toMatchObject({ code: 0, err: "", out: expect.stringContaining("$ skald doc get") });
    const { version: expected } = JSON.parse(
      readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
    ) as { version: string };
    expect(version).toEqual({ code: 0, err: "", out: `${expected}\n` });
  });

  test("a command that only reads makes no directory", async () => {
    const dir = path.join(tempDir(), "none");
    const [list, put] = await Promise.all([
      runSkald(["db", "list", "--dir", dir]),
      runSkald(["doc", "put", "a", "b/c", "--dir", dir], { input: "{}" }),
    ]);
    expect(list).toMatchObject({
      code: 1,
      out: "",
      err: expect.stringContaining(`NOTHING_HERE: There is no Skald data at ${dir}`),
    });
    expect(put.code).toBe(1);
  });

  test("nobody at the URL, and a token that is none, are named without a stack", async () => {
    const server = await startServer(tempDir());
    const [nobody, stranger] = await Promise.all([
      runSkald(["db", "list", "--url", "http://127.0.0.1:1"]),
      runSkald(["db", "list", "--url", server.url, "--token", "skald_wrong"]),
    ]);
    expect(nobody).toMatchObject({ code: 1, err: expect.stringMatching(/^UNREACHABLE: /) });
    expect(stranger).toMatchObject({ code: 1, err: expect.stringMatching(/^UNAUTHENTICATED: /) });
    expect(nobody.err + stranger.err).not.toMatch(/^\s+at /m);
  });

  test("a second server on a directory is refused and told of the first", async () => {
    const dir = tempDir();
    const server = await startServer(dir);
    const second = await runSkald(["serve", "--dir", dir, "--port", "0"]);
    expect(second).toMatchObject({ code: 1, err: expect.stringContaining("DIR_IN_USE") });
    expect(second.err).toContain(server.url);
    const port = new URL(server.url).port;
    const third = await runSkald(["serve", "--dir", tempDir(), "--port", port]);
    expect(third).toMatchObject({ code: 1, err: expect.stringMatching(/^PORT_IN_USE: /) });
  });

  test("commands at the same time on a plain directory wait for each other", async () => {
    const dir = tempDir();
    const results = await Promise.all(
      ["a", "b", "c"].map((db) => runSkald(["db", "create", db, "--dir", dir])),
    );
    expect(results.map(({ code, err }) => ({ code, err }))).toEqual(Array(3).fill({ code: 0, err: "" }));
    const { out } = await runSkald(["db", "list", "--json", "--dir", dir]);
    expect(out.trim().split("\n")).toHaveLength(3);
  });
});

test("verify finds a byte that changed, and ends with 1", async () => {
  const dir = tempDir();
  const records = Array.from({ length: 40 }, (_, id) => JSON.stringify({ id, text: `note ${id}` }));
  await runSkald(["import", "notes", "-", "--collection", "c", "--create", "--dir", dir], {
    input: records.join("\n"),
  });
  const file = path.join(dir, "dbs", "notes", "log.sqlite");
  const bytes = readFileSync(file);
  // In a record's own bytes, found by a text that one of them holds.
  const at = bytes.indexOf("note 20");
  expect(at).toBeGreaterThan(0);
  bytes[at] = (bytes[at] as number) ^ 1;
  writeFileSync(file, bytes);
  const [one, all] = [
    await runSkald(["verify", "notes", "--dir", dir]),
    await runSkald(["verify", "--all", "--json", "--dir", dir]),
  ];
  expect(one).toMatchObject({ code: 1, out: expect.stringMatching(/^notes: damaged, 40 commits/) });
  expect(all.code).toBe(1);
  expect(JSON.parse(all.out)).toMatchObject({ db: "notes", verdict: "damaged" });
});
