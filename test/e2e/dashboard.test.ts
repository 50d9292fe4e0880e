import { jest } from "@jest/globals";
import { chromium, type Browser } from "playwright-core";
import { requires } from "../support/requires.ts";
import { startServer, type SkaldServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";
import { audit, health, invite, mintAndRevoke, snapshots, travelBack } from "./dashboard/office.ts";
import { editTogether } from "./dashboard/editing.ts";
import { branchAndMerge, followFeed, runAndWatch, subscribe, syncByUrl } from "./dashboard/workbench.ts";
import { createDb, importMovies, providerOf, signIn, signInAs, signOut } from "./dashboard/frame.ts";
import { firstViewBytes, startWalk, type Findings, type Walk } from "./dashboard/walk.ts";

// A guard against hanging only: a browser and a server beside whatever else runs.
jest.setTimeout(180_000);

const FIRST_VIEW_BYTES = 100 * 1024;
const DB = "movies";
const DOC = "movies/m007";

/** One walk, as a person would go: each step stands on what those before it left. */
requires("chromium")("the dashboard, from logging in to logging out", () => {
  let browser: Browser;
  let server: SkaldServer;
  let walk: Walk;
  let findings: Findings;
  let context: Awaited<ReturnType<typeof startWalk>>["context"];

  beforeAll(async () => {
    server = await startServer(tempDir(), { args: ["--dev"] });
    const provider = await providerOf(server);
    browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
    ({ walk, findings, context } = await startWalk(browser, server, DB, provider));
  });
  afterAll(() => browser?.close());
  // Where a step stood when it ended, which for one that failed is the best account there is.
  let shots = 0;
  afterEach(async () => {
    const { SKALD_SHOTS: folder } = process.env;
    if (folder !== undefined)
      await walk.page.screenshot({ path: `${folder}/after-step-${(shots += 1)}.png` });
  });

  /** What stands on a step that failed is not tried: it would only wait for what cannot come. */
  let failed: string | undefined;
  const step = (name: string, work: () => Promise<unknown>): void =>
    test(name, async () => {
      if (failed !== undefined) throw new Error(`not tried, since this failed: ${failed}`);
      failed = name;
      await work();
      failed = undefined;
    });

  step("one signs in, makes a database and fills it", async () => {
    await signIn(walk, "Ada");
    await createDb(walk);
    await importMovies(walk);
  });

  step("the first view is small", async () => {
    const { bytes, files, ms } = await firstViewBytes(browser, context, walk.at(""));
    if (process.env["SKALD_SHOTS"] !== undefined)
      process.stderr.write(`first view: ${bytes} bytes, ${Math.round(ms)} ms: ${files.join(", ")}\n`);
    expect(bytes).toBeGreaterThan(0);
    expect(bytes).toBeLessThanOrEqual(FIRST_VIEW_BYTES);
  });

  step("one edits a document while a stock Automerge client does, and both see both", () =>
    editTogether(walk, "movies/m003"),
  );
  step("one travels back, and brings a document back", () => travelBack(walk, DOC));
  step("one branches, and merges with a conflict", () => branchAndMerge(walk, "movies/m005"));
  step("one runs a statement and watches it", () => runAndWatch(walk, "movies/m006"));
  step("one follows the feed", () => followFeed(walk, "movies/m006"));
  step("one makes a subscription and sees how far behind it is", () => subscribe(walk));
  step("one takes the URL for an Automerge app", () => syncByUrl(walk, "movies/m009"));
  step("one names a point, verifies it, takes it along and makes a db of it", () => snapshots(walk));
  step("one makes a token, and revoking it ends what it has open", async () => {
    const ms = await mintAndRevoke(walk, DOC);
    if (process.env["SKALD_SHOTS"] !== undefined)
      process.stderr.write(`a revoked token's stream ended after ${Math.round(ms)} ms\n`);
  });
  step("one invites somebody, who comes, and takes the role away again", () =>
    invite(walk, "Paul Plain", async (name, hash) => {
      const theirs = await (await browser.newContext()).newPage();
      await theirs.goto(walk.at(hash));
      await signInAs(theirs, name);
      return theirs;
    }),
  );
  step("one reads in the audit log what was done", () => audit(walk));
  step("one sees how the server is", () => health(walk));
  step("one signs out", () => signOut(walk));

  test("nothing went wrong on the way that nobody asked about", () => {
    expect(findings.console).toEqual([]);
    expect(findings.foreign).toEqual([]);
    expect(findings.axe).toEqual([]);
  });
});
