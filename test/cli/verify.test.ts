import { writeFileSync } from "node:fs";
import path from "node:path";
import Database from "better-sqlite3";
import { runSkald, startServer, type SkaldServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";

interface Receipt {
  readonly seq: number;
  readonly commit: string;
}

const files = tempDir();
const receipts: Receipt[] = [];
let server: SkaldServer;

beforeAll(async () => {
  server = await startServer(tempDir());
  await ask("PUT", "/shop");
  for (let n = 0; n < 5; n += 1) {
    const answer = await ask("PUT", `/shop/docs/items/${n % 2}`, JSON.stringify({ n }), "application/json");
    receipts.push(JSON.parse(answer.text) as Receipt);
  }
}, 30_000);

async function ask(method: string, at: string, body?: string, type = "application/x-ndjson") {
  const answer = await fetch(`${server.url}/api/v1/db${at}`, {
    method,
    headers: { authorization: `Bearer ${server.token}`, "content-type": type },
    ...(body === undefined ? {} : { body }),
  });
  const text = await answer.text();
  return { status: answer.status, text, lines: () => text.trim().split("\n").map(parsed) };
}

const parsed = (line: string): Record<string, unknown> => JSON.parse(line) as Record<string, unknown>;

function fileOf(name: string, lines: readonly unknown[]): string {
  const file = path.join(files, name);
  writeFileSync(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  return file;
}

const verify = (...args: string[]) => runSkald(["verify", "shop", ...args, "--dir", server.dir]);

/** Names another commit that looks like one. */
const changed = ({ seq, commit }: Receipt): Receipt => ({ seq, commit: `${commit.slice(0, -4)}aaaa` });

describe("verify with receipts", () => {
  test("proves that what was acknowledged is there", async () => {
    // As they were answered, with one of another db and one that came before any commit.
    const file = fileOf("right", [
      ...receipts,
      { db: "other", seq: 90, commit: "bafyr4i" },
      { seq: 0, commit: "" },
    ]);
    const { code, out } = await verify("--receipts", file);
    expect({ code, out }).toEqual({
      code: 0,
      out: expect.stringMatching(/^shop: sound, 5 commits, head bafy\w+, 5 receipts compared\n$/),
    });
  });

  test("names one whose commit is another, and one whose commit is gone", async () => {
    const [first, second] = receipts as [Receipt, Receipt];
    const file = fileOf("wrong", [first, changed(second), { ...first, seq: 77 }]);
    const { code, out } = await verify("--receipts", file, "--log-only");
    expect(code).toBe(1);
    expect(out).toContain("shop: damaged, 5 commits");
    expect(out).toContain(
      `  acknowledged: commit 2 was acknowledged as ${changed(second).commit} and is ${second.commit}\n`,
    );
    expect(out).toContain(`  acknowledged: commit 77 (${first.commit}) is not in the log\n`);
    expect(out).not.toContain("rebuild");
  });

  test("refuses lines that are none, before anything is checked", async () => {
    const results = await Promise.all([
      verify("--receipts", fileOf("none", [{ seq: 1 }])),
      verify("--receipts", path.join(files, "missing")),
      runSkald(["verify", "--all", "--receipts", "x", "--dir", server.dir]),
    ]);
    expect(results.map(({ code }) => code)).toEqual([1, 1, 2]);
    expect(results.map(({ err }) => err.split(":")[0])).toEqual(["BAD_RECEIPT", "ENOENT", "USAGE"]);
    for (const [body, code] of [
      ["{", "BAD_JSON"],
      ['{"seq":1}', "BAD_REQUEST"],
      ['{"seq":1,"commit":"no address"}', "BAD_REQUEST"],
      ['{"seq":-1,"commit":""}', "BAD_REQUEST"],
    ] as const) {
      const { status, text } = await ask("POST", "/shop/verify", `${JSON.stringify(receipts[0])}\n${body}`);
      expect({ status, ...parsed(text) }).toMatchObject({
        status: 400,
        code,
        detail: expect.stringContaining("Line 2"),
      });
    }
  });

  test("over HTTP says so in the last line", async () => {
    const body = [receipts[0], changed(receipts[1] as Receipt)]
      .map((line) => JSON.stringify(line))
      .join("\n");
    const { lines } = await ask("POST", "/shop/verify?only=log", body);
    expect(lines().at(-1)).toMatchObject({
      verdict: "damaged",
      stages: ["log"],
      receipts: 2,
      problems: [
        { what: "acknowledged", where: expect.stringContaining("commit 2"), means: expect.any(String) },
      ],
    });
  });
});

describe("verify", () => {
  test("says which stage runs, and leaves out what is derived when told", async () => {
    const all = (await ask("GET", "/shop/verify")).lines();
    expect([...new Set(all.slice(0, -1).map(({ stage }) => stage))]).toEqual([
      "log",
      "feed",
      "catalog",
      "documents",
      "routes",
    ]);
    expect(all.at(-1)).toMatchObject({
      verdict: "sound",
      stages: ["log", "feed", "catalog", "documents", "routes"],
    });
    const log = (await ask("GET", "/shop/verify?only=log")).lines();
    expect(new Set(log.slice(0, -1).map(({ stage }) => stage))).toEqual(new Set(["log"]));
    expect((await ask("GET", "/shop/verify?only=views")).status).toBe(400);
  });

  test("ends with 1 for a row that was altered, and with 0 after a rebuild", async () => {
    const views = new Database(path.join(server.dir, "dbs", "shop", "views.sqlite"));
    const alter = views.prepare("UPDATE document SET json = '{\"n\":99}' WHERE name = 'items/0' AND seq = 5");
    // The projection follows after a pause.
    while (alter.run().changes === 0) await new Promise((resolve) => setTimeout(resolve, 50));
    views.close();
    const { code, out } = await verify();
    expect(code).toBe(1);
    expect(out).toMatch(/^shop: damaged, 5 commits, head bafy\w+\n {2}projection: .*items\/0/);
    expect(out).toContain("  Only derived data is wrong: `skald rebuild shop` makes it anew from the log.\n");
    expect((await verify("--log-only")).code).toBe(0);
    expect((await runSkald(["rebuild", "shop", "--dir", server.dir])).code).toBe(0);
    expect((await verify()).code).toBe(0);
  });
});
