import { ERROR_CODES } from "../../src/errors.ts";
import { MOUNTS } from "../../src/http/server.ts";
import { tempDir } from "../support/temp-dir.ts";
import { API, TX, startHttp } from "./fixture.ts";

const { ask, server } = await startHttp(tempDir(), { args: ["--log-level", "debug"] });
const ROUTES = MOUNTS.flatMap(({ base, routes }) =>
  routes.map((route) => ({ path: base + route.path, route })),
);

type Operation = {
  operationId: string;
  summary: string;
  security: Record<string, string[]>[];
  responses: Record<string, { description: string; content?: Record<string, { schema: unknown }> }>;
  parameters?: { in: string; name: string; required?: boolean; schema: unknown }[];
  requestBody?: { content: Record<string, { schema: unknown }> };
};
interface OpenApi {
  openapi: string;
  info: { title: string; version: string };
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, unknown>; securitySchemes: Record<string, unknown> };
}

test("health, readiness and status", async () => {
  expect((await ask("GET", "/healthz", { token: null })).json).toEqual({ ok: true });
  expect((await ask("GET", "/readyz", { token: null })).json).toEqual({ ok: true });
  expect((await ask("GET", "/status")).json).toMatchObject({
    version: expect.stringMatching(/^\d+\.\d+\.\d+/) as string,
    node: expect.stringMatching(/^v\d+/) as string,
    automerge: expect.stringMatching(/^\d+\./) as string,
    dbs: { known: expect.any(Number) as number, open: expect.any(Number) as number },
  });
});

test("metrics parse, count what was asked, and neither they nor the log name what they must not", async () => {
  const canaries = [
    "canary-db",
    "canary-collection",
    "canary-key",
    "canary-value",
    "canary-message",
    "canary-txid",
  ];
  const [db, collection, key, value, message, txid] = canaries as [
    string,
    string,
    string,
    string,
    string,
    string,
  ];
  const { token } = await ask.token([`${db}:*`]);
  await ask("PUT", `${API}/db/${db}`, { token });
  await ask("PUT", `${API}/db/${db}/docs/${collection}/${key}`, { token, body: { value } });
  const write = {
    message,
    client_tx_id: txid,
    writes: [{ doc: `${collection}/${key}`, value: { value: 2 } }],
  };
  await ask("POST", TX.replace("notes", db), { token, body: write });
  await ask("POST", TX.replace("notes", db), {
    token,
    body: { writes: [{ doc: `${collection}/${key}`, value: { "": "\ud800" } }] },
  });
  await ask("GET", `${API}/db/${db}/docs/${collection}/${key}x?at=0`, { token });
  await ask("GET", `/${db}/${token}?ticket=${token}`, { token: `${token}x` });
  const { text, headers } = await ask("GET", "/metrics");
  expect(headers["content-type"]).toMatch(/^text\/plain; version=0\.0\.4/);
  const samples = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  expect(samples.length).toBeGreaterThan(30);
  for (const line of samples) {
    expect(line).toMatch(
      /^[a-zA-Z_:][\w:]*(\{([a-zA-Z_]\w*="([^"\\\n]|\\.)*",?)*\})? (NaN|[-+]?(Inf|\d[\d.eE+-]*))$/,
    );
  }
  expect(text).toContain(
    'skald_http_requests_total{method="POST",route="/db/:db/branches/:branch/tx",status="200"} 1',
  );
  expect(text).toContain('skald_http_requests_total{method="GET",route="none",status="404"} 1');
  for (const canary of [...canaries, token, ask.admin]) expect(text).not.toContain(canary);
  // Where the token of the first start is shown is no log.
  const log = server
    .log()
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .join("\n");
  expect(log).toContain('"route":"/db/:db/branches/:branch/tx"');
  for (const secret of [token, ask.admin, value, key]) expect(log).not.toContain(secret);
});

/** OpenAPI 3.1 has no word for the method QUERY; what it does, `POST …/query/exec` does. */
const DESCRIBED = ROUTES.filter(({ route }) => route.method !== "QUERY");

describe("the OpenAPI document", () => {
  let api: OpenApi;
  beforeAll(async () => {
    api = (await ask("GET", "/api/openapi.json", { token: null })).json as unknown as OpenApi;
  });

  test("is 3.1, has every route and no other", () => {
    expect([api.openapi, api.info.title]).toEqual(["3.1.0", "Skald"]);
    const there = Object.entries(api.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    const wanted = DESCRIBED.map(
      ({ path, route }) => `${route.method} ${path.replaceAll(/:(\w+)/g, "{$1}")}`,
    );
    expect(there.sort()).toEqual(wanted.sort());
  });

  test("says of every operation what it answers, who may call it and what its path holds", () => {
    const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
      Object.values(methods).map((operation) => ({ path, operation })),
    );
    expect(new Set(operations.map(({ operation }) => operation.operationId)).size).toBe(operations.length);
    for (const { path, operation } of operations) {
      expect(operation.summary).toMatch(/./);
      expect(Array.isArray(operation.security)).toBe(true);
      expect(
        operation.security.every((scheme) =>
          Object.keys(scheme).every((name) => name in api.components.securitySchemes),
        ),
      ).toBe(true);
      const statuses = Object.keys(operation.responses);
      expect(statuses).toContain("default");
      expect(statuses.some((status) => /^[23]\d\d$/.test(status))).toBe(true);
      expect(Object.values(operation.responses).every(({ description }) => description !== "")).toBe(true);
      const inPath = (operation.parameters ?? []).filter((parameter) => parameter.in === "path");
      expect(inPath.every(({ required }) => required === true)).toBe(true);
      expect(inPath.map(({ name }) => name)).toEqual(
        [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]),
      );
    }
  });

  test("refers only to what it holds, and tells what is public", () => {
    const text = JSON.stringify(api);
    for (const [, name] of text.matchAll(/"#\/components\/schemas\/(\w+)"/g))
      expect(api.components.schemas).toHaveProperty(name as string);
    const open = ROUTES.filter(({ route }) => route.access === "public").map(
      ({ route, path }) => `${route.method} ${path.replaceAll(/:(\w+)/g, "{$1}")}`,
    );
    const free = Object.entries(api.paths).flatMap(([path, methods]) =>
      Object.entries(methods)
        .filter(([, { security }]) => security.length === 0)
        .map(([method]) => `${method.toUpperCase()} ${path}`),
    );
    expect(free.sort()).toEqual(open.sort());
  });
});

describe("the reference", () => {
  test("as a page loads nothing and runs nothing", async () => {
    const { text, headers } = await ask("GET", "/docs", { token: null });
    expect(headers["content-security-policy"]).toMatch(
      /^default-src 'none'; style-src 'sha256-[^']+'; img-src data:; base-uri 'none'; frame-ancestors 'none'$/,
    );
    for (const [, url] of text.matchAll(/\b(?:src|href|action)="([^"]*)"/g))
      expect(url).toMatch(/^(#|\/(?!\/)|data:)/);
    expect(text).not.toMatch(/<script|<link[^>]+stylesheet|@import|url\(|\son\w+=|\sstyle="/i);
    for (const { path } of ROUTES) expect(text).toContain(path.replaceAll(/:(\w+)/g, "{$1}"));
    for (const code of Object.keys(ERROR_CODES)) expect(text).toContain(`id="${code}"`);
    // Every link within the page leads somewhere.
    for (const [, id] of text.matchAll(/href="#([^"]+)"/g)) expect(text).toContain(`id="${id}"`);
  });

  test("as text has every route, its action and every code", async () => {
    const { text, headers } = await ask("GET", "/docs/llm", { token: null });
    expect(headers["content-type"]).toBe("text/plain; charset=utf-8");
    for (const { path, route } of DESCRIBED)
      expect(text).toContain(`## ${route.method} ${path.replaceAll(/:(\w+)/g, "{$1}")}\n`);
    for (const code of Object.keys(ERROR_CODES)) expect(text).toContain(`- ${code} (`);
  });
});

test("every answer has the same headers against sniffing, framing and leaking", async () => {
  for (const [method, path] of [
    ["GET", "/healthz"],
    ["GET", "/nowhere"],
    ["POST", TX],
    ["OPTIONS", "/docs"],
    ["GET", `${API}/db`],
    ["GET", "/%zz"],
  ] as const) {
    const { headers } = await ask(method, path);
    expect(headers).toMatchObject({
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cross-origin-resource-policy": "same-origin",
      "content-security-policy": expect.stringMatching(
        /^default-src 'none'; .*frame-ancestors 'none'/,
      ) as string,
    });
    expect(headers["x-powered-by"]).toBeUndefined();
  }
});

test("nothing of the server's failed meanwhile", async () => {
  const { text } = await ask("GET", "/metrics");
  expect(text).toMatch(/^skald_failures_total 0$/m);
});
