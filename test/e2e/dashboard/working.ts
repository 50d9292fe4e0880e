import { expect } from "@jest/globals";
import { branches, sql, subscriptions } from "../../../src/ui/strings/workbench.ts";
import { until } from "../../support/stock-client.ts";
import type { Walk } from "./walk.ts";

const dialog = ({ page }: Walk) => page.locator("dialog[open]").last();

/** A branch from the page, changed on both sides, and merged with the conflict that this makes. */
export async function branchAndMerge(walk: Walk, doc: string): Promise<void> {
  const { page, db, api } = walk;
  const write = (branch: string, patch: Record<string, unknown>): Promise<unknown> =>
    api("POST", `/api/v1/db/${db}/branches/${branch}/tx`, { writes: [{ doc, patch }] });
  await walk.go(`#/db/${db}/branches`);
  await walk.look("branches-alone");
  await page.getByRole("button", { name: branches.create }).first().click();
  await dialog(walk).getByLabel(branches.creating.name).fill("directors-cut");
  await dialog(walk).getByRole("button", { name: branches.creating.action, exact: true }).click();
  await page.getByText("directors-cut").first().waitFor();
  await write("directors-cut", { rating: 9.9, cut: "director's" });
  await write("main", { rating: 1.1 });

  await walk.go(`#/db/${db}/branches?from=main&to=directors-cut`);
  await page.getByText(doc).first().waitFor();
  await walk.look("branches");
  await page.getByRole("button", { name: branches.actions.merge }).first().click();
  await dialog(walk).getByText(branches.merge.conflicts(1)).first().waitFor();
  await walk.look("branches-merge");
  await dialog(walk).getByRole("button", { name: branches.merge.action, exact: true }).click();
  await dialog(walk).getByText("Merged:").waitFor();
  await page.keyboard.press("Escape");
  const [collection, key] = doc.split("/");
  const merged = await api<{ cut: string; rating: number }>(
    "GET",
    `/api/v1/db/${db}/docs/${collection}/${key}`,
  );
  expect(merged.cut).toBe("director's");
  expect([9.9, 1.1]).toContain(merged.rating);
  await walk.go(`#/db/${db}/docs/${doc}`);
  await page.getByText("1 conflict to decide").click();
  await walk.look("document-conflicts");
}

/** A statement that is run, drawn, and watched while somebody writes. */
export async function runAndWatch(walk: Walk): Promise<void> {
  const { page, db, api } = walk;
  await walk.go(`#/db/${db}/sql`);
  await walk.look("sql-first");
  const editor = page.locator(".cm-content").first();
  await editor.click();
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText("SELECT collection, count(*) AS films FROM documents GROUP BY collection");
  await page.keyboard.press("Control+Enter");
  await page.getByText("120", { exact: true }).first().waitFor();
  await walk.look("sql");
  await page.getByRole("button", { name: sql.watch, exact: true }).click();
  await page.getByText(sql.live, { exact: true }).waitFor();
  const writes = Array.from({ length: 3 }, (_, i) => ({
    doc: `movies/new-${i}`,
    value: { title: `New ${i}`, i },
  }));
  await api("POST", `/api/v1/db/${db}/branches/main/tx`, { message: "three more", writes });
  await page.getByText("123", { exact: true }).first().waitFor();
  await page.getByRole("tab", { name: sql.tabs.chart }).click();
  await page.locator("figure canvas").first().waitFor();
  await walk.look("sql-watch");
  await page.getByRole("button", { name: sql.unwatch, exact: true }).click();
}

/** The feed as a commit comes, and a durable subscription that is behind. */
export async function followFeed(walk: Walk): Promise<void> {
  const { page, db, api } = walk;
  await walk.go(`#/db/${db}/feed`);
  await page.getByText("three more").waitFor();
  await api("POST", `/api/v1/db/${db}/branches/main/tx`, {
    message: "while one looks at the feed",
    writes: [{ doc: "movies/new-0", patch: { seen: true } }],
  });
  await page.getByText("while one looks at the feed").waitFor();
  await walk.look("feed");
  await page.getByText("while one looks at the feed").click();
  await dialog(walk).waitFor();
  await walk.look("feed-commit");
  await page.keyboard.press("Escape");

  await walk.go(`#/db/${db}/subscriptions`);
  await walk.look("subscriptions-empty");
  await page.getByRole("button", { name: subscriptions.create }).first().click();
  await dialog(walk).getByLabel(subscriptions.creating.name).fill("mailer");
  await dialog(walk).getByRole("button", { name: subscriptions.creating.action, exact: true }).click();
  await page.getByText("mailer").first().waitFor();
  await until(async () => (await page.getByText(/\d+ commits/).count()) > 0, "its lag");
  await walk.look("subscriptions");
}
