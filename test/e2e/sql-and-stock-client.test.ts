import * as Automerge from "@automerge/automerge";
import { jest } from "@jest/globals";
import { openEvents } from "../http/feed-client.ts";
import { API, startHttp } from "../http/fixture.ts";
import { VERSIONS, found, stockClient, until } from "../support/stock-client.ts";
import { tempDir } from "../support/temp-dir.ts";

/** SQL and unchanged automerge-repo clients work on the same documents. */
jest.setTimeout(120_000);

const { ask } = await startHttp(tempDir(), { args: ["--sync-root", "films"] });
const DB = `${API}/db/films`;

interface Film {
  title: string;
  year: number;
  genres: string[];
  extract: string;
}

async function exec(sql: string, args: unknown[] = []): Promise<Record<string, unknown>> {
  const reply = await ask("POST", `${DB}/query/exec`, { body: { sql, args } });
  if (reply.status !== 200) throw new Error(`${sql}: ${reply.text}`);
  return reply.json;
}

const EXTRACT = "A storm traps the crew of a small ship, and the captain has to choose.";

beforeAll(async () => {
  await exec(
    "CREATE TABLE movies (id TEXT PRIMARY KEY, title TEXT NOT NULL, year INTEGER, genres JSON, extract TEXT)",
  );
});

describe.each(VERSIONS)("a stock client of automerge-repo %s", (version) => {
  const key = `storm-${version.replace(".", "")}`;

  test("sees an UPDATE as the smallest edit of its open document, with its text cursor where it was", async () => {
    await exec("INSERT INTO movies VALUES (?, 'The Storm', 2003, json('[\"Drama\"]'), ?)", [key, EXTRACT]);
    const { headers } = await ask("GET", `${DB}/docs/movies/${key}`);
    const client = stockClient(version, `ws://127.0.0.1:${ask.port}/`);
    const film = await found<Film>(client, headers["automerge-url"] as string);
    const word = EXTRACT.indexOf("captain");
    const cursor = Automerge.getCursor(film.doc() as Automerge.Doc<Film>, ["extract"], word);
    const patches: Automerge.Patch[] = [];
    film.on("change", (change: { patches: Automerge.Patch[] }) => patches.push(...change.patches));
    const { rows_affected: changed } = await exec(
      "UPDATE movies SET year = year + 1, extract = replace(extract, 'small', 'very small') WHERE id = ?",
      [key],
    );
    expect(changed).toBe(1);
    await until(() => film.doc().year === 2004, "the update");
    const now = film.doc();
    expect(now).toEqual({
      title: "The Storm",
      year: 2004,
      genres: ["Drama"],
      extract: EXTRACT.replace("small", "very small"),
    });
    // Five characters were put in and one number: nothing else was touched.
    expect(patches.map(({ action, path }) => `${action} ${path.join("/")}`).sort()).toEqual([
      `put year`,
      `splice extract/${EXTRACT.indexOf("small")}`,
    ]);
    const at = Automerge.getCursorPosition(now as Automerge.Doc<Film>, ["extract"], cursor);
    expect(now.extract.slice(at, at + 7)).toBe("captain");
    client.close();
  });

  test("edits a film, and a watch of SQL shows it, exactly as it was at its commit", async () => {
    const { headers } = await ask("GET", `${DB}/docs/movies/${key}`);
    const client = stockClient(version, `ws://127.0.0.1:${ask.port}/`);
    const film = await found<Film>(client, headers["automerge-url"] as string);
    const sql = "SELECT id, year, length(extract) AS letters FROM movies WHERE id = ?";
    const search = `sql=${encodeURIComponent(sql)}&args=${encodeURIComponent(JSON.stringify([key]))}`;
    const stream = await openEvents(ask.port, `${DB}/query/watch?${search}`, ask.admin);
    await stream.until(() => stream.events.length > 0);
    const before = film.doc().extract.length;
    expect(stream.events[0]).toMatchObject({ event: "snapshot", data: { rows: [[key, 2004, before]] } });
    film.change((doc) => {
      doc.year = 1999;
    });
    const shown = (): unknown => stream.events.at(-1)?.data["rows"];
    await stream.until(() => JSON.stringify(shown()) === JSON.stringify([[key, 1999, before]]));
    const { seq } = (stream.events.at(-1)?.data ?? {}) as { seq: number };
    const then = await ask("POST", `${DB}/query/exec`, { body: { sql, args: [key], at: String(seq) } });
    expect(then.json["rows"]).toEqual(shown());
    stream.close();
    client.close();
  });

  test("edits what SQL reads, as the author that SQL names", async () => {
    const { headers } = await ask("GET", `${DB}/docs/movies/${key}`);
    const client = stockClient(version, `ws://127.0.0.1:${ask.port}/`);
    const film = await found<Film>(client, headers["automerge-url"] as string);
    film.change((doc) => {
      doc.title = "The Calm";
      doc.genres.push("Adventure");
    });
    await until(
      async () =>
        JSON.stringify((await exec("SELECT title, genres FROM movies WHERE id = ?", [key]))["rows"]) ===
        JSON.stringify([["The Calm", '["Drama","Adventure"]']]),
      "the edit",
    );
    const blame = await exec(
      "SELECT author FROM changes WHERE collection = 'movies' AND key = ? ORDER BY seq",
      [key],
    );
    expect(blame["rows"]).toHaveLength(4);
    client.close();
  });
});
