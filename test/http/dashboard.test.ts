import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { dashboardFiles } from "../support/dashboard-files.ts";
import { tempDir } from "../support/temp-dir.ts";
import { API, problem, startHttp, type Reply } from "./fixture.ts";

const FOLDER = dashboardFiles();
const FILES = readdirSync(FOLDER).filter((name) => !/\.(?:br|gz|txt)$/.test(name) && name !== "index.html");

const { ask } = await startHttp(tempDir());
const get = (where: string, headers: Readonly<Record<string, string>> = {}): Promise<Reply> =>
  ask("GET", where, { token: null, headers });

describe("the dashboard's page", () => {
  test("is there without a credential, asks for nothing from elsewhere and has nothing inline", async () => {
    const page = await get("/_/");
    expect(page.status).toBe(200);
    expect(page.headers).toMatchObject({
      "content-type": "text/html; charset=utf-8",
      "cache-control": "private, no-cache",
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cross-origin-opener-policy": "same-origin",
    });
    const named = [...page.text.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, name]) => name as string);
    expect(named.length).toBeGreaterThan(3);
    for (const name of named) expect(FILES).toContain(name);
    expect(page.text).not.toMatch(/<style|style=|<script(?![^>]*src=)|\son\w+=/i);
  });

  test("lets scripts and styles be of our own files only, and frames nothing", async () => {
    const policy = (await get("/_/")).headers["content-security-policy"] as string;
    const rules = new Map(
      policy.split("; ").map((rule) => [rule.split(" ")[0] as string, rule.split(" ").slice(1).join(" ")]),
    );
    expect(Object.fromEntries(rules)).toEqual({
      "default-src": "'none'",
      "script-src": "'self'",
      "style-src": "'self'",
      "img-src": "'self' data:",
      "connect-src": "'self'",
      "form-action": "'self'",
      "base-uri": "'none'",
      "frame-ancestors": "'none'",
      "require-trusted-types-for": "'script'",
      "trusted-types": "svelte-trusted-html",
    });
  });

  test("is not sent again while it is the same", async () => {
    const { etag } = (await get("/_/")).headers;
    const again = await get("/_/", { "if-none-match": etag as string });
    expect({ status: again.status, text: again.text, etag: again.headers.etag }).toEqual({
      status: 304,
      text: "",
      etag,
    });
    expect((await ask("HEAD", "/_/", { token: null })).headers["content-length"]).toBe(
      String((await get("/_/")).bytes.length),
    );
  });

  test.each(["/_", "/_utils"])("%s leads to it", async (where) => {
    const answer = await get(where);
    expect({ status: answer.status, location: answer.headers.location }).toEqual({
      status: 308,
      location: "/_/",
    });
  });

  test("the root leads browsers to it and nobody else", async () => {
    const browser = await get("/", { accept: "text/html,application/xhtml+xml,*/*;q=0.8" });
    expect({ status: browser.status, location: browser.headers.location }).toEqual({
      status: 302,
      location: "/_/",
    });
    problem(await get("/", { accept: "*/*" }), 404, "NOT_FOUND");
  });
});

describe("its files", () => {
  test("are kept for ever, since their names say what is inside", async () => {
    expect(FILES.length).toBeGreaterThan(10);
    for (const name of FILES) {
      expect(name).toMatch(/^[a-z0-9.-]+-[A-Z0-9]{8}\.(?:js|css|svg)$/);
      const file = await get(`/_/${name}`);
      expect({ name, status: file.status, cache: file.headers["cache-control"] }).toEqual({
        name,
        status: 200,
        cache: "public, max-age=31536000, immutable",
      });
      expect(file.bytes.equals(readFileSync(path.join(FOLDER, name)))).toBe(true);
    }
  });

  test.each([
    ["gzip, deflate, br, zstd", "br"],
    ["gzip", "gzip"],
    ["br;q=0, gzip", "gzip"],
    ["gzip;q=0", undefined],
    ["BR", "br"],
    ["xbr, gzipped", undefined],
    ["", undefined],
  ])("come as the client takes them: %j", async (accepted, encoding) => {
    const name = FILES.find((file) => file.startsWith("main-")) as string;
    const file = await get(`/_/${name}`, { "accept-encoding": accepted });
    expect(file.headers["content-encoding"]).toBe(encoding);
    expect(file.headers.vary).toContain("accept-encoding");
    const plain =
      encoding === "br" ? brotliDecompressSync(file.bytes) : encoding ? gunzipSync(file.bytes) : file.bytes;
    expect(plain.equals(readFileSync(path.join(FOLDER, name)))).toBe(true);
  });

  test.each([
    "/_/nothing.js",
    "/_/..%2f..%2fpackage.json",
    "/_/%2e%2e",
    "/_/index.html.br",
    "/_/..%5cpackage.json",
    "/_/main.ts",
    "/_/%00",
  ])("%s is none of them", async (where) => {
    problem(await get(where), 404, "NOT_FOUND");
  });

  test("a first visit loads at most 100 KB, all in all", () => {
    const size = (name: string): number => readFileSync(path.join(FOLDER, `${name}.gz`)).length;
    const text = (name: string): string => readFileSync(path.join(FOLDER, name), "utf8");
    const page = text("index.html");
    const first = new Set([...page.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, name]) => name as string));
    // The page that is shown first, and whatever it imports.
    for (const name of FILES) if (name.startsWith("databases-")) first.add(name);
    for (const name of first) {
      if (!name.endsWith(".js")) continue;
      for (const [, other] of text(name).matchAll(/(?:from|import)"\.\/([^"]+)"/g))
        first.add(other as string);
    }
    const bytes = [...first].reduce((sum, name) => sum + size(name), size("index.html"));
    expect(bytes).toBeGreaterThan(20_000);
    expect(bytes).toBeLessThanOrEqual(100 * 1024);
  });
});

describe("a db's commits over time", () => {
  test("are counted in the steps in which they were made", async () => {
    await ask("PUT", `${API}/db/busy`);
    for (let i = 0; i < 5; i += 1) await ask("PUT", `${API}/db/busy/docs/a/${i}`, { body: { i } });
    for (const [span, steps, ms] of [
      ["hour", 60, 60_000],
      ["day", 48, 1_800_000],
      ["week", 84, 7_200_000],
      ["month", 60, 43_200_000],
    ] as const) {
      const { json } = await ask("GET", `${API}/db/busy/activity?span=${span}`);
      const commits = json["commits"] as number[];
      expect({ seq: json["seq"], steps: commits.length, step: json["step_ms"] }).toEqual({
        seq: 5,
        steps,
        step: ms,
      });
      // The minute may have turned meanwhile.
      expect(commits.reduce((sum, one) => sum + one, 0)).toBe(5);
      expect(commits.slice(0, -2).every((one) => one === 0)).toBe(true);
      expect(Date.parse(json["to"] as string) - Date.parse(json["from"] as string)).toBe(steps * ms);
      expect(Date.parse(json["to"] as string)).toBeGreaterThan(Date.now() - ms);
    }
    expect((await ask("GET", `${API}/db/busy/activity`)).json["step_ms"]).toBe(1_800_000);
    problem(await ask("GET", `${API}/db/busy/activity?span=year`), 400, "BAD_REQUEST");
  });
});
