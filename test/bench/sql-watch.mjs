import path from "node:path";
import { Engine } from "../../dist/db/engine.js";
import { writeEvents } from "../../dist/db/write-events.js";
import { WatchFollower } from "../../dist/http/watch-follower.js";
import { openQueries } from "../../dist/query/open.js";
import { realWorld } from "../../dist/world.js";
import { median, row } from "./figures.mjs";

const BOUNDS = { ms: 5000, rows: 5000, bytes: 1024 * 1024 };

/**
 * Watches of SQL, in the process that serves them: what a write costs it that concerns one of 10,000 watches, beside
 * one of 10; how often equal ones are evaluated; what a burst becomes.
 */
export async function run({ dir, quick }) {
  const keys = quick ? 2000 : 10_000;
  const rounds = quick ? 3 : 7;
  const writes = 20;
  const engine = new Engine({ dir: path.join(dir, "sql-watch"), reserve: 0, documents: { workers: 1 } });
  const sql = openQueries({ engine, onError: (error) => process.stderr.write(`${error.stack}\n`) });
  const watching = new Set();
  // Nothing here keeps a process alive: in a server its sockets do.
  const alive = setInterval(() => {}, 1000);
  const open = async (db, statement, args) => {
    const seen = { events: 0, wake: () => {} };
    const follower = new WatchFollower({
      db,
      format: "sse",
      delta: false,
      clock: sql.watches.clock,
      world: realWorld,
      valid: () => true,
      heartbeat: 15_000,
      unreadBytes: 2 ** 30,
      unreadMs: 2 ** 30,
      requestId: "",
      failed: () => {},
      done: () => {},
    });
    const ask = {
      sql: statement,
      args,
      branch: "main",
      bounds: BOUNDS,
      principal: `p${watching.size % 16}`,
      delta: false,
    };
    await follower.join((listener) => sql.watches.of(db).join(ask, listener));
    follower.open(
      {
        write: () => {
          seen.events += 1;
          seen.wake();
        },
        unread: 0,
        end: () => {},
      },
      undefined,
      undefined,
    );
    watching.add(follower);
    return seen;
  };
  const put = (db, key, n) =>
    db.tx({
      author: "a",
      writes: [{ doc: `tasks/k${key}`, edit: { kind: "put", value: JSON.stringify({ n }) } }],
    });
  const fill = async (db) => {
    await writeEvents(db, {
      author: "a",
      events: [{ type: "schema.change", sql: "CREATE TABLE tasks (id TEXT PRIMARY KEY, n INTEGER)" }],
    });
    for (let from = 0; from < keys; from += 500)
      await db.tx({
        author: "a",
        writes: Array.from({ length: 500 }, (_, i) => ({
          doc: `tasks/k${from + i}`,
          edit: { kind: "put", value: '{"n":-1}' },
        })),
      });
  };
  const counts = { few: 10, many: keys };
  const seen = { few: [], many: [] };
  const costs = { few: [], many: [] };
  const held = [];
  try {
    for (const name of ["few", "many", "burst"]) {
      await engine.create(name);
      held.push(engine.hold(name));
    }
    const [few, many, burst] = held.map(({ db }) => db);
    const dbs = { few, many };
    for (const name of ["few", "many"]) {
      await fill(dbs[name]);
      for (let from = 0; from < counts[name]; from += 100)
        seen[name].push(
          ...(await Promise.all(
            Array.from({ length: Math.min(100, counts[name] - from) }, (_, i) =>
              open(dbs[name], "SELECT n FROM tasks WHERE id = ?", [`k${from + i}`]),
            ),
          )),
        );
    }
    let n = 0;
    const before = sql.watches.totals().evaluations;
    for (let round = 0; round <= rounds; round += 1) {
      for (const name of ["few", "many"]) {
        const start = process.cpuUsage();
        for (let i = 0; i < writes; i += 1) {
          const key = i % 10;
          const told = new Promise((resolve) => (seen[name][key].wake = resolve));
          await put(dbs[name], key, (n += 1));
          await told;
        }
        const { user, system } = process.cpuUsage(start);
        // The first round is everyone's warm-up.
        if (round > 0) costs[name].push((user + system) / writes / 1000);
      }
    }
    const evaluations = sql.watches.totals().evaluations - before;
    const wanted = 2 * (rounds + 1) * writes;
    await fill(burst);
    const atFirst = sql.watches.totals().evaluations;
    const equal = await Promise.all(
      Array.from({ length: 1000 }, () => open(burst, "SELECT count(*) FROM tasks", [])),
    );
    const ofEqual = sql.watches.totals().evaluations - atFirst;
    const differing = [];
    for (let i = 0; i < 64; i += 1)
      differing.push(await open(burst, "SELECT sum(n) FROM tasks WHERE n > ?", [{ i: String(i) }]));
    const beforeBurst = sql.watches.totals().evaluations;
    const commits = 500;
    const start = process.hrtime.bigint();
    await Promise.all(Array.from({ length: commits }, (_, i) => put(burst, i, 1_000_000 + i)));
    while (differing.some(({ events }) => events < 2)) await new Promise((resolve) => setTimeout(resolve, 5));
    const ms = Number(process.hrtime.bigint() - start) / 1e6;
    await new Promise((resolve) => setTimeout(resolve, 500));
    const ofBurst = sql.watches.totals().evaluations - beforeBurst;
    const [ours, theirs] = [median(costs.many), median(costs.few)];
    return [
      row({
        work: `a write that concerns one of ${keys} watches of a key: the server's processor time`,
        ours,
        theirs,
        against: "one of 10",
        reach: "≤ 1.5",
        unit: "ms",
        note: `${rounds} rounds of ${writes}; ${evaluations} evaluations for ${wanted} writes`,
      }),
      row({
        work: "1,000 equal watches: evaluations",
        ours: ofEqual,
        reach: "≤ 1",
        unit: "evaluations",
        note: `${equal.length} clients`,
      }),
      row({
        work: `64 watches of a sum under a burst of ${commits} commits: evaluations`,
        ours: ofBurst,
        unit: "evaluations",
        note: `each without sharing would be ${64 * commits}; ${Math.round(ms)} ms until all were told`,
      }),
    ];
  } finally {
    clearInterval(alive);
    for (const follower of watching) follower.gone();
    for (const one of held) one.release();
    await sql.processes.close();
    await engine.close();
    await sql.tables.close();
  }
}
