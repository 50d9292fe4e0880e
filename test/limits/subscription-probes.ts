import { once } from "node:events";
import { WebSocket } from "ws";
import { Engine } from "../../src/db/engine.ts";
import type { StoredSubscription } from "../../src/store/contract.ts";
import { Consumer } from "../../src/subscriptions/subscription-consumer.ts";
import { rulesOf, type Definition } from "../../src/subscriptions/subscription-definition.ts";
import { Subscription } from "../../src/subscriptions/subscription.ts";
import { Subscriptions, type DbSubscriptions } from "../../src/subscriptions/subscriptions.ts";
import { tempDir } from "../support/temp-dir.ts";
import { outcomeIn, outcomeOf, type Outcome, type ProbeSpec } from "./probe.ts";
import { DB, ask } from "./server.ts";

const SUBS = `${DB}/subscriptions`;
const x = (count: number): string => "x".repeat(count);

let names = 0;
/** Whether a subscription of this body is made. */
async function made(body: object, name = `probe-${(names += 1)}`): Promise<Outcome> {
  const outcome = outcomeIn(await ask("PUT", `${SUBS}/${name}`, { body }));
  await ask("DELETE", `${SUBS}/${name}`);
  return outcome;
}

const DEFINITION: Definition = {
  mode: "shared",
  include: "none",
  creator: "a",
  created: 0,
  ackMs: 1000,
  maxUnacked: 1,
};

const engines: Engine[] = [];
afterAll(() => Promise.all(engines.map((engine) => engine.close())));

/** Those of a db, kept in memory: a thousand files' writes say nothing of how many there may be. */
async function inMemory(): Promise<DbSubscriptions> {
  const engine = new Engine({ dir: tempDir(), reserve: 0, documents: { workers: 1 } });
  engines.push(engine);
  await engine.create("notes");
  const stored = new Map<string, StoredSubscription>();
  const open = () => ({ stored, write: () => {}, close: () => {} });
  return engine.use("notes", (db) => new Subscriptions({ engine, open, onError: () => {} }).of(db));
}

const machine = (maxAttempts?: number): Subscription =>
  new Subscription(
    rulesOf(DEFINITION),
    { ackMs: 1000, maxUnacked: 10_000, maxAttempts },
    { position: 0, ahead: [], failures: [], parked: [] },
  );
const events = (count: number) => Array.from({ length: count }, (_, i) => ({ seq: i + 1, keys: [] }));

/** A subscription that is there for as long as the tests run. */
let kept: Promise<string> | undefined;
const keptOne = (): Promise<string> =>
  (kept ??= ask("PUT", `${SUBS}/kept`, { body: { mode: "shared" } }).then(() => `${SUBS}/kept`));

export const subscriptionProbes: Readonly<Record<string, ProbeSpec>> = {
  nameCharacters: { cheap: true, run: (n) => made({}, x(n)) },
  perDb: {
    run: async (n) => {
      const all = await inMemory();
      return outcomeOf(async () => {
        for (let i = 0; i < n; i += 1) await all.put(`s${i}`, DEFINITION, 0);
      });
    },
  },
  docs: { cheap: true, run: (n) => made({ docs: Array.from({ length: n }, (_, i) => `c/d${i}`) }) },
  consumers: {
    cheap: true,
    run: async (n) => {
      const all = await inMemory();
      await all.put("s", DEFINITION, 0);
      return outcomeOf(() => {
        for (let i = 0; i < n; i += 1) all.get("s").enter(new Consumer(`c${i}`), false);
      });
    },
  },
  unacked: { cheap: true, run: (n) => made({ max_unacked: n }) },
  ackMsMin: { cheap: true, least: true, run: (n) => made({ ack_ms: n }) },
  ackMsMax: { cheap: true, run: (n) => made({ ack_ms: n }) },
  delayMs: {
    cheap: true,
    run: async (n) =>
      outcomeIn(
        await ask("POST", `${await keptOne()}/nack`, { body: { ids: [1], consumer: "c", delay_ms: n } }),
      ),
  },
  attempts: { cheap: true, run: (n) => made({ max_attempts: n }) },
  open: {
    cheap: true,
    run: (n) => {
      const { room } = machine();
      return room < n ? "waits" : "ok";
    },
  },
  ahead: {
    cheap: true,
    run: (n) => (machine().ack(events(n).map(({ seq }) => 2 * seq)) ? "ok" : "SUBSCRIPTION_LIMIT"),
  },
  parked: {
    cheap: true,
    run: (n) => {
      const sub = machine(1);
      sub.offer(events(n), n);
      sub.join("c", 0);
      sub.nack(
        "c",
        sub.give("c", n, 0).map(({ seq }) => seq),
        0,
        0,
      );
      return sub.parked.length < n ? "ignored" : "ok";
    },
  },
  ids: {
    cheap: true,
    run: async (n) =>
      outcomeIn(
        await ask("POST", `${await keptOne()}/nack`, {
          body: { ids: events(n).map(({ seq }) => seq), consumer: "c" },
        }),
      ),
  },
  frameBytes: {
    cheap: true,
    run: async (n) => {
      const ws = new WebSocket(
        `ws://127.0.0.1:${ask.port}${await keptOne()}/events`,
        "skald.subscription.1",
        {
          headers: { authorization: `Bearer ${ask.admin}` },
        },
      );
      await once(ws, "open");
      ws.send(`{"ack":1${" ".repeat(n - 9)}}`);
      const outcome = await new Promise<Outcome>((resolve) => {
        ws.on("message", (data: Buffer) => data.toString().includes("acked") && resolve("ok"));
        ws.on("close", (code) => resolve(String(code)));
      });
      ws.terminate();
      return outcome;
    },
  },
  queueBytes: {
    cheap: true,
    run: (n) => {
      const consumer = new Consumer("c");
      const event = {
        seq: 1,
        commit: new Uint8Array(36),
        time: 0,
        branch: "main",
        author: "a",
        message: x(n - 200),
        docs: [],
      };
      consumer.put([{ event, attempt: 1 }]);
      return consumer.room > 0 ? "ok" : "waits";
    },
  },
};
