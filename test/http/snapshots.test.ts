import { readdirSync } from "node:fs";
import path from "node:path";
import { wholeCar } from "../archive/independent-car.ts";
import { tempDir } from "../support/temp-dir.ts";
import { API, startHttp } from "./fixture.ts";

const dir = tempDir();
const { ask, server } = await startHttp(dir);
const { url } = server;
const token = server.token as string;
const DB = `${API}/db/shop`;
const CAR = "application/vnd.ipld.car";

beforeAll(async () => {
  await ask("PUT", DB);
  for (let n = 0; n < 30; n += 1) await ask("PUT", `${DB}/docs/items/${n % 7}`, { body: { n } });
});

async function raw(
  way: string,
  headers: Record<string, string> = {},
  more: { method?: string; body?: Uint8Array | ReadableStream; token?: string } = {},
) {
  const reply = await fetch(url + way, {
    ...(more.method ? { method: more.method } : {}),
    headers: { authorization: `Bearer ${more.token ?? token}`, ...headers },
    ...(more.body ? { body: more.body as never, duplex: "half" as const } : {}),
  } as RequestInit);
  const bytes = Buffer.from(await reply.arrayBuffer());
  const text = bytes.toString("utf8");
  const json = (text.startsWith("{") ? JSON.parse(text.split("\n", 1)[0] as string) : {}) as Record<
    string,
    unknown
  >;
  return { status: reply.status, headers: reply.headers, bytes, json, text };
}

const upload = (db: string, body: Uint8Array | ReadableStream) =>
  raw(`${API}/db/${db}/import`, { "content-type": CAR }, { method: "POST", body });

describe("a named snapshot", () => {
  test("is made of a point, listed, shown, and forgotten", async () => {
    const made = await ask("POST", `${DB}/snapshots`, { body: { name: "ten", at: "10", message: "why" } });
    expect(made).toMatchObject({
      status: 201,
      json: { name: "ten", kind: "history", seq: 10, message: "why" },
    });
    const state = await ask("POST", `${DB}/snapshots`, { body: { kind: "state" } });
    expect(state).toMatchObject({ status: 201, json: { kind: "state", branch: "main", seq: 30 } });
    const name = state.json["name"] as string;
    const list = await ask("GET", `${DB}/snapshots?limit=1`);
    expect(list.json).toMatchObject({ snapshots: [{ name }], cursor: expect.any(String) });
    const next = await ask("GET", `${DB}/snapshots?limit=1&cursor=${String(list.json["cursor"])}`);
    expect(next.json).toMatchObject({ snapshots: [{ name: "ten" }], cursor: null });
    expect((await ask("GET", `${DB}/snapshots/ten`)).json).toEqual(made.json);
    for (const [body, status, code] of [
      [{ name: "ten" }, 409, "SNAPSHOT_EXISTS"],
      [{ name: "a/b" }, 400, "NAME_INVALID"],
      [{ name: ".." }, 400, "NAME_INVALID"],
      [{ at: "99" }, 400, "POINT_IN_FUTURE"],
      [{ kind: "all" }, 400, "BAD_REQUEST"],
      [{ branch: "main" }, 400, "BAD_REQUEST"],
      [{ kind: "state", branch: "none" }, 404, "BRANCH_NOT_FOUND"],
    ] as const)
      expect(await ask("POST", `${DB}/snapshots`, { body })).toMatchObject({ status, json: { code } });
    expect((await ask("DELETE", `${DB}/snapshots/${name}`)).status).toBe(204);
    expect(await ask("DELETE", `${DB}/snapshots/${name}`)).toMatchObject({
      status: 404,
      json: { code: "SNAPSHOT_NOT_FOUND" },
    });
  });

  test("is its archive, which is the same whenever it is asked for, and a db again where it is imported", async () => {
    const way = `${DB}/snapshots/ten`;
    const first = await raw(way, { accept: CAR });
    expect(first.headers.get("content-type")).toBe(CAR);
    const { commit } = (await ask("GET", way)).json as { commit: string };
    expect(wholeCar(first.bytes).roots).toEqual([commit]);
    await ask("PUT", `${DB}/docs/items/later`, { body: { n: 1 } });
    const again = await raw(way, { accept: CAR });
    expect(again.bytes.equals(first.bytes)).toBe(true);
    expect(again.headers.get("etag")).toBe(first.headers.get("etag"));
    expect((await raw(way, { accept: CAR, "if-none-match": String(again.headers.get("etag")) })).status).toBe(
      304,
    );
    const made = await upload("copy", first.bytes);
    expect(made).toMatchObject({
      status: 201,
      json: { db: "copy", kind: "history", seq: 10, root: commit, commit },
    });
    expect((await raw(`${API}/db/copy/archive`)).bytes.equals(first.bytes)).toBe(true);
    expect((await ask("GET", `${API}/db/copy/docs/items/2`)).json).toEqual({ n: 9 });
  });

  test("is read as a stranger's by verify", async () => {
    const { text } = await raw(`${DB}/snapshots/ten/verify`, {}, { method: "POST" });
    const lines = text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const { commit } = (await ask("GET", `${DB}/snapshots/ten`)).json;
    expect(lines.at(-1)).toMatchObject({ verdict: "sound", root: commit, seq: 10, commit });
  });

  test("is what documents are brought back to", async () => {
    const { text } = await raw(
      `${DB}/snapshots/ten/restore`,
      { "content-type": "application/json" },
      { method: "POST", body: Buffer.from('{"documents":["items/2"]}') },
    );
    expect(JSON.parse(text.trim().split("\n").at(-1) as string)).toMatchObject({ ok: true, changed: 1 });
    expect((await ask("GET", `${DB}/docs/items/2`)).json).toEqual({ n: 9 });
  });

  test("goes with its db", async () => {
    await upload("short", (await raw(`${DB}/snapshots/ten`, { accept: CAR })).bytes);
    await ask("POST", `${API}/db/short/snapshots`, { body: { name: "mine" } });
    await ask("DELETE", `${API}/db/short?confirm=short`);
    await ask("PUT", `${API}/db/short`);
    expect((await ask("GET", `${API}/db/short/snapshots`)).json["snapshots"]).toEqual([]);
  });
});

describe("a range of an archive", () => {
  test.each(["history", "state"])("of a %s is those bytes of it", async (kind) => {
    const way = `${DB}/archive?kind=${kind}&at=20`;
    const whole = await raw(way);
    const of = whole.bytes.length;
    const etag = String(whole.headers.get("etag"));
    for (const [range, from, to] of [
      ["bytes=0-0", 0, 1],
      ["bytes=10-99", 10, 100],
      [`bytes=${of - 5}-`, of - 5, of],
      ["bytes=-7", of - 7, of],
      [`bytes=3-${of + 1000}`, 3, of],
    ] as const) {
      const part = await raw(way, { range, "if-range": etag });
      expect({ range, status: part.status, of: part.headers.get("content-range") }).toEqual({
        range,
        status: 206,
        of: `bytes ${from}-${to - 1}/${of}`,
      });
      expect(part.bytes.equals(whole.bytes.subarray(from, to))).toBe(true);
    }
    for (const range of [`bytes=${of}-`, "bytes=-0"]) {
      const refused = await raw(way, { range });
      expect(refused).toMatchObject({ status: 416, json: { code: "RANGE_INVALID", bytes: of } });
      expect(refused.headers.get("content-range")).toBe(`bytes */${of}`);
    }
    // Of another archive, in several parts or of no form that is one: the whole.
    for (const headers of [
      { range: "bytes=0-1", "if-range": '"other"' },
      { range: "bytes=0-1,5-6" },
      { range: "bytes=9-3" },
      { range: "commits=0-1" },
    ] as Record<string, string>[])
      expect(await raw(way, headers)).toMatchObject({ status: 200 });
    const head = await raw(way, { range: "bytes=0-9" }, { method: "HEAD" });
    expect([head.status, head.headers.get("content-length"), head.bytes.length]).toEqual([206, "10", 0]);
  });
});

describe("an import", () => {
  const folders = (): number => readdirSync(path.join(dir, "dbs")).length;

  test("that is wrong names the block and leaves nothing", async () => {
    const { bytes } = await raw(`${DB}/archive`);
    const before = folders();
    const spoilt = Buffer.from(bytes);
    spoilt[bytes.length - 3] = (spoilt[bytes.length - 3] as number) ^ 1;
    const { blocks } = wholeCar(bytes);
    expect(await upload("bad", spoilt)).toMatchObject({
      status: 422,
      json: { code: "ARCHIVE_INVALID", block: blocks.length - 1, cid: expect.stringMatching(/^b/) },
    });
    expect(await upload("bad", bytes.subarray(0, 1000))).toMatchObject({ status: 422 });
    expect(await upload("shop", bytes)).toMatchObject({ status: 409, json: { code: "DB_EXISTS" } });
    expect(await upload("a b", bytes)).toMatchObject({ status: 400, json: { code: "NAME_INVALID" } });
    expect((await ask("GET", `${API}/db/bad`)).status).toBe(404);
    expect(folders()).toBe(before);
  });

  test("that breaks off, or whose name somebody takes meanwhile, leaves nothing", async () => {
    const { bytes } = await raw(`${DB}/archive`);
    const before = folders();
    let go: () => void = () => {};
    const waiting = new Promise<void>((resolve) => (go = resolve));
    const slow = new ReadableStream({
      async start(controller) {
        controller.enqueue(bytes.subarray(0, 3000));
        await waiting;
        controller.enqueue(bytes.subarray(3000));
        controller.close();
      },
    });
    const sending = upload("slow", slow);
    // Nobody sees it yet, and nobody else can have the name.
    for (let tries = 0; folders() === before && tries < 500; tries += 1)
      await new Promise((resolve) => setTimeout(resolve, 10));
    expect((await ask("GET", `${API}/db/slow`)).status).toBe(404);
    expect(await ask("PUT", `${API}/db/slow`)).toMatchObject({ status: 503, json: { code: "UNAVAILABLE" } });
    expect(await upload("slow", bytes)).toMatchObject({ status: 503 });
    go();
    expect(await sending).toMatchObject({ status: 201 });
    expect((await ask("GET", `${API}/db/slow`)).status).toBe(200);
    const broken = new ReadableStream({
      start(controller) {
        controller.enqueue(bytes.subarray(0, 3000));
        setTimeout(() => controller.error(new Error("gone")), 100);
      },
    });
    await expect(upload("broken", broken)).rejects.toThrow();
    for (let tries = 0; folders() > before + 1 && tries < 500; tries += 1)
      await new Promise((resolve) => setTimeout(resolve, 10));
    expect(folders()).toBe(before + 1);
    expect(await upload("broken", bytes)).toMatchObject({ status: 201 });
  });

  test("and reading archives are for those who may", async () => {
    const made = async (scopes: string[]): Promise<string> =>
      (await ask("POST", `${API}/admin/tokens`, { body: { label: "t", scopes } })).json["token"] as string;
    const lister = await made(["shop:snapshot.read"]);
    expect(await raw(`${DB}/snapshots/ten`, {}, { token: lister })).toMatchObject({ status: 200 });
    for (const way of [`${DB}/snapshots/ten`, `${DB}/archive`])
      expect(await raw(way, { accept: CAR }, { token: lister })).toMatchObject({ status: 403 });
    expect(await raw(`${DB}/snapshots/ten/verify`, {}, { method: "POST", token: lister })).toMatchObject({
      status: 403,
    });
    const reader = await made(["shop:snapshot.read", "shop:doc.read"]);
    const { bytes, status } = await raw(`${DB}/archive`, { accept: CAR }, { token: reader });
    expect(status).toBe(200);
    expect(
      await raw(
        `${API}/db/theirs/import`,
        { "content-type": CAR },
        { method: "POST", body: bytes, token: reader },
      ),
    ).toMatchObject({ status: 403 });
    expect((await raw(`${DB}/snapshots/ten`, {}, { method: "DELETE", token: reader })).status).toBe(403);
    const part = await made(["shop:snapshot.read", "shop:doc.read:items/"]);
    expect(await raw(`${DB}/archive`, { accept: CAR }, { token: part })).toMatchObject({ status: 403 });
  });
});
