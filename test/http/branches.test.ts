import * as A from "@automerge/automerge";
import { tempDir } from "../support/temp-dir.ts";
import { API, problem, startHttp, type Ask, type Reply } from "./fixture.ts";

const { ask } = await startHttp(tempDir());
const DB = `${API}/db/notes`;
const BRANCHES = `${DB}/branches`;

const json = (method: string, path: string, body: object, more: Ask = {}): Promise<Reply> =>
  ask(method, path, { headers: { "content-type": "application/json" }, body, ...more });
const make = (name: string, from?: object, more: object = {}): Promise<Reply> =>
  json("POST", BRANCHES, { name, ...(from ? { from } : {}), ...more });
const put = (doc: string, value: object, branch?: string): Promise<Reply> =>
  json("PUT", `${DB}/docs/${doc}${branch === undefined ? "" : `?branch=${branch}`}`, value);
const read = async (doc: string, branch: string, at = ""): Promise<unknown> =>
  (await ask("GET", `${DB}/docs/${doc}?branch=${branch}${at === "" ? "" : `&at=${at}`}`)).json;
const seqOf = (reply: Reply): number => reply.json["seq"] as number;

let seqs: { one: number; two: number; fork: number; draft: number; main: number };
let times: string[] = [];

beforeAll(async () => {
  await ask("PUT", DB);
  const one = await put("m/a", { n: 1 });
  const two = await put("m/a", { n: 2 });
  await put("m/b", { b: 1 });
  const fork = await make("draft", { branch: "main", at: seqOf(two) }, { message: "to try" });
  expect(fork.status).toBe(201);
  const draft = await put("m/a", { n: 2, draft: true }, "draft");
  const main = await put("m/a", { n: 3 });
  times = [one, main].map((reply) => reply.json["time"] as string);
  seqs = {
    one: seqOf(one),
    two: seqOf(two),
    fork: fork.json["id"] as number,
    draft: seqOf(draft),
    main: seqOf(main),
  };
});

describe("a branch", () => {
  test("says where it came from, who made it and what it stands on", async () => {
    const list = await ask("GET", BRANCHES);
    expect((list.json["branches"] as object[])[0]).toMatchObject({
      name: "main",
      id: 0,
      state: "open",
      from: null,
      head: { seq: seqs.main },
    });
    const one = await ask("GET", `${BRANCHES}/draft`);
    expect(one.json).toMatchObject({
      name: "draft",
      id: seqs.fork,
      from: { branch: "main", seq: seqs.two },
      head: { seq: seqs.draft },
      author: "admin",
      message: "to try",
      lineage: [
        { branch: "draft", id: seqs.fork, up_to: null },
        { branch: "main", id: 0, up_to: seqs.two },
      ],
    });
    const page = await ask("GET", `${BRANCHES}?limit=1`);
    expect(page.json["branches"]).toHaveLength(1);
    const rest = await ask("GET", `${BRANCHES}?limit=1&cursor=${page.json["cursor"] as string}`);
    expect(rest.json["branches"]).toMatchObject([{ name: "draft" }]);
    const head = await ask("GET", `${BRANCHES}/draft/head`, { headers: { accept: "application/json" } });
    expect(head.json).toMatchObject({ branch: "draft", seq: seqs.draft });
    expect((await ask("GET", DB)).json["branches"]).toEqual(["main", "draft"]);
    problem(await ask("GET", `${BRANCHES}/nothing`), 404, "BRANCH_NOT_FOUND");
    problem(await ask("GET", `${BRANCHES}/nothing/head`), 404, "BRANCH_NOT_FOUND");
  });

  test("has documents, lists, histories and diffs of its own, at any point of its past", async () => {
    expect(await read("m/a", "draft")).toEqual({ n: 2, draft: true });
    expect(await read("m/a", "main")).toEqual({ n: 3 });
    expect(await read("m/a", "draft", String(seqs.one))).toEqual({ n: 1 });
    expect(await read("m/a", "draft", times[1])).toEqual({ n: 2, draft: true });
    problem(await ask("GET", `${DB}/docs/m/b?branch=draft`), 404, "DOC_NOT_FOUND");
    const docs = await ask("GET", `${DB}/docs?branch=draft&values=true`);
    expect(docs.json["docs"]).toMatchObject([{ doc: "m/a", seq: seqs.draft, value: { n: 2, draft: true } }]);
    expect((await ask("GET", `${DB}/docs`)).json["docs"]).toHaveLength(2);
    expect((await ask("GET", `${DB}?branch=draft`)).json).toMatchObject({ documents: 1, deleted: 0 });
    const history = await ask("GET", `${DB}/docs/m/a/history?branch=draft`);
    expect((history.json["history"] as { seq: number }[]).map(({ seq }) => seq)).toEqual([
      seqs.draft,
      seqs.two,
      seqs.one,
    ]);
    const diff = await ask("GET", `${DB}/docs/m/a/diff?branch=draft&from=${seqs.two}`);
    expect(diff.json["patch"]).toEqual([{ op: "add", path: "/draft", value: true }]);
    const commits = await ask("GET", `${DB}/commits?branch=draft`);
    expect((commits.json["commits"] as { seq: number; branch: string }[]).map(({ seq }) => seq)).toEqual([
      seqs.one,
      seqs.two,
      seqs.fork,
      seqs.draft,
    ]);
    const all = await ask("GET", `${DB}/commits?branch=*&limit=2&since=${seqs.two}`);
    expect((all.json["commits"] as { seq: number }[]).map(({ seq }) => seq)).toEqual([
      seqs.two + 1,
      seqs.fork,
    ]);
    const main = await ask("GET", `${DB}/commits?since=${seqs.two}`);
    expect((main.json["commits"] as { branch: string }[]).every(({ branch }) => branch === "main")).toBe(
      true,
    );
    problem(await ask("GET", `${DB}/docs/m/a?branch=draft&at=${seqs.main}`), 400, "POINT_OTHER_BRANCH");
    problem(await ask("GET", `${DB}/docs/m/a?at=${seqs.draft}`), 400, "POINT_OTHER_BRANCH");
  });

  test("is written by value, patch, changes and deletion, under the ETags that it has", async () => {
    await make("edits", { branch: "draft" });
    const at = `${DB}/docs/m/a?branch=edits`;
    const first = await ask("GET", at);
    const wrong = { headers: { "content-type": "application/json", "if-match": '"00"' } };
    problem(await ask("PUT", at, { ...wrong, body: "{}" }), 412, "PRECONDITION_FAILED");
    const merged = await ask("PATCH", at, {
      headers: {
        "content-type": "application/merge-patch+json",
        "if-match": first.headers["etag"] as string,
      },
      body: '{"more":1}',
    });
    expect(merged.status).toBe(200);
    expect(await read("m/a", "edits")).toEqual({ n: 2, draft: true, more: 1 });
    const bytes = await ask("GET", at, { headers: { accept: "application/automerge" } });
    const copy = A.change(A.load<Record<string, unknown>>(bytes.bytes), (draft) => {
      draft["by"] = "client";
    });
    const change = await ask("PATCH", at, {
      headers: { "content-type": "application/automerge" },
      body: A.getLastLocalChange(copy) as Uint8Array,
    });
    expect(change.status).toBe(200);
    expect(await read("m/a", "edits")).toEqual({ n: 2, draft: true, more: 1, by: "client" });
    const both = await json("POST", `${BRANCHES}/edits/tx`, {
      writes: [
        { doc: "m/new", value: { made: "on edits" } },
        { doc: "m/a", patch: { n: null } },
      ],
    });
    expect(both.status).toBe(200);
    expect(await read("m/new", "edits")).toEqual({ made: "on edits" });
    expect((await ask("DELETE", at)).status).toBe(200);
    problem(await ask("GET", at), 404, "DOC_NOT_FOUND");
    expect(await read("m/a", "draft")).toEqual({ n: 2, draft: true });
    expect(await read("m/a", "main")).toEqual({ n: 3 });
    problem(
      await json("POST", `${BRANCHES}/nothing/tx`, { writes: [{ doc: "m/a", value: {} }] }),
      404,
      "BRANCH_NOT_FOUND",
    );
  });

  test("is followed by feeds that ask for it, and by no other", async () => {
    const events = async (
      query: string,
    ): Promise<{ seq: number; branch: string; docs: { value?: object; patch?: object }[] }[]> =>
      (await ask("GET", `${DB}/changes?${query}`)).json["events"] as never;
    expect((await events("branch=draft")).map(({ seq }) => seq)).toEqual([
      seqs.one,
      seqs.two,
      seqs.fork,
      seqs.draft,
    ]);
    expect((await events("")).every(({ branch }) => branch === "main")).toBe(true);
    const every = await events("branch=*&include=patch&doc=m/a");
    expect(every.find(({ seq }) => seq === seqs.draft)?.docs[0]?.patch).toEqual([
      { op: "add", path: "/draft", value: true },
    ]);
    expect(every.find(({ seq }) => seq === seqs.main)?.docs[0]?.patch).toEqual([
      { op: "replace", path: "/n", value: 3 },
    ]);
    const values = await events(`branch=draft&include=json&since=${seqs.fork}`);
    expect(values[0]?.docs[0]?.value).toEqual({ n: 2, draft: true });
    problem(await ask("GET", `${DB}/changes?branch=nothing`), 404, "BRANCH_NOT_FOUND");
    problem(await ask("GET", `${DB}/changes?branch=nothing&feed=sse`), 404, "BRANCH_NOT_FOUND");
  });

  test("that is closed answers 423 to writes, and one that was deleted is not there", async () => {
    await make("short", { branch: "draft", at: seqs.fork });
    expect((await ask("POST", `${BRANCHES}/short/close`)).status).toBe(200);
    problem(await put("m/a", {}, "short"), 423, "BRANCH_CLOSED");
    problem(await ask("POST", `${BRANCHES}/short/close`), 423, "BRANCH_CLOSED");
    expect(await read("m/a", "short")).toEqual({ n: 2 });
    expect((await ask("GET", `${BRANCHES}/short`)).json["state"]).toBe("closed");
    expect((await ask("DELETE", `${BRANCHES}/short`)).status).toBe(200);
    problem(await ask("GET", `${DB}/docs/m/a?branch=short`), 404, "BRANCH_NOT_FOUND");
    problem(await ask("DELETE", `${BRANCHES}/short`), 404, "BRANCH_NOT_FOUND");
    problem(await ask("DELETE", `${BRANCHES}/main`), 400, "BAD_REQUEST");
  });

  test("is made once under one Idempotency-Key, and not from what is not there", async () => {
    const keyed = (name: string): Promise<Reply> =>
      json(
        "POST",
        BRANCHES,
        { name },
        { headers: { "content-type": "application/json", "idempotency-key": "k1" } },
      );
    const [first, again] = [await keyed("once"), await keyed("once")];
    expect([first.status, again.status]).toEqual([201, 201]);
    expect(again.json["id"]).toBe(first.json["id"]);
    problem(await make("once"), 409, "BRANCH_EXISTS");
    problem(await make("x", { branch: "nothing" }), 404, "BRANCH_NOT_FOUND");
    problem(await make("x", { at: "99999" }), 400, "POINT_IN_FUTURE");
    problem(await make("x", { at: String(seqs.draft) }), 400, "POINT_OTHER_BRANCH");
    problem(await make("a/b"), 400, "NAME_INVALID");
    problem(await make("x", undefined, { message: "m".repeat(100_000) }), 400, "BAD_REQUEST");
    problem(await make("x", undefined, { client_tx_id: "a b" }), 400, "NAME_INVALID");
    const { token } = await ask.token(["notes:doc.read", "notes:doc.write"]);
    problem(await json("POST", BRANCHES, { name: "y" }, { token }), 403, "FORBIDDEN");
  });
});
