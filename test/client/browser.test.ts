import { jest } from "@jest/globals";
import { spawnSync } from "node:child_process";
import { createReadStream, copyFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";
import type { SkaldClient } from "../../src/client/index.ts";
import { requires } from "../support/requires.ts";
import { tempDir } from "../support/temp-dir.ts";
import { startDb } from "./fixture.ts";

/** What is used of a page's own, in functions that run there. */
declare const document: {
  querySelector(selector: string): { textContent: string } | null;
  querySelectorAll<T>(selector: string): ArrayLike<T> & Iterable<T>;
};

const ROOT = path.resolve(import.meta.dirname, "../..");
const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".wasm": "application/wasm",
};

// A page with WebAssembly takes seconds to begin where everything else runs too.
jest.setTimeout(120_000);

const closing: (() => void)[] = [];
afterAll(() => {
  for (const close of closing) close();
});

/** Bundles an example as its maker would, into a folder of its own. */
function bundle(entry: string): string {
  const dir = tempDir();
  const args = [
    path.join(ROOT, "test/support/bundle-page.mjs"),
    path.join(ROOT, "fixtures/examples", entry),
    dir,
  ];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(stderr);
  return dir;
}

/** Serves folders by the first part of the path; gives the origin. */
async function servePages(folders: Readonly<Record<string, string>>): Promise<string> {
  const server = createServer((req, res) => {
    const [, name = "", file = ""] = (req.url ?? "").split("/");
    const dir = folders[name];
    const type = TYPES[path.extname(file || "index.html")];
    if (!dir || !type) {
      res.writeHead(404).end();
      return;
    }
    res.writeHead(200, { "content-type": type });
    createReadStream(path.join(dir, file || "index.html"))
      .on("error", () => res.destroy())
      .pipe(res);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

requires("chromium")("in a browser, on pages of another origin", () => {
  let browser: Browser;
  let react: (context: BrowserContext, list: string) => Promise<Page>;
  let svelte: (context: BrowserContext, list: string) => Promise<Page>;
  let client: SkaldClient;
  const errors: string[] = [];

  beforeAll(async () => {
    const folders = { react: bundle("todo/todo.jsx"), svelte: bundle("todo-svelte/todo.js") };
    const wasm = createRequire(import.meta.url).resolve("@automerge/automerge/automerge.wasm");
    copyFileSync(wasm, path.join(folders.svelte, "automerge.wasm"));
    const origin = await servePages(folders);
    const db = await startDb(tempDir(), "lists", { args: ["--cors-origin", origin] });
    client = db.clientOf();
    const open = (kind: string) => async (context: BrowserContext, list: string) => {
      const page = await context.newPage();
      page.on("pageerror", (error) => errors.push(error.message));
      const where = new URLSearchParams({
        server: db.server.url,
        db: "lists",
        token: db.server.token as string,
        list,
      });
      await page.goto(`${origin}/${kind}/#${where.toString()}`);
      await page.locator("form").waitFor();
      return page;
    };
    react = open("react");
    svelte = open("svelte");
    browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  });
  afterAll(() => browser?.close());
  afterEach(() => expect(errors.splice(0)).toEqual([]));

  const add = async (page: Page, title: string): Promise<void> => {
    await page.locator("[name=title]").fill(title);
    await page.getByText("Add").click();
  };
  /** Waits until the page shows these items. */
  const shows = (page: Page, items: readonly string[]): Promise<unknown> =>
    page.waitForFunction(
      (wanted) =>
        [...document.querySelectorAll<{ value: string }>("li [type=text]")]
          .map(({ value }) => value)
          .join() === wanted,
      items.join(),
    );
  const says = (page: Page, status: string): Promise<unknown> =>
    page.waitForFunction((wanted) => document.querySelector("output")?.textContent === wanted, status);

  test("React: an edit in one tab shows in the other, and a reload shows it again", async () => {
    const context = await browser.newContext();
    const one = await react(context, "tabs");
    const two = await react(context, "tabs");
    await add(one, "milk");
    await shows(two, ["milk"]);
    await add(two, "bread");
    await shows(one, ["milk", "bread"]);
    await one.locator("li [type=text]").first().press("End");
    await one.locator("li [type=text]").first().pressSequentially(" and honey");
    await two.locator("li [type=checkbox]").last().check();
    await shows(two, ["milk and honey", "bread"]);
    await one.waitForFunction(() => document.querySelectorAll("li :checked").length === 1);
    await says(one, "saved");
    await one.reload();
    await shows(one, ["milk and honey", "bread"]);
    expect(await client.get("lists/tabs")).toEqual({
      items: [
        { title: "milk and honey", done: false },
        { title: "bread", done: true },
      ],
    });
    await context.close();
  });

  test("React: offline the page goes on, and what it did is merged when the network is back", async () => {
    const [away, home] = [await browser.newContext(), await browser.newContext()];
    const one = await react(away, "offline");
    const two = await react(home, "offline");
    await add(one, "a");
    await shows(two, ["a"]);
    await says(one, "saved");
    await away.setOffline(true);
    await says(one, "offline");
    await add(one, "b");
    await says(one, "offline, 1 not saved");
    await add(two, "c");
    await says(two, "saved");
    await shows(one, ["a", "b"]);
    await away.setOffline(false);
    await one.waitForFunction(() => document.querySelectorAll("li").length === 3);
    await says(one, "saved");
    const { items } = (await client.get<{ items: { title: string }[] }>("lists/offline")) ?? { items: [] };
    expect(items.map(({ title }) => title).toSorted()).toEqual(["a", "b", "c"]);
    await shows(
      two,
      items.map(({ title }) => title),
    );
    await away.close();
    await home.close();
  });

  test("React: what was done offline outlives the page", async () => {
    const context = await browser.newContext();
    const page = await react(context, "reload");
    await add(page, "a");
    await says(page, "saved");
    await context.setOffline(true);
    await says(page, "offline");
    await add(page, "b");
    await page.evaluate(async () => {
      const { skald } = globalThis as unknown as { skald: SkaldClient };
      const live = skald.open("lists/reload");
      await live.stored();
      void skald.put("lists/queued", { written: "offline" });
    });
    await page.waitForFunction(
      () => document.querySelector("output")?.textContent === "offline, 2 not saved",
    );
    await page.close();
    await context.setOffline(false);
    // Another list: nobody opens the one that was changed.
    const next = await react(context, "elsewhere");
    await says(next, "saved");
    expect(await client.get("lists/reload")).toMatchObject({ items: [{ title: "a" }, { title: "b" }] });
    expect(await client.get("lists/queued")).toEqual({ written: "offline" });
    await context.close();
  });

  test("Svelte: the same list, with the store bound to its fields", async () => {
    const context = await browser.newContext();
    const one = await svelte(context, "svelte");
    const two = await react(context, "svelte");
    await add(one, "milk");
    await shows(two, ["milk"]);
    await add(two, "bread");
    await shows(one, ["milk", "bread"]);
    await one.locator("li [type=text]").first().press("End");
    await one.locator("li [type=text]").first().pressSequentially("!");
    await one.locator("li [type=checkbox]").first().check();
    await shows(two, ["milk!", "bread"]);
    await two.locator("li button").last().click();
    await shows(one, ["milk!"]);
    await says(one, "saved");
    expect(await client.get("lists/svelte")).toEqual({ items: [{ title: "milk!", done: true }] });
    await context.close();
  });

  test("documents, errors and the feed work over HTTP from the page", async () => {
    const context = await browser.newContext();
    const page = await react(context, "http");
    const seen = await page.evaluate(async () => {
      const { skald } = globalThis as unknown as { skald: SkaldClient };
      const { cursor, heads } = await skald.put("pages/a", { n: 1 });
      const read = await skald.read("pages/a");
      const refused = await skald
        .put("pages/a", {}, { ifHeads: [] })
        .catch((error: { code: string }) => error.code);
      await skald.change<{ n: number }>("pages/a", (doc) => {
        doc.n = 2;
      });
      for await (const { docs } of skald.changes({ since: cursor, docs: ["pages/a"], include: "json" })) {
        return {
          same: read?.heads?.join() === heads["pages/a"]?.join(),
          refused,
          docs: docs.map(({ value }) => value),
        };
      }
      return undefined;
    });
    expect(seen).toEqual({ same: true, refused: "HEADS_CONFLICT", docs: [{ n: 2 }] });
    await context.close();
  });
});
