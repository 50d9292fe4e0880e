import { readConfig } from "../../src/config.ts";
import { tempDir } from "../support/temp-dir.ts";
import { API, startHttp } from "./fixture.ts";

const APP = "https://app.example.com";
const { ask } = await startHttp(tempDir(), { args: ["--cors-origin", `${APP},http://localhost:5173`] });
const { ask: closed } = await startHttp(tempDir());
const { ask: open } = await startHttp(tempDir(), { env: { SKALD_CORS_ORIGIN: "*" } });
const DOC = `${API}/db/notes/docs/a/b`;
await ask("PUT", `${API}/db/notes`);

const cors = (headers: object): object =>
  Object.fromEntries(
    Object.entries(headers).filter(([name]) => name.startsWith("access-control-") || name === "vary"),
  );

test("a page of an origin that is allowed may read answers and the headers that it needs", async () => {
  await ask("PUT", DOC, { headers: { origin: APP }, body: { n: 1 } });
  const read = await ask("GET", DOC, { headers: { origin: APP } });
  expect(read.status).toBe(200);
  expect(cors(read.headers)).toEqual({
    "access-control-allow-origin": APP,
    "access-control-expose-headers": expect.stringMatching(
      /\betag\b.*\bretry-after\b.*\bskald-cursor\b/,
    ) as string,
    vary: "accept, origin",
  });
  expect(read.headers).not.toHaveProperty("access-control-allow-credentials");
});

test("errors can be read too, whoever gives them", async () => {
  for (const [path, token, status] of [
    [DOC, null, 401],
    [`${DOC}x`, ask.admin, 404],
    [`${API}/nothing`, ask.admin, 404],
    [`${API}/db/no%20name`, ask.admin, 400],
  ] as const) {
    const { status: got, headers } = await ask("GET", path, { token, headers: { origin: APP } });
    expect([got, headers["access-control-allow-origin"]]).toEqual([status, APP]);
  }
});

test("a preflight names what may be asked, without a credential", async () => {
  const preflight = (origin: string) =>
    ask("OPTIONS", DOC, {
      token: null,
      headers: {
        origin,
        "access-control-request-method": "PATCH",
        "access-control-request-headers": "authorization,content-type,idempotency-key",
        "access-control-request-private-network": "true",
      },
    });
  const allowed = await preflight("http://localhost:5173");
  expect(allowed.status).toBe(204);
  expect(cors(allowed.headers)).toEqual({
    "access-control-allow-origin": "http://localhost:5173",
    "access-control-allow-methods": "GET, HEAD, PUT, PATCH, DELETE, OPTIONS",
    "access-control-allow-headers": expect.stringMatching(
      /authorization.*content-type.*idempotency-key/,
    ) as string,
    "access-control-allow-private-network": "true",
    "access-control-max-age": "7200",
    vary: "origin",
  });
  const refused = await preflight("https://evil.example.com");
  expect(cors(refused.headers)).toEqual({ vary: "origin" });
});

test.each([
  "https://evil.example.com",
  "https://app.example.com.evil.com",
  "http://app.example.com",
  "null",
  "",
])("a page of %p is told nothing", async (origin) => {
  const { headers } = await ask("GET", DOC, { headers: { origin } });
  expect(cors(headers)).toEqual({ vary: "accept, origin" });
});

test("without the setting nothing is said to anybody", async () => {
  for (const method of ["GET", "OPTIONS"]) {
    const { headers } = await closed(method, `${API}/db`, {
      headers: { origin: APP, "access-control-request-method": "GET" },
    });
    expect(cors(headers)).toEqual({});
  }
});

test("with * every page may, and answers are the same for all", async () => {
  const { headers } = await open("GET", `${API}/db`, { headers: { origin: "https://any.example.com" } });
  expect(cors(headers)).toMatchObject({ "access-control-allow-origin": "*" });
  expect(headers["vary"]).toBeUndefined();
});

test.each([
  "https://a.example.com/",
  "a.example.com",
  "https://A.example.com",
  "https://a b",
  "",
  "https://*.b.c",
])("the setting does not take %p", (origin) => {
  expect(() => readConfig({ corsOrigin: origin }, {})).toThrow(/--cors-origin/);
});

test.each(["none", "*", "null", "capacitor://localhost", "http://[::1]:8080", "https://a.b, https://c.d"])(
  "the setting takes %p",
  (origin) => {
    expect(readConfig({ corsOrigin: origin }, {}).corsOrigin).toEqual(
      origin === "none" ? [] : origin.split(", "),
    );
  },
);
