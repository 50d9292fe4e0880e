import { tempDir } from "../support/temp-dir.ts";
import { API, TX, openWire, problem, startHttp, type Ask, type Reply } from "./fixture.ts";

const { ask } = await startHttp(tempDir());
const DB = `${API}/db/notes`;
/** The same route where the hand-written match does not see it, so that Express takes it. */
const SLOW_TX = TX.replace("notes", "n%6Ftes");

beforeAll(async () => {
  await ask("PUT", DB);
});

const tx = (body: string): Promise<Reply> =>
  ask("POST", TX, { headers: { "content-type": "application/json" }, body });
const seqNow = async (): Promise<unknown> => (await ask("GET", DB)).json["seq"];

describe("a body over the limit", () => {
  const LIMIT = 16 * 1024 * 1024;
  const head = (more: string): string =>
    `POST ${TX} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${ask.admin}\r\ncontent-type: application/json\r\n${more}\r\n\r\n`;

  test("that says its length is refused before it is sent, and the connection ends", async () => {
    const wire = openWire(ask.port);
    wire.socket.write(head(`content-length: ${LIMIT + 1}`));
    const text = await wire.closed();
    expect(text).toMatch(/^HTTP\/1\.1 413 .*\r\n/);
    expect(text).toMatch(/connection: close/i);
    expect(text).toContain(`"max_bytes":${LIMIT}`);
  });

  test.each(["with", "without"])("%s a length is answered though its client sends on", async (how) => {
    const wire = openWire(ask.port);
    wire.socket.write(head(how === "with" ? `content-length: ${4 * LIMIT}` : "transfer-encoding: chunked"));
    const chunk = Buffer.alloc(1024 * 1024, 0x20);
    const framed =
      how === "with" ? chunk : Buffer.concat([Buffer.from("100000\r\n"), chunk, Buffer.from("\r\n")]);
    const pump = (): void => {
      while (wire.socket.writable && wire.socket.write(framed));
    };
    wire.socket.on("drain", pump);
    pump();
    const text = await wire.until(/"code":"TOO_LARGE"/);
    expect(text).toMatch(/^HTTP\/1\.1 413 /);
    wire.socket.destroy();
  });

  test("of exactly the limit is read", async () => {
    const text = '{"writes":[{"doc":"big/a","value":{}}]}';
    expect((await tx(text.padEnd(LIMIT))).status).toBe(200);
    problem(await tx(text.padEnd(LIMIT + 1)), 413, "TOO_LARGE");
  });

  test("a refused small body leaves the connection usable", async () => {
    const wire = openWire(ask.port);
    const body = "x".repeat(5000);
    wire.socket.write(
      `POST ${TX} HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\n${body}GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n`,
    );
    expect(await wire.until(/\{"ok":true\}/)).toMatch(/^HTTP\/1\.1 401 /);
    wire.socket.destroy();
  });
});

describe("on one connection", () => {
  const request = (doc: string, n: number): string => {
    const body = JSON.stringify({ writes: [{ doc, value: { n } }] });
    return `POST ${TX} HTTP/1.1\r\nhost: x\r\nx-request-id: r${n}\r\nauthorization: Bearer ${ask.admin}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  };

  test("requests in one packet are answered in their order", async () => {
    const wire = openWire(ask.port);
    const get = (n: number): string => `GET /healthz HTTP/1.1\r\nhost: x\r\nx-request-id: r${n}\r\n\r\n`;
    wire.socket.write([1, 2, 3, 4, 5, 6].map((n) => (n % 3 ? request("pipe/a", n) : get(n))).join(""));
    const text = await wire.until(/(HTTP\/1\.1 200[^]*){6}\}$/);
    expect([...text.matchAll(/x-request-id: (r\d)/g)].map((match) => match[1])).toEqual([
      "r1",
      "r2",
      "r3",
      "r4",
      "r5",
      "r6",
    ]);
    wire.socket.destroy();
  });

  test("a body that comes in pieces is one body", async () => {
    const wire = openWire(ask.port);
    for (const part of request("slow/a", 7).match(/[^]{1,40}/g) ?? []) {
      await new Promise((resolve) => wire.socket.write(part, resolve));
    }
    expect(await wire.until(/"duplicate":false/)).toMatch(/^HTTP\/1\.1 200 /);
    wire.socket.destroy();
  });

  test("of a body that breaks off nothing is kept", async () => {
    const before = await seqNow();
    const wire = openWire(ask.port);
    const text = request("broken/a", 8);
    await new Promise((resolve) => wire.socket.write(text.slice(0, -1), resolve));
    wire.socket.resetAndDestroy();
    problem(await ask("GET", `${DB}/docs/broken/a`), 404, "DOC_NOT_FOUND");
    expect(await seqNow()).toBe(before);
  });
});

describe("the hand-matched way and the one through Express", () => {
  const body = '{"writes":[{"doc":"same/a","value":{"n":1}}]}';
  const type = { "content-type": "application/json" };

  test.each<[string, Ask & { search?: string }]>([
    ["a write", { headers: type, body }],
    ["a repeat", { headers: { ...type, "idempotency-key": "same" }, body }],
    ["a dry run", { headers: type, body, search: "?dry_run=true" }],
    ["no token", { token: null, headers: type, body }],
    ["a bad token", { token: "x", headers: type, body }],
    ["bad JSON", { headers: type, body: "{" }],
    ["a wrong shape", { headers: type, body: "{}" }],
    ["a wrong type", { headers: { "content-type": "text/plain" }, body }],
    ["an unknown parameter", { headers: type, body, search: "?x=1" }],
    ["a parameter twice", { headers: type, body, search: "?dry_run=true&dry_run=true" }],
    [
      "a conflict",
      { headers: type, body: body.replace('"value"', `"base_heads":["${"ab".repeat(32)}"],"value"`) },
    ],
    ["a too large body", { headers: { ...type, "content-length": "99999999" } }],
  ])("answer %s alike", async (_what, { search = "", ...more }) => {
    await tx(body);
    const headers = { ...more.headers, "x-request-id": "same" };
    const [fast, slow] = await Promise.all(
      [TX, SLOW_TX].map((path) => ask("POST", path + search, { ...more, headers })),
    );
    const strip = (headersOf: Reply["headers"]): object => ({ ...headersOf, date: "", ratelimit: "" });
    expect(slow?.status).toBe(fast?.status);
    expect(strip(slow?.headers ?? {})).toEqual(strip(fast?.headers ?? {}));
    const json = (reply?: Reply): object => ({
      ...reply?.json,
      ...(reply?.json["time"] ? { time: "" } : {}),
    });
    expect(json(slow)).toEqual(json(fast));
    expect(Object.keys(json(slow))).toEqual(Object.keys(json(fast)));
  });

  test.each<[string, string, Ask & { search?: string }]>([
    ["GET", "a document", {}],
    ["GET", "its bytes", { headers: { accept: "application/automerge" } }],
    ["GET", "a form that is none", { headers: { accept: "text/html" } }],
    ["GET", "a point that is none", { search: "?at=x" }],
    ["GET", "no token", { token: null }],
    ["HEAD", "a document", {}],
    ["PUT", "what is there", { headers: type, body: '{"n":1}' }],
    ["PUT", "no JSON", { headers: type, body: "{" }],
    ["PATCH", "a wrong type", { headers: type, body: "{}" }],
    ["DELETE", "a stale tag", { headers: { "if-match": '"x"' } }],
    ["POST", "a method that is not for it", {}],
    ["OPTIONS", "the methods", {}],
  ])("answer %s of %s alike", async (method, _what, { search = "", ...more }) => {
    await tx(body);
    const headers = { ...more.headers, "x-request-id": "same" };
    const [fast, slow] = await Promise.all(
      ["notes", "n%6Ftes"].map((db) =>
        ask(method, `${API}/db/${db}/docs/same/a${search}`, { ...more, headers }),
      ),
    );
    expect([slow?.status, slow?.text]).toEqual([fast?.status, fast?.text]);
    const alike = { date: "", ratelimit: "" };
    expect({ ...slow?.headers, ...alike }).toEqual({ ...fast?.headers, ...alike });
  });
});
