import type { LIMITS } from "../../src/limits.ts";
import { tempDir } from "../support/temp-dir.ts";
import { BOUNDS, WatchingEngine } from "../query/watch-fixture.ts";
import { outcomeOf, type Outcome, type ProbeSpec } from "./probe.ts";

let on: Promise<WatchingEngine> | undefined;
afterAll(async () => (await on)?.close());

async function made(): Promise<WatchingEngine> {
  const engine = new WatchingEngine(tempDir());
  await engine.engine.create("n");
  return engine;
}

/** What the last of `n` hears who watch one statement. */
async function joined(n: number, principalOf: (i: number) => string): Promise<Outcome> {
  const engine = await (on ??= made());
  return engine.engine.use("n", async (db) => {
    const watches = engine.watches(db, (tables) => tables);
    const ask = { sql: "SELECT 1", args: [], branch: "main", bounds: BOUNDS, delta: false };
    const listener = { changed: () => {}, failed: () => {} };
    const outcome = await outcomeOf(async () => {
      const all = Array.from({ length: n }, (_, i) =>
        watches.join({ ...ask, principal: principalOf(i) }, listener),
      );
      await Promise.all(all.map(({ ready }) => ready));
      if (watches.evaluations !== 1) throw new Error(`${watches.evaluations} evaluations`);
    });
    watches.close();
    return outcome;
  });
}

export const watchProbes: Readonly<Record<keyof (typeof LIMITS)["watch"], ProbeSpec>> = {
  perDb: { run: (n) => joined(n, (i) => `p${i}`) },
  perToken: { cheap: true, run: (n) => joined(n, () => "p") },
};
