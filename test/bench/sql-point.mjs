import path from "node:path";
import { median, quantile, row } from "./figures.mjs";
import { startEcho } from "./http.mjs";
import { ratioRow } from "./library.mjs";
import { quiet, startSkald } from "./processes.mjs";
import { Wire, httpRequest, runConnections } from "./wire.mjs";

const CONNECTIONS = 64;

/** A row by its key, in SQL through HTTP, beside a bare node:http server that sends the same body back. */
export async function run({ dir, quick, profile }) {
  const rounds = quick ? 3 : 6;
  const perRound = quick ? 40 : 120;
  const keys = 1000;
  const skald = await startSkald({ dir: path.join(dir, "sql-point"), profile, flags: ["--scrub-days", "0"] });
  const echo = await startEcho();
  const wires = [];
  try {
    await fillTasks(skald, keys);
    const request = (key) =>
      httpRequest({
        method: "POST",
        path: "/api/v1/db/bench/query/exec",
        token: skald.token,
        body: JSON.stringify({ sql: "SELECT id, title, done FROM tasks WHERE id = ?", args: [key] }),
      });
    const sides = {};
    for (const [name, { port }] of Object.entries({ skald, echo })) {
      sides[name] = await Promise.all(Array.from({ length: CONNECTIONS }, () => Wire.open(port)));
      wires.push(...sides[name]);
    }
    const rates = { skald: [], echo: [], skaldCpu: [], echoCpu: [] };
    const latencies = [];
    for (let round = 0; round <= rounds; round += 1) {
      const lists = sides.skald.map((_, w) =>
        Array.from({ length: perRound }, (__, i) => request(`t${(w * 31 + i * 7 + round) % keys}`)),
      );
      const theirs = await runConnections(sides.echo, lists, () => echo.cpuMs());
      const ours = await runConnections(sides.skald, lists, () => skald.cpuMs());
      await quiet(skald);
      // The first round is everyone's warm-up.
      if (round === 0) continue;
      rates.skald.push(ours.perSecond);
      rates.echo.push(theirs.perSecond);
      rates.skaldCpu.push(ours.cpuUs);
      rates.echoCpu.push(theirs.cpuUs);
      latencies.push(...ours.latencies);
    }
    const work = `${CONNECTIONS} connections, a row by its key in SQL, HTTP`;
    const note = `${rounds} rounds of ${CONNECTIONS * perRound}`;
    return [
      ratioRow({
        work,
        ours: rates.skald,
        theirs: rates.echo,
        against: "bare node:http echo",
        reach: "≥ 0.25",
        unit: "queries/s",
        note: `${note}; p50 ${quantile(latencies, 0.5).toFixed(1)} ms, p99 ${quantile(latencies, 0.99).toFixed(1)} ms`,
      }),
      ...(rates.skaldCpu[0] === undefined
        ? []
        : [
            row({
              work: `${work}: server's processor time a query, its query processes not counted`,
              ours: median(rates.skaldCpu),
              theirs: median(rates.echoCpu),
              against: "bare node:http echo",
              unit: "µs",
              note,
            }),
          ]),
    ];
  } finally {
    for (const wire of wires) wire.close();
    await Promise.all([skald.stop(), echo.stop()]);
  }
}

/** A db `bench` with a collection `tasks` of so many documents, and their table. */
export async function fillTasks(server, count) {
  const send = (where, body, method = "POST") =>
    server.fetch(where, {
      method,
      ...(body === undefined
        ? {}
        : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
    });
  await send("/db/bench", undefined, "PUT");
  for (let from = 0; from < count; from += 500) {
    const writes = Array.from({ length: Math.min(500, count - from) }, (_, i) => ({
      doc: `tasks/t${from + i}`,
      value: { title: `task ${from + i}`, done: i % 2 === 0 },
    }));
    await send("/db/bench/branches/main/tx", { writes });
  }
  await send("/db/bench/query/exec", {
    sql: "CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT NOT NULL, done INTEGER DEFAULT 0)",
  });
}
