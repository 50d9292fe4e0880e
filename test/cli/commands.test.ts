import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { runSkald, startServer, type SkaldServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";

let server: SkaldServer;

beforeAll(async () => {
  server = await startServer(tempDir());
});

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

test("branches are made, compared, merged and ended", async () => {
  const skald = runner({ SKALD_URL: server.url, SKALD_TOKEN: server.token ?? "", SKALD_DIR: "/nonexistent" });
  await skald("db create lines");
  await skald("doc put lines items/1 -", '{"price":9}');
  expect(await skald("branch create lines draft --message try")).toBe("draft\n");
  expect(await skald("branch list lines")).toMatch(/draft +open +main +1 +2/);
  await skald("doc patch lines items/1", '{"price":10}');
  expect(await skald("diff lines draft main")).toBe(
    '~ items/1\n    {"op":"replace","path":"/price","value":10}\n',
  );
  expect(await skald("diff lines draft main --names")).toBe("~ items/1\n");
  expect(await skald("branch merge lines main --into draft --json")).toMatch(/"fast_forward":true/);
  expect(await skald("diff lines draft main")).toBe("");
  expect(await skald("branch merge lines draft --close")).toBe("");
  await skald("branch delete lines draft");
  await skald("db delete lines --yes");
});

test("every command works by --url", async () => {
  const skald = runner({ SKALD_URL: server.url, SKALD_TOKEN: server.token ?? "", SKALD_DIR: "/nonexistent" });
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
  expect(await skald("restore-point shop 1 --dry-run --doc items/1")).toMatch(
    /would be changed \d, brought back 0/,
  );
  await skald("db settings shop --bundle-commits 4096 --bundle-age 2h");
  expect(await skald("db settings shop")).toMatch(/4096[^]*16777216[^]*7200000 ms/);
  expect(await skald("compact shop")).toMatch(/^1 bundles of 5 commits: \d+ KB -> \d+ KB\n$/);
  // A bundle that has room is made anew once something came since.
  expect(jsonOf(await skald("compact shop --json"))).toMatchObject([{ db: "shop", bundles: 0, commits: 0 }]);
  expect(await skald("verify shop")).toMatch(/^shop: sound, 5 commits, head bafy/);

  const token = await skald("token create --label t --scope shop:doc.read --expires 30d");
  expect(token).toMatch(/^skald_\S+\n$/);
  const tokens = jsonOf(await skald("token list --json")) as { id: string; label: string }[];
  await skald(`token revoke ${tokens.find(({ label }) => label === "t")?.id}`);
  expect(jsonOf(await skald("status --json"))).toMatchObject([{ dbs: { known: 1 } }]);
  await skald("db delete shop --yes");
  expect(await skald("db list")).toBe("db  created\n");
});

test("on the directory of a running server no token is needed, and the author is the operator", async () => {
  const skald = runner({ SKALD_DIR: server.dir });
  await skald("db create own");
  await skald("doc put own items/1", '{"price":9}');
  const [history, exported, status] = await Promise.all([
    skald("doc history own items/1 --json"),
    skald("export own"),
    skald("status --json"),
  ]);
  expect(jsonOf(history)).toMatchObject([{ seq: 1, author: "operator" }]);
  expect(exported).toBe('{"doc":"items/1","value":{"price":9}}\n');
  expect(jsonOf(status)).toMatchObject([{ where: server.dir }]);
});

test("on a plain directory commands wait for each other, leave what they wrote, and verify finds a byte that changed", async () => {
  const dir = path.join(tempDir(), "data");
  const skald = runner({ SKALD_DIR: dir });
  const records = Array.from({ length: 40 }, (_, id) => JSON.stringify({ id, text: `note ${id}` }));
  expect(await skald("token create --label t --scope shop:doc.read")).toMatch(/^skald_/);
  const [imported] = await Promise.all([
    skald("import notes - --collection c --create", records.join("\n")),
    skald("db create shop"),
    skald("db create other"),
  ]);
  expect(imported).toBe("40 documents: 40 new, 0 changed, 0 unchanged, 0 failed\n");
  await skald("doc put shop items/1", '{"price":9}');

  const file = path.join(dir, "dbs", "notes", "log.sqlite");
  const bytes = readFileSync(file);
  // In a record's own bytes, found by a text that one of them holds.
  const at = bytes.indexOf("note 20");
  expect(at).toBeGreaterThan(0);
  bytes[at] = (bytes[at] as number) ^ 1;
  writeFileSync(file, bytes);
  const { code, out } = await runSkald(["verify", "--all", "--json"], { env: { SKALD_DIR: dir } });
  expect(code).toBe(1);
  expect(jsonOf(out)).toMatchObject([
    { db: "_audit", verdict: "sound" },
    { db: "notes", verdict: "damaged", checked: 2 },
    { db: "other", verdict: "sound", checked: 0 },
    { db: "shop", verdict: "sound", checked: 1 },
  ]);
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
    const [nobody, stranger] = await Promise.all([
      runSkald(["db", "list", "--url", "http://127.0.0.1:1"]),
      runSkald(["db", "list", "--url", server.url, "--token", "skald_wrong"]),
    ]);
    expect(nobody).toMatchObject({ code: 1, err: expect.stringMatching(/^UNREACHABLE: /) });
    expect(stranger).toMatchObject({ code: 1, err: expect.stringMatching(/^UNAUTHENTICATED: /) });
    expect(nobody.err + stranger.err).not.toMatch(/^\s+at /m);
  });

  test("a second server on a directory is refused and told of the first", async () => {
    const { port } = new URL(server.url);
    const [second, third] = await Promise.all([
      runSkald(["serve", "--dir", server.dir, "--port", "0"]),
      runSkald(["serve", "--dir", tempDir(), "--port", port]),
    ]);
    expect(second).toMatchObject({ code: 1, err: expect.stringContaining("DIR_IN_USE") });
    expect(second.err).toContain(server.url);
    expect(third).toMatchObject({ code: 1, err: expect.stringMatching(/^PORT_IN_USE: /) });
  });
});
