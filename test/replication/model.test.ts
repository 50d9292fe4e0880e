import * as fc from "fast-check";
import { jest } from "@jest/globals";
import { sqliteFiles, type DbFiles } from "../../src/db/files.ts";
import type { Engine } from "../../src/db/engine.ts";
import { pull, push } from "../../src/replication/exchange.ts";
import type { AdoptedLine } from "../../src/store/contract.ts";
import { StorageAround } from "../support/broken-builds.ts";
import { seedOf } from "../support/fault-process.ts";
import { memoryDir } from "../support/temp-dir.ts";
import {
  brokeOff,
  carrying,
  closeEngine,
  codeOf,
  lineOf,
  openEngine,
  peerOf,
  put,
  wrongWith,
  type Weather,
} from "./fixture.ts";

/**
 * Three copies of a db that write, pull, push, compact, sign with ever other keys and fail half way in any order. Whatever came before: once
 * they have exchanged what they have they hold the same commits, and everything that was acknowledged is in them.
 */
jest.setTimeout(600_000);
const seed = seedOf();
const RUNS = Number(process.env["SKALD_TEST_RUNS"] ?? 4);

const NAMES = ["one", "two", "three"] as const;
type Name = (typeof NAMES)[number];
const name = fc.constantFrom(...NAMES);
type Step =
  | { readonly do: "write"; readonly at: Name; readonly doc: number; readonly gone: boolean }
  | { readonly do: "pull" | "push"; readonly at: Name; readonly with: Name; readonly fault: Fault }
  | { readonly do: "compact"; readonly at: Name }
  | { readonly do: "rotate" };
type Fault = "none" | "cut" | "lost before" | "lost after" | "dies before adopting" | "dies after adopting";

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("write" as const),
      at: name,
      doc: fc.nat(3),
      gone: fc.nat(9).map((n) => n === 0),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom("pull" as const, "push" as const),
      at: name,
      with: name,
      fault: fc.constantFrom<Fault>(
        "none",
        "none",
        "cut",
        "lost before",
        "lost after",
        "dies before adopting",
        "dies after adopting",
      ),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("compact" as const), at: name }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("rotate" as const) }) },
);

/** Files of a process that ends at a step of the adoption: nothing of it is done after that. */
function dying(fault: () => Fault): DbFiles {
  return {
    ...sqliteFiles,
    openLog: (...args) =>
      new (class extends StorageAround {
        override async adopt(line: AdoptedLine): Promise<void> {
          if (fault() === "dies before adopting") throw brokeOff();
          await super.adopt(line);
          if (fault() === "dies after adopting") throw brokeOff();
        }
      })(sqliteFiles.openLog(...args)),
  };
}

class World {
  engine: Engine;
  fault: Fault = "none";
  readonly receipts: { seq: number; commit: string }[] = [];
  readonly #dir = memoryDir();
  #count = 0;

  constructor() {
    this.engine = this.#open();
  }

  #open(): Engine {
    return openEngine(
      this.#dir,
      dying(() => this.fault),
      "always",
    );
  }

  async begin(): Promise<void> {
    await this.engine.create(NAMES[0]);
    const uid = await this.engine.use(NAMES[0], ({ log }) => log.identity.uid);
    for (const other of NAMES.slice(1)) await this.engine.create(other, uid);
  }

  async run(todo: Step): Promise<void> {
    if (todo.do === "write") await this.#write(todo);
    else if (todo.do === "compact") await this.engine.use(todo.at, (db) => db.compact());
    else if (todo.do === "rotate") await this.engine.rotateKey();
    else if (todo.at !== todo.with) await this.#exchange(todo);
  }

  async #write({ at, doc, gone }: Step & { do: "write" }): Promise<void> {
    const key = `notes/${doc}`;
    const clientTxId = `${at}-${++this.#count}`;
    if (!gone) {
      this.receipts.push(await put(this.engine, key, { [at]: this.#count }, { db: at, clientTxId }));
      return;
    }
    const receipt = await this.engine
      .use(at, (db) => db.tx({ author: "ann", clientTxId, writes: [{ doc: key, delete: true }] }))
      .catch(() => undefined);
    if (receipt) this.receipts.push(receipt);
  }

  async #exchange({ do: what, at, with: other, fault }: Step & { do: "pull" | "push" }): Promise<void> {
    this.fault = fault;
    let bad = fault === "lost before" || fault === "lost after";
    const lost = (): "before" | "after" | undefined => {
      const now = bad ? (fault === "lost before" ? "before" : "after") : undefined;
      bad = false;
      return now;
    };
    let cuts = fault === "cut" ? 1 : 0;
    const cut = (): number => (cuts-- > 0 ? 700 : Infinity);
    const weather: Weather = { lost, cut };
    const pair = { here: peerOf(this.engine, at, weather), there: peerOf(this.engine, other, weather) };
    const code = await codeOf(() => (what === "pull" ? pull : push)(pair, carrying));
    expect(code).toMatch(/^(none|ECONNRESET|SYNC_DIVERGED)$/);
    const died = fault.startsWith("dies");
    this.fault = "none";
    if (!died) return;
    await closeEngine(this.engine);
    this.engine = this.#open();
  }

  /** Exchanges everything: each with the first, until nothing moves. */
  async converge(): Promise<void> {
    for (let round = 0; round < 4; round += 1) {
      for (const other of NAMES.slice(1)) {
        const pair = { here: peerOf(this.engine, other), there: peerOf(this.engine, NAMES[0]) };
        await push(pair, carrying);
        await pull(pair, carrying);
      }
    }
  }
}

test(`copies that exchange what they have are the same, and nothing acknowledged is missing (seed ${seed})`, async () => {
  const tally: Record<string, number> = {};
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 30 }), async (steps) => {
      const world = new World();
      try {
        await world.begin();
        for (const todo of steps) {
          tally[todo.do] = (tally[todo.do] ?? 0) + 1;
          await world.run(todo);
        }
        await world.converge();
        const [first, ...others] = await Promise.all(NAMES.map((at) => lineOf(world.engine, at)));
        for (const line of others) expect(line).toEqual(first);
        for (const at of NAMES.slice(0, 2))
          expect(await wrongWith(world.engine, at, world.receipts)).toEqual([]);
        const lives = await world.engine.use(NAMES[1], ({ log }) => log.epoch);
        tally["lives"] = (tally["lives"] ?? 0) + lives - 1;
      } finally {
        await closeEngine(world.engine);
      }
    }),
    { numRuns: RUNS, seed, endOnFailure: true },
  );
  expect(tally["lives"]).toBeGreaterThan(0);
  if (process.env["SKALD_TEST_RUNS"])
    process.stderr.write(`${JSON.stringify({ seed, runs: RUNS, ...tally })}\n`);
});
