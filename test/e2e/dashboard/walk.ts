import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import type { Browser, BrowserContext, CDPSession, Page } from "playwright-core";
import type { SkaldServer } from "../../support/skald-process.ts";

/** What is used of a page's own, in functions that run there. */
declare const document: {
  querySelector(selector: string): unknown;
  getAnimations(): readonly { readonly finished: Promise<unknown> }[];
  readonly documentElement: { readonly scrollWidth: number; readonly clientWidth: number };
};
declare function requestAnimationFrame(then: () => void): void;

/**
 * What the steps of the walk share: the page as a person has it, the server behind it, and the net that is drawn
 * through the whole run: no error in the console, nothing asked of another origin, nothing serious for axe-core on
 * any page that a step shows. Steps of a piece are functions of a `Walk` and stand in the files beside this one.
 */
export interface Walk {
  readonly page: Page;
  readonly server: SkaldServer;
  /** The db of the story, there from the step that makes it. */
  readonly db: string;
  /** The dashboard's address, with a hash route: `at("#/tokens")`. */
  readonly at: (hash: string) => string;
  /** Goes to a route by the address and waits until its page has drawn. */
  readonly go: (hash: string) => Promise<void>;
  /** A request with the admin's token, past the page: what a program of somebody else would do. */
  readonly api: <T = unknown>(method: string, path: string, body?: unknown) => Promise<T>;
  /**
   * Looks at the page as it is: axe-core in both themes, and pictures of it in both themes and at phone width when
   * SKALD_SHOTS names a folder. Call it once for each page and state that is worth seeing.
   */
  readonly look: (name: string) => Promise<void>;
  /** The errors that a step brings about on purpose, such as a refused request: said in advance, they are not held against the page. */
  readonly expectError: (pattern: RegExp) => void;
}

export interface Findings {
  readonly console: string[];
  readonly foreign: string[];
  readonly axe: string[];
  readonly looked: string[];
}

interface AxeResult {
  readonly violations: readonly {
    readonly id: string;
    readonly impact: string | null;
    readonly help: string;
    readonly nodes: readonly { readonly html: string; readonly target: readonly unknown[] }[];
  }[];
}

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const WIDE = { width: 1280, height: 860 };
const PHONE = { width: 390, height: 844 };
const SHOTS = process.env["SKALD_SHOTS"];

/** Opens a page on the dashboard of `server`, with its net drawn. `provider` is the origin that one logs in at. */
export async function startWalk(
  browser: Browser,
  server: SkaldServer,
  db: string,
  provider: string,
): Promise<{ walk: Walk; context: BrowserContext; findings: Findings }> {
  const context = await browser.newContext({ viewport: WIDE, colorScheme: "light", reducedMotion: "reduce" });
  const page = await context.newPage();
  const findings: Findings = { console: [], foreign: [], axe: [], looked: [] };
  const expected: RegExp[] = [];
  const complain = (text: string): void => {
    if (!expected.some((pattern) => pattern.test(text))) findings.console.push(text);
  };
  page.on("pageerror", (error) => complain(`${error.name}: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() !== "error") return;
    complain(`${message.text()} (${message.location().url})`);
  });
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol === "data:" || protocol === "blob:" || origin === server.url) return;
    // One goes there to say who one is, and comes back: that is no request of the dashboard's.
    if (request.isNavigationRequest() && origin === provider) return;
    if (page.url().startsWith(`${provider}/`)) return;
    findings.foreign.push(request.url());
  });
  const cdp = await context.newCDPSession(page);
  const at = (hash: string): string => `${server.url}/_/${hash}`;
  const walk: Walk = {
    page,
    server,
    db,
    at,
    go: async (hash) => {
      await page.goto(at(hash));
      await settled(page);
    },
    api: async <T>(method: string, where: string, body?: unknown) => {
      const response = await fetch(`${server.url}${where}`, {
        method,
        headers: {
          authorization: `Bearer ${server.token}`,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      if (!response.ok) throw new Error(`${method} ${where}: ${response.status} ${text}`);
      return (text === "" ? undefined : JSON.parse(text)) as T;
    },
    look: async (name) => {
      await settled(page);
      findings.looked.push(name);
      for (const scheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme: scheme });
        await still(page);
        findings.axe.push(...(await axe(cdp)).map((finding) => `${name}, ${scheme}: ${finding}`));
        await shoot(page, `${name}-${scheme}`);
      }
      await page.emulateMedia({ colorScheme: "light" });
      if (SHOTS !== undefined) {
        await page.setViewportSize(PHONE);
        await settled(page);
        await shoot(page, `${name}-phone`);
        const wide = await page.evaluate(
          () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        );
        if (wide !== 0) findings.axe.push(`${name}, phone: the page is ${wide} px too wide`);
        await page.setViewportSize(WIDE);
      }
    },
    expectError: (pattern) => void expected.push(pattern),
  };
  return { walk, context, findings };
}

/** Waits until the page says that nothing more is on its way: no part is `aria-busy`. */
export async function settled(page: Page): Promise<void> {
  await page.locator("main h1").first().waitFor();
  // A function: a string would be made one in the page, which its CSP forbids.
  await page.waitForFunction(() => !document.querySelector("[aria-busy=true], main .wait"));
}

/** Waits until nothing fades or flashes any more: halfway through, colours are of neither state. */
async function still(page: Page): Promise<void> {
  await page.evaluate(async () => {
    await new Promise<void>((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())));
    await Promise.allSettled(document.getAnimations().map(({ finished }) => finished));
  });
}

async function shoot(page: Page, name: string): Promise<void> {
  if (SHOTS === undefined) return;
  mkdirSync(SHOTS, { recursive: true });
  await still(page);
  await page.screenshot({ path: path.join(SHOTS, `${name}.png`) });
}

/** What axe-core finds that is serious or critical, a line each. By the debugger's way in, which no CSP forbids. */
async function axe(cdp: CDPSession): Promise<string[]> {
  const run = async (expression: string): Promise<unknown> => {
    const { result, exceptionDetails } = await cdp.send("Runtime.evaluate", {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  };
  if ((await run("typeof axe")) === "undefined") await run(`${AXE};0`);
  const options = { resultTypes: ["violations"], elementRef: false };
  const { violations } = (await run(`axe.run(document, ${JSON.stringify(options)})`)) as AxeResult;
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, help, nodes }) => {
      const places = nodes.slice(0, 3).map(({ html }) => html.slice(0, 160));
      return `${id} (${help}): ${nodes.length} of ${places.join(" | ")}`;
    });
}

/** Bytes that come over the wire, heads and bodies, until `url` has drawn in a browser that knows nothing yet. */
export async function firstViewBytes(
  browser: Browser,
  from: BrowserContext,
  url: string,
): Promise<{ bytes: number; files: readonly string[]; ms: number }> {
  const context = await browser.newContext({ storageState: await from.storageState() });
  try {
    const page = await context.newPage();
    const cdp = await context.newCDPSession(page);
    await cdp.send("Network.enable");
    const urls = new Map<string, string>();
    const sizes = new Map<string, number>();
    cdp.on("Network.requestWillBeSent", ({ requestId, request }) => urls.set(requestId, request.url));
    cdp.on("Network.loadingFinished", ({ requestId, encodedDataLength }) =>
      sizes.set(requestId, encodedDataLength),
    );
    const begun = performance.now();
    await page.goto(url);
    await settled(page);
    const ms = performance.now() - begun;
    await page.waitForLoadState("networkidle");
    const files = [...sizes].map(([id, size]) => `${size} ${new URL(urls.get(id) ?? "?:").pathname}`);
    return { bytes: [...sizes.values()].reduce((sum, size) => sum + size, 0), files, ms };
  } finally {
    await context.close();
  }
}
