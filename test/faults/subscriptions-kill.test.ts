import { WebSocket } from "ws";
import { seedOf, seeded } from "../support/fault-process.ts";
import { startServer, type SkaldServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";

const CYCLES = Number(process.env["SKALD_TEST_CYCLES"] ?? 1);
const DB = "/api/v1/db/notes";

interface Event {
  readonly seq: number;
  readonly attempt: number;
}

/** What a consumer was given and what it was told is durable, over all lives of the server. */
class Ledger {
  readonly given = new Map<number, number>();
  readonly acked = new Set<number>();
  readonly wrong: string[] = [];
  last = 0;
}

interface Life {
  readonly server: SkaldServer;
  readonly ask: (method: string, path: string, body?: object) => Promise<Record<string, unknown>>;
}

async function begin(dir: string, token: string | undefined): Promise<Life & { token: string }> {
  const server = await startServer(dir);
  const known = token ?? (server.token as string);
  return {
    server,
    token: known,
    ask: async (method, path, body) => {
      const reply = await fetch(server.url + path, {
        method,
        headers: { authorization: `Bearer ${known}`, "content-type": "application/json" },
        ...(body ? { body: JSON.stringify(body) } : {}),
      });
      const text = await reply.text();
      if (!reply.ok) throw new Error(text);
      return (text === "" ? {} : JSON.parse(text)) as Record<string, unknown>;
    },
  };
}

/** Consumes for as long as the server lives; acknowledges most events, keeps some and gives some back. */
function consume(url: string, token: string, name: string, ledger: Ledger, random: () => number): WebSocket {
  const ws = new WebSocket(
    `${url.replace("http", "ws")}${DB}/subscriptions/${name}/events`,
    "skald.subscription.1",
    { headers: { authorization: `Bearer ${token}` } },
  );
  let highest = 0;
  ws.on("error", () => {});
  ws.on("message", (data: Buffer) => {
    const said = JSON.parse(data.toString()) as { events?: Event[]; acked?: number[] };
    for (const seq of said.acked ?? []) {
      if (name === "single") for (let n = 1; n <= seq; n += 1) ledger.acked.add(n);
      else ledger.acked.add(seq);
    }
    for (const { seq, attempt } of said.events ?? []) {
      if (ledger.acked.has(seq)) ledger.wrong.push(`${name}: ${seq} came again after it was acknowledged`);
      if (name === "single") {
        if (attempt === 1 && seq > highest + 1 && highest > 0)
          ledger.wrong.push(`${name}: ${seq} came after ${highest}`);
        highest = seq;
      }
      ledger.given.set(seq, (ledger.given.get(seq) ?? 0) + 1);
      const what = random();
      if (what < 0.85) ws.send(JSON.stringify({ ack: seq }));
      else if (what < 0.9) ws.send(JSON.stringify({ nack: seq }));
    }
  });
  return ws;
}

test("consumers of a server that is killed and started again lose no event, and get none again that was acknowledged", async () => {
  const seed = seedOf();
  const random = seeded(seed);
  const dir = tempDir();
  let life = await begin(dir, undefined);
  const { token } = life;
  await life.ask("PUT", DB);
  await life.ask("PUT", `${DB}/subscriptions/single`, { mode: "single" });
  await life.ask("PUT", `${DB}/subscriptions/shared`, { mode: "shared", ack_ms: 300, max_unacked: 8 });
  const ledgers = { single: new Ledger(), shared: new Ledger() };
  let written = 0;
  for (let cycle = 0; cycle < CYCLES; cycle += 1) {
    const { server, ask } = life;
    const sockets = [
      consume(server.url, token, "single", ledgers.single, random),
      consume(server.url, token, "shared", ledgers.shared, random),
      consume(server.url, token, "shared", ledgers.shared, random),
    ];
    const enough = written + 30 + Math.floor(random() * 60);
    const put = async (): Promise<void> => {
      for (;;) {
        const receipt = await ask("PUT", `${DB}/docs/c/d${written % 7}`, { n: random() });
        written = Math.max(written, receipt["seq"] as number);
        if (written >= enough) return;
      }
    };
    await Promise.all([put(), put(), put()]);
    // Somewhere between an event, its acknowledgement and the answer to that.
    for (let turns = Math.floor(random() * 20); turns > 0; turns -= 1) await new Promise(setImmediate);
    const gone = Promise.all(sockets.map((ws) => new Promise((resolve) => ws.once("close", resolve))));
    await server.stop("SIGKILL");
    await gone;
    life = await begin(dir, token);
  }
  const { server, ask } = life;
  written = (await ask("GET", DB))["seq"] as number;
  for (const name of ["single", "shared"] as const) {
    const ledger = ledgers[name];
    const calm = (): number => 0.5;
    const ws = consume(server.url, token, name, ledger, calm);
    while (((await ask("GET", `${DB}/subscriptions/${name}`))["seq"] as number) < written)
      await new Promise((resolve) => setTimeout(resolve, 20));
    ws.terminate();
    const missing = Array.from({ length: written }, (_, i) => i + 1).filter((seq) => !ledger.given.has(seq));
    expect({ seed, name, missing, wrong: ledger.wrong }).toEqual({ seed, name, missing: [], wrong: [] });
  }
  // The kills were in the middle of it.
  expect([...ledgers.shared.given.values()].some((times) => times > 1)).toBe(true);
  await server.stop();
}, 120_000);
