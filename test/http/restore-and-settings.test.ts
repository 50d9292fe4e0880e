import path from "node:path";
import { tempDir } from "../support/temp-dir.ts";
import { API, startHttp } from "./fixture.ts";

const { ask } = await startHttp(path.join(tempDir(), "data"));
const DB = `${API}/db/notes`;

beforeAll(async () => {
  await ask("PUT", DB);
  await ask("PUT", `${DB}/docs/c/a`, { body: { n: 1 } });
  await ask("PUT", `${DB}/docs/c/b`, { body: { n: 1 } });
  await ask("DELETE", `${DB}/docs/c/b`);
  await ask("PUT", `${DB}/docs/c/a`, { body: { n: 2 } });
  await ask("PUT", `${DB}/docs/d/later`, { body: { n: 3 } });
});

const lastLine = (text: string): unknown => JSON.parse(text.trim().split("\n").at(-1) as string);

test("a restore says what it would do, does it, and has nothing to do after", async () => {
  const dry = await ask("POST", `${DB}/restore?dry_run=true`, { body: { at: "2" } });
  const did = { ok: true, at: 2, commits: 1, changed: 1, returned: 1, deleted: 1, erased: 0 };
  expect(lastLine(dry.text)).toEqual({ ...did, seq: 5 });
  expect((await ask("GET", DB)).json["seq"]).toBe(5);
  const done = await ask("POST", `${DB}/restore`, { body: { at: "2", message: "back" } });
  expect(lastLine(done.text)).toEqual({ ...did, seq: 6 });
  expect((await ask("GET", `${DB}/docs?values=true`)).json["docs"]).toMatchObject([
    { doc: "c/a", value: { n: 1 } },
    { doc: "c/b", value: { n: 1 } },
  ]);
  expect((await ask("GET", `${DB}/docs/c/a/history?limit=1`)).json["history"]).toMatchObject([
    { seq: 6, message: "back" },
  ]);
  const again = await ask("POST", `${DB}/restore`, { body: { at: "2" } });
  expect(lastLine(again.text)).toMatchObject({ ok: true, seq: 6, commits: 0 });
});

test("a point comes back as a branch, and main stays as it is", async () => {
  const { seq } = (await ask("GET", DB)).json as { seq: number };
  const done = await ask("POST", `${DB}/restore`, { body: { at: "5", as: "branch", branch: "then" } });
  expect(lastLine(done.text)).toMatchObject({ ok: true, at: 5, branch: "then", seq: seq + 1 });
  expect((await ask("GET", `${DB}/docs/c/a?branch=then`)).json).toEqual({ n: 2 });
  expect((await ask("GET", `${DB}/docs/c/a`)).json).toEqual({ n: 1 });
  const code = async (body: object, token?: string): Promise<unknown> =>
    (await ask("POST", `${DB}/restore`, { body, ...(token === undefined ? {} : { token }) })).json["code"];
  expect(await code({ at: "5", as: "branch", branch: "then" })).toBe("BRANCH_EXISTS");
  expect(await code({ at: "5", as: "branch" })).toBe("BAD_REQUEST");
  expect(await code({ at: "5", branch: "x" })).toBe("BAD_REQUEST");
  expect(await code({ at: "5", as: "branch", branch: "x", collection: "c" })).toBe("BAD_REQUEST");
  const { token } = await ask.token(["notes:doc.write"]);
  expect(await code({ at: "5", as: "branch", branch: "x" }, token)).toBe("FORBIDDEN");
});

test("settings of a db are shown, changed in part, and refused to who does not own it", async () => {
  expect((await ask("GET", `${DB}/settings`)).json).toEqual({
    bundling: { commits: 8192, bytes: 16_777_216, age_ms: 3_600_000 },
  });
  const set = (bundling: object, token?: string) =>
    ask("PUT", `${DB}/settings`, { body: { bundling }, ...(token === undefined ? {} : { token }) });
  expect((await set({ commits: 100 })).json).toEqual({
    bundling: { commits: 100, bytes: 16_777_216, age_ms: 3_600_000 },
  });
  expect((await ask("GET", `${DB}/settings`)).json).toMatchObject({ bundling: { commits: 100 } });
  for (const wrong of [{ commits: -1 }, { commits: 1.5 }, { commits: "1" }, { documents: 1 }])
    expect((await set(wrong)).json["code"]).toBe("BAD_REQUEST");
  const { token } = await ask.token(["notes:doc.write"]);
  expect((await set({ commits: 1 }, token)).json["code"]).toBe("FORBIDDEN");
  expect((await ask("PUT", `${API}/db/none/settings`, { body: {} })).json["code"]).toBe("DB_NOT_FOUND");
});

test("a restore that cannot be is refused before it begins", async () => {
  const code = async (body: object, token?: string): Promise<unknown> =>
    (await ask("POST", `${DB}/restore`, { body, ...(token === undefined ? {} : { token }) })).json["code"];
  expect(await code({ at: "1000" })).toBe("POINT_IN_FUTURE");
  expect(await code({ at: "noon" })).toBe("POINT_INVALID");
  expect(await code({})).toBe("BAD_REQUEST");
  expect(await code({ at: "1", document: ["c/a"] })).toBe("BAD_REQUEST");
  expect(await code({ at: "1", documents: ["c/never"] })).toBe("DOC_NOT_FOUND");
  expect(await code({ at: "1", documents: ["none"] })).toBe("NAME_INVALID");
  expect(await code({ at: "1", collection: "a b/c" })).toBe("NAME_INVALID");
  expect(await code({ at: "1", documents: Array.from({ length: 1001 }, (_, i) => `c/${i}`) })).toBe(
    "TOO_LARGE",
  );
  expect(await code({ at: "1", message: "m".repeat(5000) })).toBe("BAD_REQUEST");
  // Who may write some of the documents may not turn all of them back.
  const some = await ask.token(["notes:doc.write:c/"]);
  expect(await code({ at: "1", collection: "c" }, some.token)).toBe("FORBIDDEN");
  expect((await ask("GET", DB)).json["seq"]).toBe(7);
});
