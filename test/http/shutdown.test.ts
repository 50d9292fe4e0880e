import { once } from "node:events";
import { openDb } from "../../src/index.ts";
import { startServer, type SkaldServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";
import { API, TX, openWire, type Wire } from "./fixture.ts";

const [gentle, hasty, slow] = await Promise.all([
  startServer(tempDir()),
  startServer(tempDir()),
  startServer(tempDir()),
]);

const portOf = (server: SkaldServer): number => Number(new URL(server.url).port);

/** A write whose last byte is still to be sent. */
async function underWay(server: SkaldServer, key: string): Promise<{ wire: Wire; finish: () => void }> {
  const wire = openWire(portOf(server));
  const body = JSON.stringify({ writes: [{ doc: `stop/${key}`, value: { key } }] });
  const head = `POST ${TX} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${server.token as string}\r\nexpect: 100-continue\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
  await new Promise((resolve) => wire.socket.write(head + body.slice(0, -1), resolve));
  // By then the server is at work on it.
  await wire.until(/100 Continue/);
  return { wire, finish: () => void wire.socket.write(body.slice(-1)) };
}

const said = async (server: SkaldServer, text: string): Promise<void> => {
  while (!server.log().includes(text)) await once(server.process.stderr as NodeJS.ReadableStream, "data");
};

beforeAll(async () => {
  for (const { url, token } of [gentle, hasty, slow]) {
    await fetch(`${url}${API}/db/notes`, {
      method: "PUT",
      headers: { authorization: `Bearer ${token as string}` },
    });
  }
});

test("SIGTERM lets requests under way finish, takes no new ones, and ends with 0", async () => {
  const writes = await Promise.all(["a", "b", "c"].map((key) => underWay(gentle, key)));
  const idle = openWire(portOf(gentle));
  idle.socket.write("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
  await idle.until(/\{"ok":true\}/);
  const pipelined = await underWay(gentle, "d");
  const code = gentle.stop();
  await said(gentle, "finishing what is under way");
  // An idle connection is closed, a new one refused, and a new request on an old one hears why.
  await idle.closed();
  const late = openWire(portOf(gentle));
  expect(await late.closed()).toBe("");
  pipelined.finish();
  for (const { finish } of writes) finish();
  for (const { wire } of [...writes, pipelined]) {
    const text = await wire.closed();
    expect(text).toMatch(/HTTP\/1\.1 200 [^]*connection: close[^]*"duplicate":false/i);
  }
  expect(await code).toBe(0);
  expect(await namesIn(gentle.dir)).toEqual(["stop/a", "stop/b", "stop/c", "stop/d"]);
  // Less than the time after which a stop closes what is left: nothing was left.
}, 7000);

async function namesIn(dir: string): Promise<string[]> {
  const opened = await openDb(dir, "notes", { create: false });
  const names = opened.db.log.list("", "", 100).map(({ name }) => name);
  await opened.close();
  return names;
}

test("a request that does not finish holds the stop up for eight seconds, not longer", async () => {
  const { wire } = await underWay(slow, "never");
  expect(await slow.stop()).toBe(0);
  expect(await wire.closed()).not.toContain("200 OK");
}, 15_000);

test("a second SIGTERM ends at once", async () => {
  const { wire } = await underWay(hasty, "never");
  const code = hasty.stop();
  await said(hasty, "finishing what is under way");
  hasty.process.kill("SIGTERM");
  expect(await code).toBe(1);
  wire.socket.destroy();
});
