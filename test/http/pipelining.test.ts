import { tempDir } from "../support/temp-dir.ts";
import { API, openWire, startHttp } from "./fixture.ts";

const { ask } = await startHttp(tempDir());
const DB = `${API}/db/notes`;

beforeAll(async () => {
  await ask("PUT", DB);
  for (const key of ["a", "b", "c"]) {
    await ask("PUT", `${DB}/docs/large/${key}`, { body: { text: "x".repeat(700_000) } });
  }
});

const get = (path: string, id: string): string =>
  `GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${ask.admin}\r\nx-request-id: ${id}\r\n\r\n`;

/** How many requests of a route the server has answered. */
async function answered(route: string): Promise<number> {
  const { text } = await ask("GET", "/metrics");
  const line = new RegExp(`^skald_http_requests_total\\{[^}]*route="${route}"[^}]*\\} (\\d+)$`, "m").exec(
    text,
  );
  return Number(line?.[1] ?? 0);
}

describe("requests that follow each other on one connection without waiting", () => {
  test("are answered in their order, the refused ones too", async () => {
    const wire = openWire(ask.port);
    const paths = [`${DB}/docs/large/a`, `${DB}/docs/large/none`, "/healthz", "/nowhere", `${DB}/docs`];
    wire.socket.write(Array.from({ length: 40 }, (_, i) => get(paths[i % 5] as string, `id-${i}`)).join(""));
    const text = await wire.until(/x-request-id: id-39\r\n[^]*\}/);
    expect([...text.matchAll(/x-request-id: (id-\d+)\r\n/g)].map((match) => match[1])).toEqual(
      Array.from({ length: 40 }, (_, i) => `id-${i}`),
    );
    expect([...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].slice(0, 5).map((match) => match[1])).toEqual([
      "200",
      "404",
      "200",
      "404",
      "200",
    ]);
    wire.socket.destroy();
  });

  test("begin only when the answer before is taken: who reads nothing makes the server hold one", async () => {
    const before = await answered("/db/:db/docs");
    const wire = openWire(ask.port);
    wire.socket.pause();
    wire.socket.write(
      Array.from({ length: 300 }, (_, i) => get(`${DB}/docs?values=true`, `p-${i}`)).join(""),
    );
    let seen = 0;
    for (let still = 0; still < 3;) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      const now = await answered("/db/:db/docs");
      still = now > before && now === seen ? still + 1 : 0;
      seen = now;
    }
    // What the kernel takes off the server's hands are some of these answers of 2 MB, not 300.
    expect(seen - before).toBeLessThan(30);
    wire.socket.destroy();
    // Those that had not begun never do.
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect((await answered("/db/:db/docs")) - before).toBeLessThan(30);
    expect((await ask("GET", `${DB}/docs/large/a`)).status).toBe(200);
  });
});
