import { tempDir } from "../support/temp-dir.ts";
import { API, problem, startHttp, type Reply } from "./fixture.ts";

const { ask } = await startHttp(tempDir());
const DB = `${API}/db/compared`;
const put = (doc: string, body: object): Promise<Reply> => ask("PUT", `${DB}/docs/${doc}`, { body });
const diff = (query: string, more: object = {}): Promise<Reply> => ask("GET", `${DB}/diff?${query}`, more);

interface Diff {
  readonly from: { readonly branch: string; readonly seq: number };
  readonly to: { readonly branch: string; readonly seq: number };
  readonly counts: Readonly<Record<string, number>>;
  readonly docs: readonly { doc: string; change: string; patch?: unknown[]; to_heads: string[] }[];
  readonly cursor: string | null;
}
const of = (reply: Reply): Diff => reply.json as unknown as Diff;
const shown = (reply: Reply) => of(reply).docs.map(({ doc, change, patch }) => [doc, change, patch]);

beforeAll(async () => {
  await ask("PUT", DB);
  await put("a/same", { n: 1 });
  await put("a/changed", { n: 1 });
  await put("b/gone", { n: 1 });
  await put("b/back", { n: 1 });
  await put("a/changed", { n: 2, list: [1] });
  await ask("DELETE", `${DB}/docs/b/gone`);
  await put("c/new", { n: 3 });
  await put("b/back", { n: 2 });
  await put("b/back", { n: 1 });
});

describe("a diff of a db", () => {
  test("names each document that differs, with what turns the one into the other", async () => {
    const reply = await diff("from=4&to=9");
    expect(reply.status).toBe(200);
    expect(of(reply)).toMatchObject({
      from: { branch: "main", seq: 4 },
      to: { branch: "main", seq: 9 },
      counts: { added: 1, changed: 2, deleted: 1 },
      cursor: null,
    });
    expect(shown(reply)).toEqual([
      [
        "a/changed",
        "changed",
        [
          { op: "add", path: "/list", value: [1] },
          { op: "replace", path: "/n", value: 2 },
        ],
      ],
      ["b/back", "changed", []],
      ["b/gone", "deleted", [{ op: "remove", path: "/n" }]],
      ["c/new", "added", [{ op: "add", path: "/n", value: 3 }]],
    ]);
  });

  test("turned around it is the way back", async () => {
    const reply = await diff("from=9&to=4&patches=false");
    expect(of(reply).counts).toEqual({ added: 1, changed: 2, deleted: 1 });
    expect(shown(reply)).toEqual([
      ["a/changed", "changed", undefined],
      ["b/back", "changed", undefined],
      ["b/gone", "added", undefined],
      ["c/new", "deleted", undefined],
    ]);
  });

  test("takes a seq, an address, a time, a branch and a branch with a point", async () => {
    const commits = await ask("GET", `${DB}/commits`);
    const { cid, time } = (commits.json["commits"] as { cid: string; time: string }[])[6] as {
      cid: string;
      time: string;
    };
    for (const from of ["7", cid, `main@7`, `main@${cid}`, "@7"]) {
      const reply = await diff(`from=${from}&to=main`);
      expect([from, of(reply).from.seq, of(reply).to.seq]).toEqual([from, 7, 9]);
    }
    expect(of(await diff(`from=main@${encodeURIComponent(time)}&to=main@`)).to.seq).toBe(9);
    expect(of(await diff("from=0")).counts).toEqual({ added: 4, changed: 0, deleted: 0 });
    problem(await diff("from=none"), 404, "BRANCH_NOT_FOUND");
    problem(await diff("from=7@7"), 404, "BRANCH_NOT_FOUND");
    problem(await diff("from=10"), 400, "POINT_IN_FUTURE");
    problem(await diff("from=main@x"), 400, "POINT_INVALID");
    problem(await diff("to=1"), 400, "BAD_REQUEST");
  });

  test("comes in pages of one pair of points, whatever is written meanwhile", async () => {
    const names: string[] = [];
    let cursor: string | null = "";
    for (let page = 0; cursor !== null; page += 1) {
      const reply: Reply = await diff(`from=0&to=main&limit=1${cursor ? `&cursor=${cursor}` : ""}`);
      expect(of(reply)).toMatchObject({ to: { seq: 9 }, counts: { added: 4 } });
      names.push(...of(reply).docs.map(({ doc }) => doc));
      ({ cursor } = of(reply));
      if (page === 1) await put("z/later", { n: 1 });
    }
    expect(names).toEqual(["a/changed", "a/same", "b/back", "c/new"]);
    problem(await diff("from=0&cursor=x"), 400, "CURSOR_INVALID");
    problem(
      await diff(`from=0&cursor=${Buffer.from("diff 1").toString("base64url")}`),
      400,
      "CURSOR_INVALID",
    );
  });

  test("is of one collection or of keys that begin alike when that is asked for", async () => {
    expect(of(await diff("from=0&to=9&collection=b")).counts).toEqual({ added: 1, changed: 0, deleted: 0 });
    expect(shown(await diff("from=0&to=9&collection=a&prefix=ch&patches=false"))).toEqual([
      ["a/changed", "added", undefined],
    ]);
    problem(await diff("from=0&prefix=a"), 400, "BAD_REQUEST");
  });

  test("shows and counts only what the caller may read", async () => {
    const { token } = await ask.token(["compared:doc.read:a/"]);
    const reply = await diff("from=0&to=9", { token });
    expect(of(reply).counts).toEqual({ added: 2, changed: 0, deleted: 0 });
    expect(of(reply).docs.map(({ doc }) => doc)).toEqual(["a/changed", "a/same"]);
  });
});
