import { jest } from "@jest/globals";
import { chromium, type Browser } from "playwright-core";
import { requires } from "../support/requires.ts";
import { startServer, type SkaldServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";
import { firstViewBytes, startWalk, type Findings, type Walk } from "./dashboard/walk.ts";

// A guard against hanging only: a browser and a server beside whatever else runs.
jest.setTimeout(180_000);

const FIRST_VIEW_BYTES = 100 * 1024;

/** One walk, as a person would go: each step stands on what those before it left. */
requires("chromium")("the dashboard, from logging in to logging out", () => {
  let browser: Browser;
  let server: SkaldServer;
  let walk: Walk;
  let findings: Findings;
  let context: Awaited<ReturnType<typeof startWalk>>["context"];

  beforeAll(async () => {
    server = await startServer(tempDir(), { args: ["--dev"] });
    browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
    ({ walk, findings, context } = await startWalk(browser, server, "movies", () => undefined));
  });
  afterAll(() => browser?.close());

  test("its first view is small", async () => {
    const { bytes, files, ms } = await firstViewBytes(browser, context, walk.at(""));
    process.stderr.write(`first view: ${bytes} bytes, ${Math.round(ms)} ms: ${files.join(", ")}\n`);
    expect(bytes).toBeLessThanOrEqual(FIRST_VIEW_BYTES);
  });

  test("nothing went wrong on the way that nobody asked about", () => {
    expect(findings.console).toEqual([]);
    expect(findings.foreign).toEqual([]);
    expect(findings.axe).toEqual([]);
  });
});
