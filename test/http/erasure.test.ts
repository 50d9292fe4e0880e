import { jest } from "@jest/globals";
import { API, startHttp } from "./fixture.ts";
import { tempDir } from "../support/temp-dir.ts";

jest.setTimeout(60_000);

const { ask } = await startHttp(tempDir());
const DB = `${API}/db/notes`;
const CANARY = "a secret of somebody";

test("a document is erased by its route, and every other route says so", async () => {
  await ask("PUT", DB);
  await ask("PUT", `${DB}/docs/c/x`, { body: { secret: CANARY } });
  await ask("PUT", `${DB}/docs/c/x`, { body: { secret: `${CANARY} 2` } });
  await ask("PUT", `${DB}/docs/c/other`, { body: { n: 1 } });
  expect((await ask("POST", `${DB}/docs/c/none/erase`, { body: {} })).json).toMatchObject({
    code: "DOC_NOT_FOUND",
  });
  const erased = await ask("POST", `${DB}/docs/c/x/erase`, { body: { reason: "asked for" } });
  expect(erased.status).toBe(200);
  expect(erased.json).toMatchObject({ doc: "c/x", seq: 4, removed: true, blocks: 2, duplicate: false });
  for (const [method, path, body] of [
    ["GET", "docs/c/x", undefined],
    ["GET", "docs/c/x?at=1", undefined],
    ["GET", "docs/c/x/diff?from=1&to=2", undefined],
    ["PUT", "docs/c/x", { n: 1 }],
    ["DELETE", "docs/c/x", undefined],
  ] as const) {
    const answer = await ask(method, `${DB}/${path}`, body === undefined ? {} : { body });
    expect({ path, status: answer.status, code: answer.json["code"] }).toEqual({
      path,
      status: 410,
      code: "ERASED",
    });
  }
  const history = await ask("GET", `${DB}/docs/c/x/history`);
  expect(history.json["history"]).toHaveLength(3);
  const commit = await ask("GET", `${DB}/commits?limit=1`);
  const [{ entries }] = commit.json["commits"] as [{ entries: [{ changes: [string] }] }];
  expect((await ask("GET", `${DB}/blocks/${entries[0].changes[0]}`)).json).toMatchObject({ code: "ERASED" });
  for (const include of ["json", "patch", "changes"]) {
    const { events } = (await ask("GET", `${DB}/changes?include=${include}`)).json as {
      events: { docs: Record<string, unknown>[] }[];
    };
    expect(events[0]?.docs[0]).toMatchObject({ doc: "c/x", error: "ERASED" });
    expect(events.at(-1)?.docs[0]).toMatchObject({ doc: "c/x", deleted: true, erased: true });
    expect(JSON.stringify(events)).not.toContain(CANARY);
  }
  const list = await ask("GET", `${DB}/erasures`);
  expect(list.json).toMatchObject({ erasures: [{ doc: "c/x", seq: 4 }], cursor: null });
  const verdict = (await ask("GET", `${DB}/verify`)).text.trim().split("\n").at(-1) as string;
  expect(JSON.parse(verdict)).toMatchObject({
    verdict: "sound",
    erased: { documents: 1, blocks: 2 },
    problems: [],
  });
  expect((await ask("POST", `${DB}/docs/c/x/erase`, { body: {} })).json).toMatchObject({
    duplicate: true,
    seq: 4,
  });
  expect(
    (await ask("POST", `${DB}/erasures`, { body: { erasures: [{ doc: "c/x" }, { doc: "c/never" }] } })).json,
  ).toEqual({ erased: 1 });
});

test("only who administers a db erases, and the rules of retention are set, shown and taken away", async () => {
  const { token } = await ask.token(["notes:doc.write", "notes:doc.read"]);
  expect((await ask("POST", `${DB}/docs/c/other/erase`, { body: {}, token })).status).toBe(403);
  expect((await ask("PUT", `${DB}/retention/logs`, { body: { max_age: 60 }, token })).status).toBe(403);
  expect((await ask("PUT", `${DB}/retention/logs`, { body: { max_age: 60, expire: true } })).status).toBe(
    200,
  );
  expect((await ask("PUT", `${DB}/retention/logs`, { body: { max_age: 0 } })).status).toBe(400);
  expect((await ask("GET", `${DB}/retention`)).json).toEqual({
    rules: [{ collection: "logs", max_age: 60, expire: true }],
  });
  expect((await ask("POST", `${DB}/retention/apply`)).json).toEqual({
    documents: 0,
    commits: [],
    removed: true,
  });
  expect((await ask("DELETE", `${DB}/retention/logs`)).status).toBe(200);
  expect((await ask("DELETE", `${DB}/retention/logs`)).status).toBe(404);
  expect((await ask("GET", `${DB}/retention`)).json).toEqual({ rules: [] });
});
