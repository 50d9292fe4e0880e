import path from "node:path";
import Database from "better-sqlite3";
import { Browser, type Page } from "../support/browser.ts";
import { HostileProvider, type Behaviour, type Face, type Json } from "../support/hostile-provider.ts";
import { patchedBuild, type Patch } from "../support/patched-build.ts";
import { startServer, type SkaldServer } from "../support/skald-process.ts";

/** One way of coming in, and how the provider behaves meanwhile. */
export interface Scenario {
  readonly name: string;
  readonly behaviour?: Behaviour;
  /** What the provider says of itself; what the server knows of it is forgotten first. */
  readonly face?: Face;
  readonly person?: Json;
  /** In the place of a login from its start to its end; gives the last page. */
  readonly act?: (browser: Browser) => Promise<Page>;
}

export const CALLBACK = "/auth/oidc/callback";

/** Lets the server forget what it knows of the provider, and wait for it a second at most. */
const IMPATIENT: readonly Patch[] = [
  {
    find: "this.#world.monotonic() < this.#until",
    replace: 'this.#world.monotonic() < this.#until && !skaldBroken("forgets")',
  },
  { find: "this.#world.monotonic() - this.#asked >= REST_MS", replace: "true" },
  {
    find: "{ answerMs, answerBytes } = LIMITS.signin",
    replace:
      "{ answerMs: @answerMs, answerBytes: @answerBytes } = { ...@LIMITS.signin, answerMs: { value: 1000 } }",
  },
];

export interface Ground {
  readonly provider: HostileProvider;
  readonly server: SkaldServer;
  readonly url: string;
  breaks(...names: readonly string[]): void;
  /** A login from its start on; gives the page that it ends at. */
  login(browser: Browser, next?: string): Promise<Page>;
  /** The address that the provider sends the browser to, not asked for yet. */
  callback(browser: Browser, next?: string): Promise<string>;
  play(scenario: Scenario): Promise<{ page: Page; browser: Browser }>;
  /** What `GET /auth/me` says; undefined for nobody. */
  who(browser: Browser): Promise<Json | undefined>;
  /** People and sessions in the service file. */
  kept(): Json;
}

/** A server whose provider is `provider`; call it while the file is loaded. */
export async function signInGround(dir: string, patches: readonly Patch[] = []): Promise<Ground> {
  const provider = await new HostileProvider().start();
  afterAll(() => provider.stop());
  const build = patchedBuild(dir, [...IMPATIENT, ...patches]);
  const data = path.join(dir, "data");
  const server = await startServer(data, {
    env: {
      ...build.env,
      SKALD_OIDC_ISSUER: provider.issuer,
      SKALD_OIDC_CLIENT_ID: provider.clientId,
      SKALD_OIDC_CLIENT_SECRET: provider.clientSecret,
      SKALD_OIDC_ADMIN_CLAIM: "role=admin",
      SKALD_LOG_LEVEL: "debug",
    },
  });
  build.check();
  const { url } = server;
  const begin = (next: string): string => `${url}/auth/oidc/login?next=${next}`;
  const ground: Ground = {
    provider,
    server,
    url,
    breaks: (...names) => build.breaks(...names),
    login: (browser, next = "%2Fhealthz") => browser.go(begin(next)),
    callback: async (browser, next = "%2Fhealthz") => {
      const page = await browser.go(begin(next), { follow: ({ pathname }) => pathname !== CALLBACK });
      if (page.location === undefined) throw new Error(`no way back: ${page.status} ${page.text}`);
      return new URL(page.location, page.url).href;
    },
    play: async ({ behaviour = {}, face = {}, person, act }) => {
      const browser = new Browser();
      const before = provider.person;
      Object.assign(provider, { behaviour, face, person: person ?? before });
      try {
        return { page: await (act ? act(browser) : ground.login(browser)), browser };
      } finally {
        Object.assign(provider, { behaviour: {}, face: {}, person: before });
      }
    },
    who: async (browser) => {
      const page = await browser.ask(`${url}/auth/me`);
      if (page.status === 401) return undefined;
      if (page.status !== 200) throw new Error(`/auth/me: ${page.status} ${page.text}`);
      return JSON.parse(page.text) as Json;
    },
    kept: () => {
      const sqlite = new Database(path.join(data, "service.sqlite"), { readonly: true });
      try {
        const all = (sql: string): unknown => sqlite.prepare(sql).pluck().all();
        return {
          people: all("SELECT id FROM person ORDER BY id"),
          sessions: all("SELECT id FROM session ORDER BY id"),
        };
      } finally {
        sqlite.close();
      }
    },
  };
  return ground;
}

/** What an answer to somebody who was not let in has to be like. */
export function expectClean(page: Page, secrets: readonly string[]): void {
  const told = `${page.status} ${page.url.slice(0, 200)} ${page.text.slice(0, 500)}`;
  if (page.status < 400 || page.status === 500 || page.status > 503)
    throw new Error(`not a refusal: ${told}`);
  expect(page.headers["content-type"]).toMatch(/^(?:application\/problem\+json|text\/html)/);
  expect(page.headers["content-security-policy"]).toMatch(/default-src 'none'|default-src 'self'/);
  expect(page.headers["x-content-type-options"]).toBe("nosniff");
  expect(page.headers["cache-control"]).toMatch(/no-store/);
  expect(page.text).not.toMatch(/\bat .*\(|\.[jt]s:\d|node_modules|\/tmp\/|\/dist\/|\.sqlite\b|SQLITE_/i);
  expect(page.text.length).toBeLessThan(20_000);
  // One by one through `expect` they cost more than the whole login.
  expect(secrets.filter((secret) => page.text.includes(secret))).toEqual([]);
}
