import { expect } from "@jest/globals";
import { doc as t } from "../../../src/ui/strings/documents.ts";
import { sync } from "../../../src/ui/strings/workbench.ts";
import { found, stockClient, until } from "../../support/stock-client.ts";
import type { Walk } from "./walk.ts";

/** A document in the page and in a stock automerge-repo client: what either writes, both have. */
export async function editTogether(walk: Walk, name: string): Promise<void> {
  const { page, db, api } = walk;
  await walk.go(`#/db/${db}/sync`);
  await page.getByRole("button", { name: sync.makeTicket }).click();
  const shown = page.locator("code").filter({ hasText: /^ws:\/\/\S+ticket=\S+$/ });
  await shown.first().waitFor();
  const url = (await shown.first().textContent()) ?? "";
  const [collection, key] = name.split("/") as [string, string];
  const where = `/api/v1/db/${db}/docs/${collection}/${key}`;
  const { docs } = await api<{ docs: { doc: string; automerge_url: string }[] }>(
    "GET",
    `/api/v1/db/${db}/docs?collection=${collection}&prefix=${key}`,
  );
  const stock = stockClient("2.5", url);
  const handle = await found<Record<string, unknown>>(stock, docs[0]?.automerge_url ?? "");
  await until(async () => (await page.getByText(name).count()) > 0, "the document among those in memory");
  await walk.look("sync");

  await walk.go(`#/db/${db}/docs/${collection}/${key}`);
  const editor = page.locator(".cm-content");
  await editor.waitFor();
  await page.getByText(t.live, { exact: true }).waitFor();
  await walk.look("document");
  handle.change((draft) => {
    draft["seen"] = "by the stock client";
  });
  await until(
    async () => (await editor.textContent())?.includes("by the stock client"),
    "their edit in the page",
  );

  // Not saved yet when theirs comes, in another place: both are kept.
  const value = await api<Record<string, unknown>>("GET", where);
  await editor.click();
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText(JSON.stringify({ ...value, tagline: "typed into the page" }, null, 2));
  await page.getByText(t.unsaved).waitFor();
  handle.change((draft) => {
    draft["seen"] = "by the stock client, twice";
  });
  await until(
    async () => (await editor.textContent())?.includes("twice"),
    "their edit beside the unsaved one",
  );
  await walk.look("document-editing");
  await page.getByRole("button", { name: t.save, exact: true }).click();
  const both = { ...value, tagline: "typed into the page", seen: "by the stock client, twice" };
  await until(
    () => handle.doc()?.["tagline"] === "typed into the page",
    "the page's edit in the stock client",
  );
  expect({ ...handle.doc() }).toMatchObject(both);
  expect(await api("GET", where)).toEqual(both);
  stock.close();
}
