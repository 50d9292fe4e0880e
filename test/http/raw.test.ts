import { createHttpServer } from "../../src/http/server.ts";
import type { Services } from "../../src/http/route.ts";
import { realWorld } from "../../src/world.ts";
import { tempDir } from "../support/temp-dir.ts";
import { API, TX, openWire, startHttp } from "./fixture.ts";

const { ask, server } = await startHttp(tempDir());

beforeAll(async () => {
  await ask("PUT", `${API}/db/notes`);
});

const AUTH = (): string => `authorization: Bearer ${ask.admin}\r\n`;
const BODY = '{"writes":[{"doc":"raw/smuggled","value":{}}]}';

/** Sends bytes and gives the first status line's code, or "closed" when there is no answer at all. */
async function statusOf(text: string): Promise<number | "closed"> {
  const wire = openWire(ask.port);
  wire.socket.write(Buffer.from(text, "latin1"));
  const answer = await wire.until(/^HTTP\/1\.1 \d{3} .*\r\n/).catch(() => "");
  wire.socket.destroy();
  return answer === "" ? "closed" : Number(answer.slice(9, 12));
}

const post = (headers: string, body: string, version = "1.1"): string =>
  `POST ${TX} HTTP/${version}\r\nhost: x\r\n${AUTH()}content-type: application/json\r\n${headers}\r\n${body}`;
const chunked = `${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\n\r\n`;

describe("of two ways to read a request the server takes neither", () => {
  test.each<[string, () => string]>([
    [
      "both Content-Length and Transfer-Encoding",
      () => post(`content-length: ${BODY.length}\r\ntransfer-encoding: chunked\r\n`, chunked),
    ],
    ["two lengths", () => post(`content-length: ${BODY.length}\r\ncontent-length: 1\r\n`, BODY)],
    ["a list of lengths", () => post(`content-length: ${BODY.length}, ${BODY.length}\r\n`, BODY)],
    ["a length with a sign", () => post(`content-length: +${BODY.length}\r\n`, BODY)],
    ["a length in hex", () => post("content-length: 0x10\r\n", BODY)],
    ["a negative length", () => post("content-length: -1\r\n", BODY)],
    ["an enormous length", () => post("content-length: 99999999999999999999\r\n", BODY)],
    ["an unknown transfer coding last", () => post("transfer-encoding: chunked, identity\r\n", chunked)],
    ["a transfer coding with a tail", () => post("transfer-encoding: xchunked\r\n", chunked)],
    ["a space before the colon", () => post("transfer-encoding : chunked\r\n", chunked)],
    ["a folded header", () => post("x: a\r\n transfer-encoding: chunked\r\n", chunked)],
    ["a bare line feed between headers", () => post("x: a\ntransfer-encoding: chunked\r\n", chunked)],
    ["a carriage return in a value", () => post("x: a\rb: c\r\n", BODY)],
    ["a NUL in a value", () => post("x: a\0b\r\n", BODY)],
    ["a chunk size that is none", () => post("transfer-encoding: chunked\r\n", `zz\r\n${BODY}\r\n0\r\n\r\n`)],
    [
      "a chunk longer than it says",
      () => post("transfer-encoding: chunked\r\n", `1\r\n${BODY}\r\n0\r\n\r\n`),
    ],
    ["a method that is none", () => "FROB / HTTP/1.1\r\nhost: x\r\n\r\n"],
    ["a method in lower case", () => "get /healthz HTTP/1.1\r\nhost: x\r\n\r\n"],
    ["another protocol", () => "GET / HTTP/3.7\r\nhost: x\r\n\r\n"],
    ["the preface of HTTP/2", () => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ["TLS", () => "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    ["nothing of HTTP", () => `${"\0".repeat(100)}\r\n\r\n`],
    ["no Host", () => "GET /healthz HTTP/1.1\r\n\r\n"],
    ["a space in the path", () => "GET /health z HTTP/1.1\r\nhost: x\r\n\r\n"],
    ["a NUL in the path", () => "GET /health\0z HTTP/1.1\r\nhost: x\r\n\r\n"],
    ["a tunnel", () => "CONNECT evil:80 HTTP/1.1\r\nhost: x\r\n\r\n"],
    ["a URL of 64 KB", () => `GET /${"a".repeat(65_536)} HTTP/1.1\r\nhost: x\r\n\r\n`],
    ["a header of 64 KB", () => `GET /healthz HTTP/1.1\r\nhost: x\r\nx: ${"a".repeat(65_536)}\r\n\r\n`],
    [
      "ten thousand headers",
      () =>
        `GET /healthz HTTP/1.1\r\nhost: x\r\n${Array.from({ length: 10_000 }, (_, n) => `x-${n}: y\r\n`).join("")}\r\n`,
    ],
    [
      "an expectation that it does not know",
      () => post(`content-length: ${BODY.length}\r\nexpect: 200-maybe\r\n`, BODY),
    ],
  ])("%s", async (_what, text) => {
    const status = await statusOf(text());
    expect(["closed", 400, 405, 408, 413, 417, 431, 505]).toContain(status);
    expect((await ask("GET", `${API}/db/notes/docs/raw/smuggled`)).status).toBe(404);
  });
});

describe("paths as they are written", () => {
  test.each<[string, number]>([
    ["//healthz", 404],
    ["/./healthz", 404],
    ["/x/../healthz", 404],
    ["/healthz%00", 404],
    ["/%68ealthz", 404],
    ["/healthz#x", 200],
    ["/healthz;x=1", 404],
    ["/healthz?", 200],
    ["/healthz?x=1", 400],
    ["http://other.example/healthz", 200],
    ["*", 404],
    ["/api/v1/db/notes/docs/c/%0d%0aset-cookie:%20x", 400],
    ["/api/v1/db/notes/docs/c/%2e%2e%2f%2e%2e", 404],
    ["/api/v1/db/..%2f..%2fetc/docs", 400],
    ["/api/v1/db/notes%00/docs", 400],
    ["/docs/../../../../etc/passwd", 404],
    ["/docs/__proto__", 404],
    ["/constructor", 404],
  ])("%s is %d", async (path, status) => {
    const wire = openWire(ask.port);
    wire.socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n${AUTH()}connection: close\r\n\r\n`);
    const text = await wire.closed();
    expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(text).not.toMatch(/^set-cookie/im);
    expect(text).not.toMatch(/root:/);
  });
});

test("HTTP/1.0 is answered and the connection closed", async () => {
  const wire = openWire(ask.port);
  wire.socket.write("GET /healthz HTTP/1.0\r\n\r\n");
  expect(await wire.closed()).toMatch(/^HTTP\/1\.1 200 [^]*connection: close[^]*\{"ok":true\}$/i);
});

test("a thousand connections that never say anything keep nobody out", async () => {
  const idle = Array.from({ length: 1000 }, () => openWire(ask.port));
  for (const { socket } of idle) socket.write("GET /heal");
  expect((await ask("GET", "/healthz")).status).toBe(200);
  for (const { socket } of idle) socket.destroy();
});

test("what a connection may take its time for has a limit", () => {
  const made = createHttpServer({ world: realWorld } as Services, { request: () => {}, failure: () => {} });
  expect(made).toMatchObject({
    headersTimeout: 30_000,
    requestTimeout: 300_000,
    keepAliveTimeout: 65_000,
    timeout: 60_000,
  });
});

test("after all of it the server lives, and none of it was its failure", async () => {
  expect(server.process.exitCode).toBeNull();
  const { text } = await ask("GET", "/metrics");
  expect(text).toMatch(/^skald_failures_total 0$/m);
});
