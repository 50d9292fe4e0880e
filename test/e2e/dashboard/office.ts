import { expect } from "@jest/globals";
import { readFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { office } from "../../../src/ui/strings/office.ts";
import { until } from "../../support/stock-client.ts";
import type { Walk } from "./walk.ts";

/** Steps of time, tokens, people, the audit, snapshots and health. */

const button = ({ page }: Walk, name: string) => page.getByRole("button", { name, exact: true });
const dialog = ({ page }: Walk) => page.locator("dialog[open]").last();

/** To a commit of the past by the line's keys, to what a document was there, and back to it by a new commit. */
export async function travelBack(walk: Walk, doc: string): Promise<void> {
  const { page, db, api } = walk;
  const [collection, key] = doc.split("/") as [string, string];
  const where = `/api/v1/db/${db}/docs/${collection}/${key}`;
  const { seq: head } = await api<{ seq: number }>("GET", `/api/v1/db/${db}`);
  const before = await api<Record<string, unknown>>("GET", where);
  await api("POST", `/api/v1/db/${db}/branches/main/tx`, {
    writes: [{ doc, patch: { title: "A title by mistake", awards: ["none"] } }],
  });

  await walk.go(`#/db/${db}/time`);
  const place = page.locator(".place").first();
  await until(async () => (await place.textContent())?.startsWith(String(head + 1)), "the newest commit");
  await page.getByText("A title by mistake").waitFor();
  await walk.look("time");
  const line = page.getByRole("slider");
  await line.focus();
  await line.press("ArrowLeft");
  await until(async () => (await place.textContent())?.startsWith(`${head} `), "the commit before");
  await button(walk, office.time.withNow).click();
  await page.getByText("A title by mistake").waitFor();
  await line.press("Home");
  await until(async () => (await place.textContent())?.startsWith("1 "), "the first commit");
  await walk.look("time-past");

  await walk.go(`#/db/${db}/time?doc=${encodeURIComponent(doc)}`);
  await page.getByText("A title by mistake").waitFor();
  await walk.look("time-document");
  await line.press("ArrowLeft");
  await page.getByRole("tab", { name: office.time.document }).click();
  await page.getByText(String(before["title"])).first().waitFor();
  await button(walk, office.time.restore).click();
  await dialog(walk).getByText(office.restore.counts.changed(1)).waitFor();
  await walk.look("time-restore");
  await dialog(walk).getByRole("button", { name: office.restore.go, exact: true }).click();
  await dialog(walk)
    .getByText(office.restore.madeCommits(1, head + 2))
    .waitFor();
  expect(await api("GET", where)).toEqual(before);
  await page.keyboard.press("Escape");
  await until(
    async () => (await place.textContent()) === String(head + 2),
    "the commit that brought it back",
  );

  // The whole db as a branch, with main left alone.
  await walk.go(`#/db/${db}/time?at=1`);
  await button(walk, office.time.restore).click();
  await dialog(walk).getByLabel(office.restore.asBranch).check();
  await dialog(walk).getByRole("button", { name: office.restore.goBranch, exact: true }).click();
  await dialog(walk).getByText(office.restore.madeBranch("from-1")).waitFor();
  await page.keyboard.press("Escape");
  await api("DELETE", `/api/v1/db/${db}/branches/from-1`);
}

/** A token from the form, used as a program would, and revoked under its open stream. Gives how long that took, in ms. */
export async function mintAndRevoke(walk: Walk, doc: string): Promise<number> {
  const { page, db, server } = walk;
  const t = office.tokens;
  await walk.go("#/tokens");
  await walk.look("tokens");
  await button(walk, t.make).first().click();
  await dialog(walk).getByLabel(t.label).fill("reader of the walk");
  await dialog(walk).getByLabel(t.db).first().selectOption(db);
  await dialog(walk).getByLabel(t.db).nth(1).selectOption(db);
  await walk.look("tokens-new");
  await dialog(walk).getByRole("button", { name: t.makeIt, exact: true }).click();
  await dialog(walk).getByText(t.madeTitle).waitFor();
  const [token = "", curl = ""] = await dialog(walk).locator("code").allTextContents();
  expect(token).toMatch(/^skald_[\w-]{40,}$/);
  expect(curl).toContain(`${server.url}/api/v1/db/${db}/docs`);
  await walk.look("tokens-once");
  await dialog(walk).getByRole("button", { name: t.keptIt }).click();
  await until(async () => !(await page.content()).includes(token), "the token to be gone from the page");

  const headers = { authorization: `Bearer ${token}` };
  const base = `${server.url}/api/v1/db/${db}`;
  expect((await fetch(`${base}/docs/${doc}`, { headers })).status).toBe(200);
  expect((await fetch(`${base}/docs/${doc}`, { method: "DELETE", headers })).status).toBe(403);
  const stream = await fetch(`${base}/changes`, { headers: { ...headers, accept: "text/event-stream" } });
  expect(stream.status).toBe(200);
  let ended: number | undefined;
  const read = (async () => {
    try {
      for await (const _ of stream.body as unknown as AsyncIterable<Uint8Array>);
    } catch {
      // Cut off is ended too.
    }
    ended = performance.now();
  })();

  await button(walk, `${t.revoke} reader of the walk`).click();
  await walk.look("tokens-revoke");
  const revoked = page.waitForResponse((response) => response.request().method() === "DELETE");
  await dialog(walk).getByRole("button", { name: t.revokeIt, exact: true }).click();
  expect((await revoked).status()).toBe(204);
  const asked = performance.now();
  await until(() => ended !== undefined, "the stream of the revoked token to end");
  await read;
  expect((await fetch(`${base}/docs/${doc}`, { headers })).status).toBe(401);
  await page.getByText(t.revokedNow("reader of the walk")).waitFor();
  await page.getByLabel(t.showAll).check();
  await page.getByText(t.states.revoked, { exact: true }).waitFor();
  return Math.max(0, (ended ?? 0) - asked);
}

/** A named point: verified, downloaded, made into a db of its own, gone back to, and forgotten. */
export async function snapshots(walk: Walk): Promise<void> {
  const { page, db, api } = walk;
  const t = office.snapshots;
  await walk.go(`#/db/${db}/snapshots`);
  await walk.look("snapshots-empty");
  await button(walk, t.make).first().click();
  await dialog(walk).getByLabel(t.name).fill("before-the-sequel");
  await dialog(walk).getByLabel(t.message).fill("To be safe");
  await walk.look("snapshots-new");
  await dialog(walk).getByRole("button", { name: t.makeIt, exact: true }).click();
  await page.getByRole("button", { name: t.manage("before-the-sequel") }).click();
  await dialog(walk).getByRole("button", { name: t.verify, exact: true }).click();
  await dialog(walk).getByText(t.sound).waitFor();
  await walk.look("snapshot");
  const coming = page.waitForEvent("download");
  await dialog(walk).getByRole("link", { name: t.download }).click();
  const download = await coming;
  expect(download.suggestedFilename()).toMatch(/^movies.*\.car$/);
  const file = await download.path();
  expect(readFileSync(file).length).toBeGreaterThan(1000);
  await dialog(walk).getByRole("button", { name: t.restore, exact: true }).click();
  await dialog(walk).getByText(office.restore.wouldNothing).waitFor();
  await page.keyboard.press("Escape");
  await dialog(walk).getByRole("button", { name: t.remove, exact: true }).click();
  await dialog(walk).getByRole("button", { name: t.removeIt, exact: true }).click();
  await page.getByText(t.empty).waitFor();

  await button(walk, t.import).click();
  await dialog(walk).getByLabel(t.file).setInputFiles(file);
  await dialog(walk).getByLabel(t.newDb).fill("copy");
  await walk.look("snapshots-import");
  await dialog(walk).getByRole("button", { name: t.importIt, exact: true }).click();
  await dialog(walk).getByText("copy is there").waitFor();
  const [one, two] = await Promise.all(
    ["copy", db].map((name) => api<{ uid: string }>("GET", `/api/v1/db/${name}`)),
  );
  expect(one?.uid).toBe(two?.uid);
  await page.keyboard.press("Escape");

  await button(walk, t.verifyDb).click();
  await dialog(walk).getByRole("button", { name: t.start, exact: true }).click();
  await dialog(walk).getByText("Sound up to commit").waitFor();
  await walk.look("verify");
  await page.keyboard.press("Escape");
}

/** What the steps before did is written down, can be filtered, and taken away as a file. */
export async function audit(walk: Walk): Promise<void> {
  const { page, db } = walk;
  const t = office.audit;
  await walk.go("#/audit");
  await page.getByText("token.create").first().waitFor();
  await walk.look("audit");
  await page.getByLabel(t.action).fill("db.create");
  await until(async () => (await page.getByText("token.create").count()) === 0, "the filter");
  await page.getByText("db.create").first().waitFor();
  const coming = page.waitForEvent("download");
  await button(walk, t.csv).click();
  const text = readFileSync(await (await coming).path(), "utf8");
  expect(text).toContain("db.create");
  expect(text).toContain(db);
  expect(text).not.toContain("token.create");
  await page.getByLabel(t.action).fill("no.such.thing");
  await page.getByText(t.empty).waitFor();
  await walk.look("audit-none");
}

export async function health(walk: Walk): Promise<void> {
  const { page } = walk;
  await walk.go("#/health");
  await page.getByText(office.health.ready).waitFor();
  await page.locator("figure canvas").first().waitFor();
  // Two readings make the first rates.
  await until(async () => (await page.locator(".latest").first().textContent()) !== "—", "the first rate");
  await walk.look("health");
}

/** An invitation from the page, and the person who takes it up with a browser of their own. */
export async function invite(
  walk: Walk,
  name: string,
  openAs: (name: string, hash: string) => Promise<Page>,
): Promise<void> {
  const { page, db, api } = walk;
  const t = office.dbPeople;
  await walk.go(`#/db/${db}/people`);
  await walk.look("db-people-before");
  await button(walk, t.invite).first().click();
  await dialog(walk).getByLabel(t.role).selectOption("viewer");
  await dialog(walk).getByLabel(t.inviteNote).fill(`for ${name}`);
  await walk.look("db-people-invite");
  await dialog(walk).getByRole("button", { name: t.makeLink }).click();
  await dialog(walk).getByText(t.linkTitle).waitFor();
  const link = (await dialog(walk).locator("code").textContent()) ?? "";
  expect(link).toContain("/_/#/invite/");
  await walk.look("db-people-link");
  await dialog(walk).getByRole("button", { name: t.sent }).click();

  const theirs = await openAs(name, new URL(link).hash);
  await theirs.getByRole("button", { name: office.invite.accept }).click();
  await theirs.getByText(office.invite.accepted(db, "viewer")).waitFor();
  await theirs.getByRole("link", { name: office.invite.open }).click();
  await theirs.getByRole("heading", { name: db, level: 1 }).waitFor();
  await theirs.context().close();

  await page.reload();
  await page.getByText(name).first().waitFor();
  await walk.look("db-people");
  await page.getByRole("button", { name: `${t.remove} ${name}` }).click();
  await dialog(walk).getByRole("button", { name: t.removeIt, exact: true }).click();
  await page.getByRole("button", { name: `${t.remove} ${name}` }).waitFor({ state: "detached" });
  // Whoever made the db owns it; the guest is gone.
  const { people } = await api<{ people: { name: string; role: string }[] }>(
    "GET",
    `/api/v1/db/${db}/people`,
  );
  expect(people).toMatchObject([{ role: "owner" }]);
  expect(people.map((one) => one.name)).not.toContain(name);

  await walk.go("#/people");
  await page.getByText(name).first().waitFor();
  await walk.look("people");
  await page.getByText(name).first().click();
  await dialog(walk).getByText(office.people.provider).waitFor();
  await walk.look("person");
  await page.keyboard.press("Escape");
}
