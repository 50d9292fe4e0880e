import { readFileSync } from "node:fs";
import { Browser } from "../support/browser.ts";
import { HostileProvider, person, type Behaviour } from "../support/hostile-provider.ts";
import { tempDir } from "../support/temp-dir.ts";
import { expectClean, signInGround, type Scenario } from "./sign-in-fixture.ts";
import { BROKEN_SIGN_INS, laxAnswer } from "./sign-in-broken.ts";
import {
  STRANGE_PEOPLE,
  browserScenarios,
  claimScenarios,
  discoveryScenarios,
  signatureScenarios,
  slowScenarios,
  tokenScenarios,
  userinfoScenarios,
} from "./sign-in-scenarios.ts";

/**
 * A real server whose identity provider is against it, whose network is, or whose users' browsers are led by others.
 * Between two attempts somebody signs in the way it is meant to be: a net that catches everybody proves nothing.
 */
const ground = await signInGround(
  tempDir(),
  BROKEN_SIGN_INS.flatMap(({ patches }) => patches),
);
const { provider, server, url } = ground;
const other = await new HostileProvider().start();
afterAll(() => other.stop());

const SCENARIOS: readonly Scenario[] = [
  ...discoveryScenarios(ground),
  ...tokenScenarios(ground),
  ...signatureScenarios(ground),
  ...claimScenarios(ground),
  ...userinfoScenarios(),
  ...browserScenarios(ground, other),
];
/** All of them where somebody has the time (SKALD_TEST_HOSTILE=all): else a quarter of them. */
const ALL = process.env["SKALD_TEST_HOSTILE"] === "all";
const TRIED = SCENARIOS.filter((_, i) => ALL || i % 4 === 0);
const named = (name: string): Scenario => {
  const found = SCENARIOS.find((one) => one.name === name);
  if (!found) throw new Error(`no scenario ${name}`);
  return found;
};

/** Somebody signs in as it should be, and goes. */
async function goodLogin(): Promise<void> {
  const browser = new Browser();
  const page = await browser.go(await ground.callback(browser), { follow: () => false });
  expect({ status: page.status, location: page.location, text: page.text }).toMatchObject({
    status: 303,
    location: "/healthz",
  });
  expect(await ground.who(browser)).toMatchObject({ kind: "person", name: "The alice", admin: false });
}

beforeAll(goodLogin);

test("there are scenarios of every kind, and many more than 25", () => {
  expect(SCENARIOS.length).toBeGreaterThan(100);
  expect(TRIED.length).toBeGreaterThan(25);
  expect(new Set(SCENARIOS.map(({ name }) => name)).size).toBe(SCENARIOS.length);
});

describe("lets nobody in, and keeps nothing, by", () => {
  test.each(TRIED)("$name", async (scenario) => {
    const before = ground.kept();
    if (scenario.face) ground.breaks("forgets");
    const asked = provider.asked.length;
    const { page, browser } = await ground.play(scenario);
    ground.breaks();
    expect(await ground.who(browser)).toBeUndefined();
    expectClean(page, provider.secrets);
    expect(ground.kept()).toEqual(before);
    // It has to have come as far as the provider, or it tried nothing.
    if (!scenario.act) expect(provider.asked.length).toBeGreaterThan(asked);
    if (scenario.face) {
      ground.breaks("forgets");
      await goodLogin();
      ground.breaks();
    } else await goodLogin();
  });

  test("a provider that is slow, four times at once", async () => {
    const before = ground.kept();
    const all = await Promise.all(
      slowScenarios().map(async ({ behaviour = {} }) => {
        const browser = new Browser();
        provider.behaviour = behaviour;
        const address = await ground.callback(browser);
        return { page: await browser.go(address), browser };
      }),
    ).finally(() => {
      provider.behaviour = {};
    });
    for (const { page, browser } of all) {
      expectClean(page, provider.secrets);
      expect(await ground.who(browser)).toBeUndefined();
    }
    expect(ground.kept()).toEqual(before);
    await goodLogin();
  });
});

describe("a login ends once:", () => {
  test("the same answer again opens nothing, in whatever browser, also when the provider takes a code twice", async () => {
    const browser = new Browser();
    const { address, early } = await laxAnswer(ground, browser);
    expect((await browser.go(address)).status).toBe(200);
    const before = ground.kept();
    const anew = browser.copy();
    for (const one of [early, anew, new Browser()]) {
      const page = await one.go(address);
      expectClean(page, provider.secrets);
    }
    expect(await ground.who(early)).toBeUndefined();
    // Whom it failed for stays who he was.
    expect(await ground.who(browser)).toMatchObject({ kind: "person" });
    expect(ground.kept()).toEqual(before);
  });

  test("a new code for the state of a login that has ended opens nothing", async () => {
    const browser = new Browser();
    const address = new URL(await ground.callback(browser));
    const early = browser.copy();
    await browser.go(address.href);
    const before = ground.kept();
    address.searchParams.set("code", provider.code());
    expectClean(await early.go(address.href), provider.secrets);
    expect(await ground.who(early)).toBeUndefined();
    expect(ground.kept()).toEqual(before);
  });
});

describe("whoever signs in with strange claims is nobody more for it:", () => {
  test.each(Object.entries(STRANGE_PEOPLE))("%s", async (_, claims) => {
    const behaviours: readonly Behaviour[] = [
      { claims: (sound) => ({ ...sound, ...claims }) },
      {
        userinfo: (sound) => ({ ...sound, ...claims }),
        claims: ({ name: _name, email: _email, ...rest }) => rest,
      },
    ];
    for (const behaviour of behaviours) {
      const { page, browser } = await ground.play({ name: "", behaviour, person: person("strange") });
      const who = await ground.who(browser);
      if (!who) {
        expectClean(page, provider.secrets);
        continue;
      }
      expect(who).toMatchObject({ kind: "person", admin: false, dbs: [] });
      expect(who["can"]).toMatchObject({ create_db: false, people: false, audit: false });
      const { name, subject } = who as { name: string; subject: string };
      expect(typeof name).toBe("string");
      expect(name.length).toBeLessThanOrEqual(256);
      expect(name.isWellFormed()).toBe(true);
      expect(name + subject).not.toMatch(/[\p{Cc}\p{Cs}\u202a-\u202e\u2066-\u2069]/u);
      expect(["operator", "admin", "__proto__"]).not.toContain(subject);
    }
    await goodLogin();
  });

  test("what everything inherits is not touched by an own __proto__", async () => {
    const admin = '{"__proto__":{"role":"admin","admin":true},';
    for (const behaviour of [
      { claimsText: (sound: string) => sound.replace("{", admin) },
      { userinfo: (sound: object) => JSON.stringify(sound).replace("{", admin) },
    ]) {
      const { browser } = await ground.play({ name: "", behaviour, person: person("proto") });
      expect((await ground.who(browser))?.["admin"] ?? false).toBe(false);
    }
    await goodLogin();
  });

  test("the claim that makes an admin makes one", async () => {
    const { browser } = await ground.play({ name: "", person: person("boss", { role: ["user", "admin"] }) });
    expect(await ground.who(browser)).toMatchObject({ admin: true });
  });
});

describe("nobody is led elsewhere, or given a header, by `next`", () => {
  const EVIL = [
    "//evil.example/",
    "///evil.example/",
    "/\\evil.example/",
    "\\\\evil.example/",
    "\\/evil.example/",
    "/\t/evil.example/",
    "/\n/evil.example",
    "\t//evil.example",
    "https://evil.example/",
    "https:evil.example",
    "http:///evil.example",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    " javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "@evil.example",
    ".evil.example",
    ":80@evil.example/",
    "%2F%2Fevil.example",
    "/%2F/evil.example",
    "/%5Cevil.example",
    "/..//evil.example",
    "/.//evil.example",
    "/_/..//evil.example",
    "/_/?a=//evil.example",
    "/_/\r\nset-cookie: evil=1",
    "/_/%0d%0aset-cookie:%20evil=1",
    "/_/\u0000",
    "/\u2028/evil.example",
    "/\uff0fevil.example",
    "",
    "_/",
    "#/",
    "?x",
    `/${"a".repeat(5000)}`,
  ];

  test.each(EVIL)("%j", async (next) => {
    const browser = new Browser();
    const start = await browser.ask(`${url}/auth/oidc/login?next=${encodeURIComponent(next)}`);
    if (start.status >= 400) {
      expectClean(start, []);
      return;
    }
    let page = start;
    for (let steps = 0; page.location !== undefined && steps < 6; steps += 1) {
      const to = new URL(page.location, page.url);
      expect([url, provider.issuer]).toContain(to.origin);
      expect(Object.keys(page.headers)).not.toContain("evil");
      expect(page.headers["set-cookie"]?.join() ?? "").not.toMatch(/evil/);
      page = await browser.ask(to.href);
    }
  });

  test("the same unencoded, as a browser would never send it, and twice", async () => {
    for (const query of [
      "next=//evil.example",
      "next=/_/&next=//evil.example",
      "next[]=//evil.example",
      "next",
    ]) {
      const page = await new Browser().ask(`${url}/auth/oidc/login?${query}`);
      if (page.status >= 400) expectClean(page, []);
      else expect(new URL(page.location ?? "", url).origin).toBe(provider.issuer);
    }
    await goodLogin();
  });
});

test("a browser that asks for pages is told on the login page, in words that the server chose", async () => {
  for (const name of [
    "an ID token with another nonce",
    "another state",
    "a refusal with a page for a reason",
  ]) {
    const { browser } = await ground.play({
      ...named(name),
      act: async (one) => {
        const ask = one.ask.bind(one);
        one.ask = (to, visit) => ask(to, { ...visit, headers: { accept: "text/html", ...visit?.headers } });
        const { act } = named(name);
        return act ? act(one) : ground.login(one);
      },
    });
    expect(await ground.who(browser)).toBeUndefined();
    const last = browser.seen.filter((one) => one.startsWith(`${url}/_/`)).at(-1) ?? "";
    expect(last).toMatch(/#\/login\?error=LOGIN_[A-Z]+&request=[\w.-]+$/);
  }
});

describe("a check that is taken out lets somebody in:", () => {
  test.each(BROKEN_SIGN_INS)("$name", async ({ name, lets, act, twice }) => {
    const broken = [name, ...(twice ? ["twice"] : [])];
    for (const scenario of (ALL ? lets : lets.slice(0, 1)).map(named)) {
      ground.breaks(...broken, ...(scenario.face ? ["forgets"] : []));
      const { browser, page } = await ground.play(scenario);
      const who = await ground.who(browser);
      expect({ by: scenario.name, in: who !== undefined, page: page.text.slice(0, 300) }).toMatchObject({
        in: true,
      });
    }
    ground.breaks(...broken);
    await act?.(ground);
    // The keys of the last scenario may be the known ones still.
    ground.breaks("forgets");
    await goodLogin();
    ground.breaks();
  });
});

test("after all of it the server runs, and has told of no failure of its own", async () => {
  expect(server.process.exitCode).toBeNull();
  await goodLogin();
  const failures = server
    .log()
    .split("\n")
    .filter((line) => /"code":"INTERNAL"|unhandled|uncaught/i.test(line));
  expect(failures).toEqual([]);
  expect(provider.refusals.filter((why) => why.startsWith("the provider itself"))).toEqual([]);
});

/** What it cost, for whoever asks. */
afterEach(() => {
  if (process.env["SKALD_TEST_TALLY"] === undefined) return;
  const { user, system } = process.cpuUsage();
  const stat = readFileSync(`/proc/${server.process.pid}/stat`, "utf8").split(" ");
  const seconds = [(user + system) / 1e6, (Number(stat[13]) + Number(stat[14])) / 100];
  process.stderr.write(
    `CPU ${seconds.map((one) => one.toFixed(2)).join(" s here, ")} s of the server: ${expect.getState().currentTestName}\n`,
  );
});

test("nothing secret of a login is in the log, the metrics or the files", async () => {
  expect(provider.secrets.length).toBeGreaterThan(100);
  const log = server.log();
  expect(log).toContain('"msg":"request"');
  expect(provider.secrets.filter((secret) => log.includes(secret))).toEqual([]);
});
