import * as A from "@automerge/automerge";
import { expect } from "@jest/globals";
import type { Page } from "playwright-core";
import { doc as t, docs } from "../../../src/ui/strings/documents.ts";
import { shell } from "../../../src/ui/strings/shell.ts";
import type { SkaldServer } from "../../support/skald-process.ts";

/** What these steps need of a walk through the dashboard. */
export interface DocumentWalk {
  readonly page: Page;
  readonly server: SkaldServer;
  readonly db: string;
  readonly go: (hash: string) => Promise<void>;
  readonly look: (name: string) => Promise<void>;
}

/** A document made in the page, found by the start of its key, and opened with the keyboard. */
export async function makeAndFind({ page, db, go, look }: DocumentWalk): Promise<void> {
  await go(`#/db/${db}/docs?new=1`);
  await page.getByLabel(docs.collection, { exact: true }).fill("notes");
  await page.getByLabel(docs.key, { exact: true }).fill("zebra crossing/1");
  await page.locator("dialog .cm-content").click();
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText('{"text": "stripes",}');
  await page.getByText(/^Line 1, column 20: /).waitFor();
  await look("document-new");
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText('{"text": "stripes"}');
  await page.getByRole("button", { name: docs.make, exact: true }).click();
  await page.getByRole("heading", { name: "zebra crossing/1", level: 1 }).waitFor();

  await go(`#/db/${db}/docs/notes`);
  await page.getByRole("searchbox").fill("zebra");
  await page.getByText(docs.count("1"), { exact: true }).waitFor();
  await look("documents");
  await page.getByRole("grid").focus();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "zebra crossing/1", level: 1 }).waitFor();
  await page.locator(".cm-content", { hasText: "stripes" }).waitFor();
}

/** Two people wrote the same field at the same time: the page says who, and one value is chosen. */
export async function decideConflict({ page, server, db, go, look }: DocumentWalk): Promise<void> {
  const where = `${server.url}/api/v1/db/${db}/docs/notes/conflict`;
  const ask = async (
    method: string,
    type: string,
    body?: string | Uint8Array<ArrayBuffer>,
  ): Promise<Response> => {
    const headers = { authorization: `Bearer ${server.token}`, "content-type": type, accept: type };
    const response = await fetch(where, { method, headers, ...(body === undefined ? {} : { body }) });
    expect(response.ok).toBe(true);
    return response;
  };
  await ask("PUT", "application/json", '{"title": "before"}');
  const bytes = new Uint8Array(await (await ask("GET", "application/automerge")).arrayBuffer());
  for (const actor of ["1a", "2b"]) {
    const doc = A.load<{ title: string }>(bytes, { actor: actor.repeat(16) });
    const next = A.change(doc, { time: 0 }, (draft) => {
      draft.title = `by ${actor}`;
    });
    await ask("PATCH", "application/automerge", Buffer.from(A.getLastLocalChange(next) as Uint8Array));
  }
  await go(`#/db/${db}/docs/notes/conflict`);
  await page.getByText(t.someConflicts(1)).click();
  const values = page.getByRole("region", { name: "/title" }).locator("li");
  expect(await values.count()).toBe(2);
  await look("document-conflicts");
  // The one that is not shown.
  const chosen = JSON.parse((await values.nth(1).locator("pre").textContent()) ?? "") as string;
  await values.nth(1).getByRole("button", { name: t.choose }).click();
  await page.getByText(t.noConflicts.title).waitFor();
  expect(await (await ask("GET", "application/json")).json()).toEqual({ title: chosen });
}

/** A document is deleted after a question, which may be declined. */
export async function deleteDocument({ page, db, go }: DocumentWalk): Promise<void> {
  await go(`#/db/${db}/docs/notes/conflict`);
  await page.getByRole("button", { name: t.delete, exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: shell.cancel }).click();
  await page.getByRole("button", { name: t.delete, exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: t.delete, exact: true }).click();
  await page.getByText(t.never.title).waitFor();
}
