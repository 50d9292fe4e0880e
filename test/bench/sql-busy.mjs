import path from "node:path";
import { median, quantile, row } from "./figures.mjs";
import { quiet, startSkald } from "./processes.mjs";
import { fillTasks } from "./sql-point.mjs";
import { Wire, httpRequest } from "./wire.mjs";

/** Takes all the time that a statement may take. */
const LONG = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";

/** Writes and reads of others, one every few milliseconds, with and without a query that runs for five seconds. */
export async function run({ dir, quick, profile }) {
  const rounds = quick ? 1 : 4;
  const server = await startSkald({ dir: path.join(dir, "sql-busy"), profile, flags: ["--scrub-days", "0"] });
  const wires = [];
  try {
    await fillTasks(server, 1000);
    const open = async () => {
      const wire = await Wire.open(server.port);
      wires.push(wire);
      return wire;
    };
    const exec = (sql, args) =>
      httpRequest({
        method: "POST",
        path: "/api/v1/db/bench/query/exec",
        token: server.token,
        body: JSON.stringify({ sql, args }),
      });
    const kinds = {
      "writes of a document": (n) =>
        httpRequest({
          method: "PUT",
          path: `/api/v1/db/bench/docs/other/d${n % 50}`,
          token: server.token,
          body: JSON.stringify({ n }),
        }),
      "reads of a document": (n) =>
        httpRequest({ path: `/api/v1/db/bench/docs/tasks/t${n % 1000}`, token: server.token }),
      "rows by their key in SQL": (n) => exec("SELECT id, title FROM tasks WHERE id = ?", [`t${n % 1000}`]),
    };
    const long = await open();
    const rows = [];
    for (const [name, request] of Object.entries(kinds)) {
      const wire = await open();
      const found = { alone: [], beside: [] };
      const ratios = [];
      await series(wire, request, 100);
      for (let round = 0; round < rounds; round += 1) {
        await quiet(server);
        const alone = await series(wire, request, 800);
        const running = long.request(exec(LONG, []));
        await new Promise((resolve) => setTimeout(resolve, 300));
        const beside = await series(wire, request, 800);
        const { status } = await running;
        if (status !== 422) throw new Error(`the long query ended with ${status}`);
        found.alone.push(quantile(alone, 0.99));
        found.beside.push(quantile(beside, 0.99));
        ratios.push(quantile(beside, 0.99) / quantile(alone, 0.99));
      }
      const theirs = median(found.alone);
      rows.push(
        row({
          work: `p99 of ${name} while a query runs for five seconds`,
          ours: median(ratios) * theirs,
          theirs,
          against: "without it",
          reach: "≤ 1.5",
          unit: "ms",
          note: `${rounds} rounds of 800, one every 5 ms`,
        }),
      );
    }
    return rows;
  } finally {
    for (const wire of wires) wire.close();
    await server.stop();
  }
}

/** Sends one request after the other, a few milliseconds apart; gives how long each took, in ms. */
async function series(wire, request, count) {
  const took = [];
  for (let n = 0; n < count; n += 1) {
    const from = performance.now();
    const { status, body } = await wire.request(request(n));
    if (status < 200 || status > 299) throw new Error(`status ${status}: ${String(body)}`);
    took.push(performance.now() - from);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return took;
}
