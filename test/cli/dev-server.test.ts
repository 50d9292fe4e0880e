import { Browser, type Page } from "../support/browser.ts";
import { runSkald, startServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";

/** `skald serve --dev`, as somebody meets it who has just installed Skald. */
const server = await startServer(tempDir(), { args: ["--dev"] });
const { url } = server;

/** From the start of a login to the page on which somebody is picked. */
async function pickPage(browser: Browser, from = url): Promise<Page> {
  return browser.go(`${from}/auth/oidc/login?next=%2Fhealthz`);
}

async function pick(
  browser: Browser,
  page: Page,
  who: string,
  headers: Record<string, string> = {},
): Promise<Page> {
  const action = /action="([^"]+)"/.exec(page.text)?.[1] ?? "";
  return browser.go(new URL(action, page.url).href, {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded", ...headers },
    body: new URLSearchParams({ who }).toString(),
  });
}

async function signIn(who: string, browser = new Browser()): Promise<Browser> {
  const page = await pick(browser, await pickPage(browser), who);
  expect({ status: page.status, text: page.text }).toEqual({ status: 200, text: '{"ok":true}' });
  return browser;
}

const me = async (browser: Browser): Promise<Record<string, unknown>> =>
  JSON.parse((await browser.ask(`${url}/auth/me`)).text) as Record<string, unknown>;

test("the start says what to open and whom to pick, and nothing of the provider's own warnings", () => {
  expect(server.log()).toContain(`open ${url}/_/ and pick somebody`);
  expect(server.log()).toMatch(/Ada Admin {3}administers this server\n {4}Paul Plain {2}sees nothing until/);
  expect(server.log()).not.toMatch(/oidc-provider|WARNING/);
});

test("the login page is told who there is", async () => {
  const info = JSON.parse((await new Browser().ask(`${url}/auth/info`)).text) as object;
  expect(info).toMatchObject({
    oidc: { name: expect.stringMatching(/^127\.0\.0\.1:\d+$/) as string },
    dev: [
      { name: "Ada Admin", hint: "administers this server" },
      { name: "Paul Plain", hint: "sees nothing until somebody invites him" },
    ],
  });
});

test("the page works without a script, loads nothing, and lets nothing else in", async () => {
  const page = await pickPage(new Browser());
  expect(page.status).toBe(200);
  expect(page.text).not.toMatch(/<script|javascript:|\bon\w+=|<link|<img|@import|url\(|https?:/i);
  expect([...page.text.matchAll(/<button name="who" value="(\w+)">/g)].map(([, who]) => who)).toEqual([
    "ada",
    "paul",
  ]);
  const policy = String(page.headers["content-security-policy"]);
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("frame-ancestors 'none'");
  expect(policy).toContain(`form-action 'self' ${url}`);
  expect(policy).not.toContain("unsafe-inline");
  expect(page.headers["x-content-type-options"]).toBe("nosniff");
  expect(page.headers["cache-control"]).toBe("no-store");
});

test("Ada administers, Paul sees nothing, each by one click", async () => {
  expect(await me(await signIn("ada"))).toMatchObject({ kind: "person", name: "Ada Admin", admin: true });
  const paul = await signIn("paul");
  expect(await me(paul)).toMatchObject({ kind: "person", name: "Paul Plain", admin: false, dbs: [] });
  const seen = await paul.ask(`${url}/api/v1/db`);
  expect({ status: seen.status, dbs: (JSON.parse(seen.text) as { dbs: unknown }).dbs }).toEqual({
    status: 200,
    dbs: [],
  });
  expect((await paul.ask(`${url}/api/v1/db/notes`)).status).toBe(403);
});

test("the same person comes back as the same, and another may follow in the same browser", async () => {
  const browser = await signIn("ada");
  const before = await me(browser);
  await signIn("paul", browser);
  expect(await me(browser)).toMatchObject({ name: "Paul Plain" });
  await signIn("ada", browser);
  expect(await me(browser)).toMatchObject({ id: before["id"] });
});

test("it works under the other name of the own machine, too", async () => {
  const other = url.replace("127.0.0.1", "localhost");
  const browser = new Browser();
  const page = await pick(browser, await pickPage(browser, other), "ada");
  expect(page).toMatchObject({ status: 200, text: '{"ok":true}', url: `${other}/healthz` });
});

test("signing out leads to the provider's page and back", async () => {
  const browser = await signIn("ada");
  const out = await browser.ask(`${url}/auth/logout`, {
    method: "POST",
    headers: { origin: url, "content-type": "application/json" },
    body: "{}",
  });
  const { redirect } = JSON.parse(out.text) as { redirect: string };
  expect((await browser.ask(`${url}/auth/me`)).status).toBe(401);
  const page = await browser.go(redirect);
  expect(page.status).toBe(200);
  expect(page.text).not.toMatch(/<script/);
  const xsrf = /name="xsrf" value="([^"]+)"/.exec(page.text)?.[1] ?? "";
  const action = /action="([^"]+)"/.exec(page.text)?.[1] ?? "";
  const left = await browser.ask(new URL(action, page.url).href, {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({ xsrf, logout: "yes" }).toString(),
  });
  expect(left.location).toMatch(new RegExp(`^${url}/_/`));
});

describe("a page of another site cannot sign in", () => {
  test("by a name that was made to point here", async () => {
    const { origin, pathname } = new URL((await pickPage(new Browser())).url);
    for (const host of ["evil.example", `evil.example:${new URL(origin).port}`, "127.0.0.1", ""]) {
      const page = await new Browser().ask(origin + pathname, { headers: { host } });
      expect([400, 421]).toContain(page.status);
      expect(page.text).not.toContain("Ada");
    }
  });

  test("by a form of its own, an answer that is not on the page, or somebody else's sign-in", async () => {
    const browser = new Browser();
    const page = await pickPage(browser);
    for (const attempt of [
      () => pick(browser, page, "ada", { origin: "https://evil.example" }),
      () => pick(browser, page, "ada", { origin: "null" }),
      () => pick(browser, page, "root"),
      () => pick(browser, page, "a".repeat(5000)),
      () => pick(new Browser(), page, "ada"),
    ]) {
      const answer = await attempt();
      expect(answer.status).toBe(400);
      expect(answer.text).toContain("Go to Skald");
    }
    expect(await pick(browser, page, "ada")).toMatchObject({ status: 200 });
  });

  test("by having people sent somewhere else", async () => {
    const start = await new Browser().ask(`${url}/auth/oidc/login`);
    const address = new URL(start.location ?? "");
    for (const to of [
      "https://evil.example/",
      `${url}/elsewhere`,
      `${url}.evil.example/auth/oidc/callback`,
    ]) {
      address.searchParams.set("redirect_uri", to);
      const page = await new Browser().ask(address.href, { headers: { accept: "text/html" } });
      expect(page.status).toBe(400);
      expect(page.location).toBeUndefined();
      expect(page.text).not.toContain("<script");
    }
  });
});

describe("it is refused", () => {
  test.each([
    [["--host", "0.0.0.0"], /--dev lets anybody in.*0\.0\.0\.0/],
    [["--host", "::"], /--dev lets anybody in/],
    [["--host", "192.168.1.10"], /--dev lets anybody in/],
    [["--host", "127.0.0.1.evil.example"], /--dev lets anybody in/],
    [["--oidc-issuer", "https://id.example.org", "--oidc-client-id", "x"], /identity provider/],
    [["--public-url", "https://skald.example.org"], /public address/],
    [["--port", "65535"], /port above/],
  ])("with %j", async (args, why) => {
    const dir = tempDir();
    const { code, err } = await runSkald(["serve", "--dev", "--dir", `${dir}/data`, ...args]);
    expect(code).toBe(1);
    expect(err).toMatch(why);
    expect(err).toContain("BAD_REQUEST");
  });

  test("when the port above is taken", async () => {
    // The provider's own port, less one: nobody listens there, and where it wants to listen somebody does.
    const { port } = new URL((await pickPage(new Browser())).url);
    const { code, err } = await runSkald([
      "serve",
      "--dev",
      "--dir",
      tempDir(),
      "--port",
      String(Number(port) - 1),
    ]);
    expect(code).toBe(1);
    expect(err).toMatch(
      /PORT_IN_USE: Something listens on 127\.0\.0\.1:\d+ already, where people would sign in/,
    );
  });
});

test("no environment turns it on", async () => {
  const { out } = await runSkald(["serve", "--help"], { env: { SKALD_DEV: "1" } });
  expect(out).toMatch(/--dev +let two people sign in without a password/);
  expect(out).not.toContain("SKALD_DEV");
});
