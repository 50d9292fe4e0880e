import { Touches, commitsOf, type Get } from "../../src/ui/commit-source.ts";
import { dbPoints, docPoints, type Commit } from "../../src/ui/timeline.ts";
import { API, startHttp, type Client } from "../http/fixture.ts";
import { memoryDir } from "../support/temp-dir.ts";

const MAIN = 120;
const DRAFT = 12;
const EVERY = MAIN + DRAFT + 1;

/** A db with commits on main, then a branch, then commits on both by turns. */
async function fill(ask: Client): Promise<void> {
  await ask("PUT", `${API}/db/films`);
  const put = async (i: number, branch = "main"): Promise<void> => {
    const { status } = await ask("PUT", `${API}/db/films/docs/movies/m${i % 3}?branch=${branch}`, {
      body: { i, branch },
    });
    expect(status).toBeLessThan(300);
  };
  for (let i = 0; i < MAIN - DRAFT; i += 1) await put(i);
  const body = { name: "draft", from: { at: 50 } };
  expect((await ask("POST", `${API}/db/films/branches`, { body })).status).toBe(201);
  for (let i = 0; i < DRAFT; i += 1) {
    await put(i, "draft");
    await put(i);
  }
}

const started = startHttp(memoryDir());

describe("the commits of a real db, as the page of time asks for them", () => {
  let get: Get;
  beforeAll(async () => {
    const { ask } = await started;
    get = async <T>(path: string) => {
      const { status, json, text } = await ask("GET", path.startsWith("/") ? path : `${API}/${path}`);
      if (status !== 200) throw new Error(text);
      return json as T;
    };
    await fill(ask);
  });

  test("stand in their rows by seq, of all branches, without gaps", async () => {
    const rows = commitsOf(get, "films");
    const seqs: (number | undefined)[] = [];
    for (let i = EVERY - 1; i >= 0; i -= 1) seqs.push((await rows.row(i))?.seq);
    expect(seqs).toEqual(Array.from({ length: EVERY }, (_, i) => EVERY - i));
    expect(await rows.row(EVERY)).toBeUndefined();
    expect((await rows.row(MAIN - DRAFT))?.branch).toBe("draft");
  });

  test("are compared with what was before on their branch, and with now", async () => {
    const rows = commitsOf(get, "films");
    for (const seq of [1, 2, MAIN - DRAFT + 2, MAIN - DRAFT + 3, EVERY - 1, EVERY]) {
      const commit = (await rows.row(seq - 1)) as Commit;
      for (const against of ["before", "now"] as const) {
        const { from, to } = dbPoints(commit, against);
        const diff = await get<{ docs: { doc: string }[] }>(
          `db/films/diff?from=${encodeURIComponent(from)}&to=${encodeURIComponent(to)}`,
        );
        if (against === "before") expect(diff.docs.map(({ doc }) => doc)).toEqual([commit.entries[0]?.doc]);
      }
    }
  });

  test("that touched a document come newest first, a page at a time, and each has what it was before", async () => {
    const touches = new Touches(get, "films", "movies/m1", undefined);
    expect(touches.more).toBe(true);
    await Promise.all([touches.load(), touches.load()]);
    expect(touches.more).toBe(false);
    await touches.load();
    const seqs = touches.rows.map(({ seq }) => seq);
    expect(seqs).toHaveLength(MAIN / 3);
    expect(seqs).toEqual(seqs.toSorted((a, b) => b - a));
    for (const i of [0, 5, seqs.length - 1]) {
      const { from, to } = docPoints(touches.rows, i, "before");
      const { patch } = await get<{ patch: { path: string }[] }>(
        `db/films/docs/movies/m1/diff?from=${from}&to=${to}`,
      );
      expect(patch.map(({ path }) => path)).toContain("/i");
    }
    const draft = new Touches(get, "films", "movies/m1", "draft");
    await draft.load();
    expect(draft.rows[0]?.seq).toBeGreaterThan(MAIN - DRAFT);
    expect(draft.rows.length).toBeLessThan(seqs.length);
  });
});
