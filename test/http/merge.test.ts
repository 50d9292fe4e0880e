import * as A from "@automerge/automerge";
import { tempDir } from "../support/temp-dir.ts";
import { API, problem, startHttp, type Ask, type Reply } from "./fixture.ts";

const { ask } = await startHttp(tempDir());
let count = 0;

interface Conflict {
  readonly doc: string;
  readonly path: string;
  readonly winner: string;
  readonly into: { readonly value?: unknown; readonly author: string };
  readonly from: { readonly value?: unknown; readonly author: string };
}
interface Merged {
  readonly seq: number;
  readonly duplicate: boolean;
  readonly fast_forward: boolean;
  readonly documents: number;
  readonly conflicts: readonly Conflict[];
  readonly heads: Readonly<Record<string, readonly string[]>>;
}

/** A db with two documents and a branch `draft` of it, and tokens of two writers. */
async function begun() {
  const name = `merge${++count}`;
  const db = `${API}/db/${name}`;
  const [ann, bob] = await Promise.all(
    ["ann", "bob"].map(async (subject) => (await ask.token([`${name}:*`], { subject })).token),
  );
  await ask("PUT", db);
  const put = (doc: string, body: object, branch = "main", token = ann): Promise<Reply> =>
    ask("PUT", `${db}/docs/${doc}?branch=${branch}`, { body, ...(token === undefined ? {} : { token }) });
  const get = async (doc: string, branch = "main"): Promise<unknown> =>
    (await ask("GET", `${db}/docs/${doc}?branch=${branch}`)).json;
  const merge = async (body: object = {}, more: Ask & { from?: string } = {}) => {
    const { from = "draft", ...rest } = more;
    const reply = await ask("POST", `${db}/branches/${from}/merge`, {
      body: { into: "main", ...body },
      ...rest,
    });
    return { reply, merged: reply.json as unknown as Merged };
  };
  await put("d/a", { n: 1, keep: true });
  await put("d/b", { list: [1, 2] });
  await ask("POST", `${db}/branches`, { body: { name: "draft" } });
  return { db, name, put, get, merge, ann: ann as string, bob: bob as string };
}

describe("a merge", () => {
  test("brings what a branch has, and lists what both sides changed with who did it", async () => {
    const { db, put, get, merge, bob } = await begun();
    await put("d/a", { n: 2, keep: true, main: 1 });
    await put("d/a", { n: 3, keep: true, draft: 1 }, "draft", bob);
    await put("d/new", { from: "draft" }, "draft", bob);
    const tried = await merge({ dry_run: true });
    expect(tried.merged).toMatchObject({ duplicate: false, fast_forward: false, documents: 2 });
    expect(await get("d/a")).toEqual({ n: 2, keep: true, main: 1 });
    const { reply, merged } = await merge({ message: "in" });
    expect(reply.status).toBe(200);
    const { n } = (await get("d/a")) as { n: number };
    expect(merged.conflicts).toEqual([
      {
        doc: "d/a",
        path: "/n",
        winner: n === 2 ? "into" : "from",
        into: { value: 2, author: "ann" },
        from: { value: 3, author: "bob" },
      },
    ]);
    expect(tried.merged.conflicts).toEqual(merged.conflicts);
    expect(await get("d/a")).toEqual({ n, keep: true, main: 1, draft: 1 });
    expect(await get("d/new")).toEqual({ from: "draft" });
    expect(Object.keys(merged.heads).sort()).toEqual(["d/a", "d/new"]);
    const again = await merge();
    expect(again.merged).toMatchObject({ duplicate: true, seq: merged.seq, documents: 0, conflicts: [] });
    const { json } = await ask("GET", `${db}/branches`);
    const [main, draft] = json["branches"] as { merged: unknown; id: number; head: { seq: number } }[];
    expect(main?.merged).toEqual([{ branch: "draft", id: draft?.id, up_to: draft?.head.seq }]);
    expect(draft?.merged).toEqual([]);
  });

  test("repeated under its client_tx_id answers as before", async () => {
    const { put, merge, bob } = await begun();
    await put("d/a", { n: 2, keep: true });
    await put("d/a", { n: 3, keep: true }, "draft", bob);
    const first = await merge({ client_tx_id: "one" });
    await put("d/a", { n: 9, keep: false });
    const again = await merge({ client_tx_id: "one" });
    expect(again.merged).toMatchObject({ ...first.merged, duplicate: true, cursor: expect.any(String) });
  });

  test("of a branch that alone went on is a fast-forward", async () => {
    const { put, get, merge } = await begun();
    await put("d/a", { n: 2 }, "draft");
    expect((await merge()).merged).toMatchObject({ fast_forward: true, documents: 1, conflicts: [] });
    expect(await get("d/a")).toEqual({ n: 2 });
  });

  test("leaves a document that one side deleted and the other changed, and says so", async () => {
    const { db, put, get, merge, bob } = await begun();
    await ask("DELETE", `${db}/docs/d/a`);
    await put("d/a", { n: 5, keep: true }, "draft", bob);
    const { merged } = await merge();
    expect(merged.conflicts).toEqual([
      {
        doc: "d/a",
        path: "",
        winner: "from",
        into: { author: "admin" },
        from: { value: { n: 5, keep: true }, author: "bob" },
      },
    ]);
    expect(await get("d/a")).toEqual({ n: 5 });
  });

  test("closes the branch on request, after which it takes no writes", async () => {
    const { db, put, merge } = await begun();
    await put("d/a", { n: 2 }, "draft");
    await merge({ close: true });
    problem(await put("d/a", { n: 3 }, "draft"), 423, "BRANCH_CLOSED");
    problem((await merge({ into: "draft" }, { from: "main" })).reply, 423, "BRANCH_CLOSED");
    expect((await ask("GET", `${db}/branches/draft`)).json["state"]).toBe("closed");
    expect((await merge({ close: true })).merged).toMatchObject({ duplicate: true });
  });

  test("is refused for what is not there or may not be done", async () => {
    const { name, merge } = await begun();
    problem((await merge({ into: "none" })).reply, 404, "BRANCH_NOT_FOUND");
    problem((await merge({}, { from: "none" })).reply, 404, "BRANCH_NOT_FOUND");
    problem((await merge({ into: "draft" })).reply, 400, "BAD_REQUEST");
    problem((await merge({ more: 1 })).reply, 400, "BAD_REQUEST");
    for (const scopes of [
      [`${name}:branch.write`, `${name}:doc.read`],
      [`${name}:branch.write`, `${name}:doc.write`, `${name}:doc.read:d/`],
    ]) {
      const { token } = await ask.token(scopes);
      problem((await merge({}, { token })).reply, 403, "FORBIDDEN");
    }
  });

  test("can be made of changes that the caller merged, which settle what both sides changed", async () => {
    const { db, put, get, bob } = await begun();
    await put("d/a", { n: 2, keep: true });
    await put("d/a", { n: 3, keep: true }, "draft", bob);
    const load = async (branch: string): Promise<A.Doc<Record<string, unknown>>> => {
      const headers = { accept: "application/automerge" };
      return A.load((await ask("GET", `${db}/docs/d/a?branch=${branch}`, { headers })).bytes);
    };
    const [here, there] = await Promise.all(["main", "draft"].map(load));
    const settled = A.change(A.merge(A.clone(here as A.Doc<unknown>), there as A.Doc<unknown>), (d) => {
      (d as Record<string, unknown>)["n"] = 23;
    });
    const { head } = (await ask("GET", `${db}/branches/draft`)).json as { head: { commit: string } };
    const change = Buffer.from(A.getLastLocalChange(settled) as Uint8Array).toString("base64");
    const body = {
      merge_of: [{ branch: "draft", heads: [head.commit] }],
      writes: [{ doc: "d/a", base_heads: A.getHeads(here as A.Doc<unknown>), changes: [change] }],
    };
    const tx = `${db}/branches/main/tx`;
    const edit = { ...body, writes: [{ doc: "d/a", value: { n: 23 } }] };
    problem(await ask("POST", tx, { body: edit }), 400, "BAD_REQUEST");
    const stale = {
      ...body,
      writes: [{ ...body.writes[0], base_heads: A.getHeads(there as A.Doc<unknown>) }],
    };
    problem(await ask("POST", tx, { body: stale }), 409, "HEADS_CONFLICT");
    const reply = await ask("POST", tx, { body });
    expect(reply.json).toMatchObject({ duplicate: false, heads: { "d/a": A.getHeads(settled) } });
    expect(reply.json["conflicts"]).toMatchObject([{ path: "/n", into: { value: 2 }, from: { value: 3 } }]);
    expect(await get("d/a")).toEqual({ n: 23, keep: true });
    const commit = (await ask("GET", `${db}/commits/${reply.json["commit"] as string}`)).json;
    expect((commit["parents"] as string[])[1]).toBe(head.commit);
  });
});

test("a diff of two branches names what either wrote since they parted", async () => {
  const { db, put, merge } = await begun();
  await put("d/main", { n: 1 });
  await put("d/b", { list: [1, 2, 3] }, "draft");
  await put("d/a", { n: 1, keep: false }, "draft");
  await put("d/a", { n: 2, keep: true });
  const diff = async (query: string) => (await ask("GET", `${db}/diff?${query}`)).json;
  expect(await diff("from=main&to=draft")).toMatchObject({
    from: { branch: "main" },
    to: { branch: "draft" },
    counts: { added: 0, changed: 2, deleted: 1 },
    docs: [
      {
        doc: "d/a",
        patch: [
          { op: "replace", path: "/keep", value: false },
          { op: "replace", path: "/n", value: 1 },
        ],
      },
      { doc: "d/b", patch: [{ op: "add", path: "/list/2", value: 3 }] },
      { doc: "d/main", change: "deleted", patch: [{ op: "remove", path: "/n" }] },
    ],
  });
  expect((await diff("from=draft@3&to=draft"))["counts"]).toEqual({ added: 0, changed: 2, deleted: 0 });
  await merge();
  await merge({ into: "draft" }, { from: "main" });
  expect((await diff("from=main&to=draft"))["counts"]).toEqual({ added: 0, changed: 0, deleted: 0 });
});

test("nothing of an erased document is told again by a merge or a diff", async () => {
  const { db, put, merge } = await begun();
  await put("d/a", { n: 2, keep: true });
  await put("d/a", { n: 3, keep: true }, "draft");
  const diff = async () => (await ask("GET", `${db}/diff?from=main@1&to=draft`)).json;
  expect((await diff())["docs"]).toMatchObject([{ doc: "d/a" }, { doc: "d/b" }]);
  const first = await merge({ client_tx_id: "one" });
  expect(first.merged.conflicts).toHaveLength(1);
  const erased = await ask("POST", `${db}/docs/d/a/erase`, { body: {} });
  expect([200, 202]).toContain(erased.status);
  const again = await merge({ client_tx_id: "one" });
  expect(again.merged).toMatchObject({ duplicate: true, conflicts: [] });
  const [a] = (await diff())["docs"] as Record<string, unknown>[];
  expect(a).toMatchObject({ doc: "d/a" });
  expect(a?.["patch"]).toBeUndefined();
});
