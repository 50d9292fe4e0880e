import type { Page } from "playwright-core";
import { databases, login } from "../../../src/ui/strings/documents.ts";
import { shell } from "../../../src/ui/strings/shell.ts";
import type { SkaldServer } from "../../support/skald-process.ts";
import type { Walk } from "./walk.ts";

/** The way in and out, and what the other steps stand on. */

/** Of a server started with `--dev`: where one says who one is. */
export async function providerOf({ url }: SkaldServer): Promise<string> {
  const { headers } = await fetch(`${url}/auth/oidc/login`, { redirect: "manual" });
  return new URL(headers.get("location") ?? "").origin;
}

export async function signIn(walk: Walk, name: string): Promise<void> {
  const { page } = walk;
  // Whoever is nobody is told so once, and asked to sign in.
  walk.expectError(/401 \(Unauthorized\).*\/auth\/me/);
  await walk.go("");
  await page.getByText(login.title).waitFor();
  await walk.look("login");
  await signInAs(page, name);
  await page.getByRole("heading", { name: databases.title, level: 1 }).waitFor();
}

/** By the provider of `--dev`, as one of its two people. */
export async function signInAs(page: Page, name: string): Promise<void> {
  await page.getByRole("link", { name: /^Sign in with / }).click();
  await page.getByRole("button", { name }).click();
}

export async function createDb(walk: Walk): Promise<void> {
  const { page, db } = walk;
  await walk.look("databases-empty");
  await page.getByRole("button", { name: databases.create }).first().click();
  await page.getByLabel(databases.name, { exact: true }).fill(db);
  await walk.look("databases-new");
  await page.getByRole("button", { name: databases.make, exact: true }).click();
  await page.getByRole("heading", { name: db, level: 1 }).waitFor();
  await walk.look("overview-empty");
}

const WORDS = [
  "Night",
  "River",
  "Golden",
  "Last",
  "Silent",
  "Summer",
  "Machine",
  "Island",
  "Letter",
  "Ghost",
];
const GENRES = ["drama", "comedy", "thriller", "noir"];

export interface Movie {
  readonly title: string;
  readonly year: number;
  readonly rating: number;
  readonly genres: readonly string[];
  readonly cast: readonly { readonly name: string; readonly role: string }[];
}

export function movie(i: number): Movie {
  return {
    title: `${WORDS[i % 10]} ${WORDS[(i * 7 + 3) % 10]} ${i}`,
    year: 1950 + ((i * 13) % 70),
    rating: ((i * 37) % 100) / 10,
    genres: [GENRES[i % 4] as string, GENRES[(i >> 2) % 4] as string],
    cast: [{ name: `Actor ${i % 23}`, role: "lead" }],
  };
}

/** Some hundred made-up movies in one commit, then a few edits, one of them hostile. */
export async function importMovies(walk: Walk): Promise<void> {
  const { api, db, page } = walk;
  const tx = `/api/v1/db/${db}/branches/main/tx`;
  const writes = Array.from({ length: 120 }, (_, i) => ({
    doc: `movies/m${String(i).padStart(3, "0")}`,
    value: movie(i),
  }));
  await api("POST", tx, { message: "import of 120 movies", writes });
  for (let i = 0; i < 12; i += 1) {
    const doc = `movies/m${String(i % 4).padStart(3, "0")}`;
    await api("POST", tx, { writes: [{ doc, patch: { rating: i / 2, notes: `seen ${i} times` } }] });
  }
  const hostile = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`;
  await api("POST", tx, { message: hostile, writes: [{ doc: "movies/m001", patch: { hostile } }] });
  await walk.go("");
  await page.getByRole("link", { name: db }).first().waitFor();
  await walk.look("databases");
  await walk.go(`#/db/${db}`);
  await walk.look("overview");
}

/** Also at the provider, who asks whether that is meant. */
export async function signOut(walk: Walk): Promise<void> {
  const { page } = walk;
  walk.expectError(/401 \(Unauthorized\).*\/auth\/me/);
  await walk.go("");
  await page.getByRole("button", { name: shell.signOut }).click();
  await page.getByRole("button", { name: /^Sign out here, too/ }).click();
  await page.getByText(login.title).waitFor();
  await page.reload();
  await page.getByText(login.title).waitFor();
}
