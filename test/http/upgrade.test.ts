import { tempDir } from "../support/temp-dir.ts";
import { API, TX, openWire, startHttp, type Wire } from "./fixture.ts";

const { ask } = await startHttp(tempDir());

beforeAll(async () => {
  await ask("PUT", `${API}/db/notes`);
});

describe("an upgrade", () => {
  const KEY = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
  const upgrade = (path: string, more: readonly string[] = []): Wire => {
    const wire = openWire(ask.port);
    const lines = [
      `GET ${path} HTTP/1.1`,
      "host: x",
      "connection: upgrade",
      "upgrade: websocket",
      "sec-websocket-version: 13",
      ...more,
    ];
    wire.socket.write(`${lines.join("\r\n")}\r\n\r\n`);
    return wire;
  };
  const auth = (token: string): string => `authorization: Bearer ${token}`;
  const OURS = [KEY, "sec-websocket-protocol: skald.tx.1"];

  test.each<[string, string, () => Promise<readonly string[]>, number, string]>([
    ["without a token", TX, async () => OURS, 401, "UNAUTHENTICATED"],
    ["with an unknown token", TX, async () => [...OURS, auth("x")], 401, "UNAUTHENTICATED"],
    [
      "with a token for another db",
      TX,
      async () => [...OURS, auth((await ask.token(["other:*"])).token)],
      403,
      "FORBIDDEN",
    ],
    [
      "with a token that may only read",
      TX,
      async () => [...OURS, auth((await ask.token(["notes:doc.read"])).token)],
      403,
      "FORBIDDEN",
    ],
    ["to another path", `${API}/db/notes`, async () => [...OURS, auth(ask.admin)], 404, "NOT_FOUND"],
    [
      "to another branch",
      TX.replace("main", "draft"),
      async () => [...OURS, auth(ask.admin)],
      404,
      "NOT_FOUND",
    ],
    [
      "to a db that is not there",
      TX.replace("notes", "none"),
      async () => [...OURS, auth(ask.admin)],
      404,
      "DB_NOT_FOUND",
    ],
    [
      "to a malformed path",
      TX.replace("notes", "%zz"),
      async () => [...OURS, auth(ask.admin)],
      400,
      "BAD_REQUEST",
    ],
    [
      "to a name that is none",
      TX.replace("notes", "%2e%2e"),
      async () => [...OURS, auth(ask.admin)],
      400,
      "NAME_INVALID",
    ],
    ["without the subprotocol", TX, async () => [KEY, auth(ask.admin)], 400, "BAD_REQUEST"],
    [
      "with another subprotocol",
      TX,
      async () => [KEY, "sec-websocket-protocol: mqtt", auth(ask.admin)],
      400,
      "BAD_REQUEST",
    ],
  ])("%s is refused with a problem document", async (_what, path, more, status, code) => {
    const text = await upgrade(path, [...(await more()), "x-request-id: up-1"]).closed();
    const [head = "", body = ""] = text.split("\r\n\r\n");
    expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} [A-Z]`));
    expect(head).toMatch(/^x-request-id: up-1$/m);
    expect(JSON.parse(body)).toMatchObject({ status, code, request_id: "up-1" });
  });

  test("that ws refuses holds no db", async () => {
    await ask("PUT", `${API}/db/refused`);
    const path = TX.replace("notes", "refused");
    // No key: everything before it is right.
    const text = await upgrade(path, ["sec-websocket-protocol: skald.tx.1", auth(ask.admin)]).closed();
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    const gone = upgrade(path, [...OURS, auth(ask.admin)]);
    await gone.until(/101 Switching/);
    gone.socket.resetAndDestroy();
    expect((await ask("DELETE", `${API}/db/refused?confirm=refused`)).status).toBe(204);
  });

  test("to HTTP/2, which curl and Java's client offer, is ignored", async () => {
    const wire = openWire(ask.port);
    const offer =
      "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n";
    const body = '{"writes":[{"doc":"h2c/a","value":{"n":1}}]}';
    wire.socket.write(
      `POST ${TX} HTTP/1.1\r\nhost: x\r\n${offer}${auth(ask.admin)}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    expect(await wire.until(/"duplicate":false/)).toMatch(/^HTTP\/1\.1 200 /);
    wire.socket.write("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
    await wire.until(/\{"ok":true\}/);
    wire.socket.destroy();
  });
});
