import { expect } from "@jest/globals";
import { readFile } from "node:fs/promises";
import { branches, feed, sql, subscriptions, sync } from "../../../src/ui/strings/workbench.ts";
import { found, stockClient, until } from "../../support/stock-client.ts";
import type { Walk } from "./walk.ts";

/** Steps of branches, SQL, the feed, subscriptions and sync. */

const button = ({ page }: Walk, name: string) => page.getByRole("button", { name, exact: true });
const apiOf =
  (walk: Walk) =>
  <T = unknown>(method: string, at: string, body?: unknown): Promise<T> =>
    walk.api<T>(method, at, body);
const dialog = ({ page }: Walk) => page.locator("dialog[open]").last();
const hash = (db: string, at: string, query: Readonly<Record<string, string>> = {}): string =>
  `#/db/${db}/${at}?${new URLSearchParams(query).toString()}`;

/** A branch from the form, written on both sides, compared, tried out, merged with its conflict and closed. */
export async function branchAndMerge(walk: Walk, doc: string): Promise<void> {
  const { page, db } = walk;
  const api = apiOf(walk);
  const write = (branch: string, value: object) =>
    api("POST", `/api/v1/db/${db}/branches/${branch}/tx`, { writes: [{ doc, patch: value }] });
  await walk.go(hash(db, "branches"));
  await page.getByText(branches.alone.title).waitFor();
  await walk.look("branches-empty");
  await button(walk, branches.create).first().click();
  await dialog(walk).getByLabel(branches.creating.name, { exact: true }).fill("draft");
  await dialog(walk).getByLabel(branches.creating.message).fill("what if");
  await walk.look("branches-new");
  await dialog(walk).getByRole("button", { name: branches.creating.action, exact: true }).click();
  await page.getByRole("row").filter({ hasText: "draft" }).waitFor();
  await write("draft", { rating: 9.5, tags: ["draft"] });
  await write("main", { rating: 1.5, seen: true });

  await page.reload();
  await page.getByRole("img", { name: branches.graphText(2) }).waitFor();
  const draft = page.getByRole("row").filter({ hasText: "draft" });
  await draft.getByRole("button", { name: branches.actions.diff, exact: true }).click();
  await page.getByRole("gridcell", { name: doc }).click();
  await dialog(walk).getByText("/rating").waitFor();
  await walk.look("branches-difference");
  await page.keyboard.press("Escape");
  await walk.look("branches");

  await draft.getByRole("button", { name: branches.actions.merge, exact: true }).click();
  await dialog(walk).getByText(branches.merge.conflicts(1)).waitFor();
  await dialog(walk).getByText("9.5").waitFor();
  await dialog(walk).getByText("1.5").waitFor();
  await walk.look("branches-merge");
  const { rating } = await api<{ rating: number }>("GET", `/api/v1/db/${db}/docs/${doc}`);
  expect(rating).toBe(1.5);
  await dialog(walk).getByLabel(branches.merge.close).check();
  await dialog(walk).getByRole("button", { name: branches.merge.action, exact: true }).click();
  await dialog(walk)
    .getByText(/^Merged: 1 document/)
    .waitFor();
  await page.keyboard.press("Escape");
  await draft.getByText(branches.closed).waitFor();
  await walk.look("branches-merged");
  expect(await api("GET", `/api/v1/db/${db}/docs/${doc}`)).toMatchObject({ tags: ["draft"], seen: true });
}

/** A table over the collection, a query run, watched while others write, drawn, saved, taken along as CSV. */
export async function runAndWatch(walk: Walk, doc: string): Promise<void> {
  const { page, db } = walk;
  const api = apiOf(walk);
  await walk.go(hash(db, "sql"));
  await walk.look("sql-empty");
  await walk.go(
    hash(db, "sql", {
      sql: "CREATE TABLE movies (id TEXT PRIMARY KEY, title TEXT, year INTEGER, rating REAL)",
    }),
  );
  await page.reload();
  await button(walk, sql.run).click();
  await page.getByText(sql.unchanged).waitFor();

  const best =
    "SELECT id, title, rating, year FROM movies WHERE rating >= :least ORDER BY rating DESC, id LIMIT 30";
  await walk.go(hash(db, "sql", { sql: best }));
  await page.reload();
  await page.getByLabel(":least").fill("9");
  await button(walk, sql.run).click();
  const rows = page.getByRole("grid", { name: sql.tabs.rows });
  await rows.getByRole("row").nth(3).waitFor();
  await walk.look("sql");
  await rows.getByRole("row").nth(1).click();
  await dialog(walk).getByText("real", { exact: true }).waitFor();
  await page.keyboard.press("Escape");

  await button(walk, sql.watch).click();
  await page.getByText(sql.live, { exact: true }).waitFor();
  await api("POST", `/api/v1/db/${db}/branches/main/tx`, {
    message: "seen while watching",
    writes: [{ doc, patch: { rating: 99.5 } }],
  });
  await rows.getByText("99.5").waitFor();
  await page.getByText(sql.updates(1)).waitFor();
  await walk.look("sql-watch");
  await page.getByRole("tab", { name: sql.tabs.chart }).click();
  await page
    .getByRole("img", { name: /^Chart of/ })
    .locator("canvas")
    .waitFor();
  await walk.look("sql-chart");
  await button(walk, sql.unwatch).click();

  await button(walk, sql.plan).click();
  await page.getByText(/^SCAN movies|^SEARCH movies/).waitFor();
  await walk.look("sql-plan");

  await button(walk, sql.save).click();
  await dialog(walk).getByLabel(sql.saving.name, { exact: true }).fill("best");
  await dialog(walk).getByRole("button", { name: sql.saving.action, exact: true }).click();
  await page.getByRole("button", { name: sql.side.manage("best") }).click();
  await dialog(walk).getByText("/query/best.json?least=9").waitFor();
  await walk.look("sql-saved");
  await page.keyboard.press("Escape");

  const downloaded = page.waitForEvent("download");
  await button(walk, sql.csv).click();
  const csv = await readFile(await (await downloaded).path(), "utf8");
  expect(csv.split("\r\n")[0]).toBe("id,title,rating,year");
  expect(csv).toContain("99.5");

  walk.expectError(/400 \(Bad Request\).*\/query\/exec/);
  await walk.go(hash(db, "sql", { sql: "SELECT titel\nFROM movies" }));
  await page.reload();
  await button(walk, sql.run).click();
  await page.getByText("no such column: titel").waitFor();
  await page.getByText(sql.errorAt(1, 8)).waitFor();
  await walk.look("sql-error");
}

/** Commits arrive, wait while it is paused, and say what each did; hostile texts are texts. */
export async function followFeed(walk: Walk, doc: string): Promise<void> {
  const { page, db } = walk;
  const api = apiOf(walk);
  const write = (value: object, message: string) =>
    api("POST", `/api/v1/db/${db}/branches/main/tx`, { message, writes: [{ doc, patch: value }] });
  await walk.go(hash(db, "feed", { collection: "nothing-here" }));
  await page.getByText(feed.empty.filtered).waitFor();
  await walk.look("feed-empty");
  await button(walk, feed.reset).click();
  const list = page.getByRole("grid", { name: feed.list });
  await list.getByText(doc).first().waitFor();
  await write({ rating: 3 }, "while it looks on");
  await list.getByText("while it looks on").waitFor();
  await button(walk, feed.pause).click();
  await write({ note: "<b>bold</b>" }, "while it is paused");
  await button(walk, feed.resumeWith(1)).click();
  await list.getByText("while it is paused").click();
  await dialog(walk).getByText("<b>bold</b>").waitFor();
  await walk.look("feed-commit");
  await page.keyboard.press("Escape");
  await walk.look("feed");
}

/** A subscription from the form, its lag while nobody consumes it, what is parked, and its end. */
export async function subscribe(walk: Walk): Promise<void> {
  const { page, db } = walk;
  const api = apiOf(walk);
  const t = subscriptions;
  await walk.go(hash(db, "subscriptions"));
  await page.getByText(t.empty.title).waitFor();
  await walk.look("subscriptions-empty");
  await button(walk, t.create).first().click();
  await dialog(walk).getByLabel(t.creating.name, { exact: true }).fill("mailer");
  await dialog(walk).getByLabel(t.creating.mode).selectOption("shared");
  await dialog(walk).getByLabel(t.creating.attempts).fill("1");
  await walk.look("subscriptions-new");
  await dialog(walk).getByRole("button", { name: t.creating.action, exact: true }).click();
  const row = page.getByRole("row").filter({ hasText: "mailer" });
  await row.getByText(/commits?$/).waitFor();
  const at = `/api/v1/db/${db}/subscriptions/mailer`;
  const { events } = await api<{ events: { seq: number }[] }>("GET", `${at}/events?limit=2&consumer=worker`);
  await api("POST", `${at}/nack`, { ids: events.map(({ seq }) => seq), consumer: "worker" });
  await row.locator(".badge").filter({ hasText: /^2$/ }).waitFor();
  await walk.look("subscriptions");
  await row.click();
  await dialog(walk).getByRole("button", { name: t.detail.drop, exact: true }).first().click();
  await until(
    async () => (await api<{ parked: number }>("GET", at)).parked === 1,
    "one of the two parked events to be dropped",
  );
  await walk.look("subscriptions-one");
  await dialog(walk).getByRole("button", { name: t.detail.remove, exact: true }).click();
  await dialog(walk).getByRole("button", { name: t.detail.remove, exact: true }).click();
  await page.getByText(t.empty.title).waitFor();
}

/** A stock Automerge client comes in by the URL that the page makes, and is seen there. */
export async function syncByUrl(walk: Walk, doc: string): Promise<void> {
  const { page, db } = walk;
  const api = apiOf(walk);
  await walk.go(hash(db, "sync"));
  await page.getByText(sync.noPeers.title).waitFor();
  await walk.look("sync-empty");
  await button(walk, sync.makeTicket).click();
  const url = await page.locator(".copy code").first().textContent();
  expect(url).toMatch(/^ws:\/\/127\.0\.0\.1:\d+\/api\/v1\/db\/\w+\/sync\?ticket=/);
  const client = stockClient("2.5", url as string, { peerId: "a-tablet" });
  try {
    const slash = doc.indexOf("/");
    const { docs } = await api<{ docs: { doc: string; automerge_url: string }[] }>(
      "GET",
      `/api/v1/db/${db}/docs?collection=${doc.slice(0, slash)}&prefix=${doc.slice(slash + 1)}`,
    );
    const handle = await found<{ rating?: number }>(client, docs[0]?.automerge_url as string);
    await page.getByRole("grid", { name: sync.peers }).getByText("a-tablet").waitFor();
    await page.getByRole("grid", { name: sync.documents }).getByText(doc).waitFor();
    handle.change((draft) => (draft.rating = 4.25));
    await until(
      async () => (await api<{ rating: number }>("GET", `/api/v1/db/${db}/docs/${doc}`)).rating === 4.25,
      "the server to have what the client wrote",
    );
    await walk.look("sync");
  } finally {
    client.close();
  }
  await page.getByText(sync.noPeers.title).waitFor();
}
