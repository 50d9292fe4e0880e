import { mkdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { median, quantile, row } from "./figures.mjs";
import { ratioRow } from "./library.mjs";
import { quiet, startProgram, startSkald } from "./processes.mjs";
import { Wire, httpRequest, runConnections, txBody } from "./wire.mjs";
import { smallChanges } from "./workload.mjs";

const CONNECTIONS = 64;

/**
 * The same commits through HTTP, each connection with a document of its own, beside a bare node:http
 * server that sends the same bodies back. Both servers run in processes of their own and take turns;
 * this process is the load.
 */
export async function run({ dir, quick, profile, scale = 1 }) {
  const rounds = quick ? 3 : 6;
  const perRound = Math.round((quick ? 24 : 160) * scale);
  const lists = await smallChanges({ docs: CONNECTIONS, changes: (rounds + 1) * perRound });
  const folder = path.join(dir, "http");
  mkdirSync(folder, { recursive: true });
  const servers = [];
  const wires = [];
  try {
    const skald = await startSkald({ dir: path.join(folder, "skald"), profile });
    servers.push(skald);
    const echo = await startEcho();
    servers.push(echo);
    await skald.fetch("/db/bench", { method: "PUT" });
    const sides = { skald: await openAll(skald.port, wires), echo: await openAll(echo.port, wires) };
    const rates = { skald: [], echo: [], skaldCpu: [], echoCpu: [] };
    const latencies = [];
    for (let round = 0; round <= rounds; round += 1) {
      const requests = lists.map((list, d) => requestsOf(list, d, round * perRound, perRound, skald.token));
      const theirs = await runConnections(sides.echo, requests, () => echo.cpuMs());
      const ours = await runConnections(sides.skald, requests, () => skald.cpuMs());
      await quiet(skald);
      // The first round is everyone's warm-up.
      if (round === 0) continue;
      rates.skald.push(ours.perSecond);
      rates.echo.push(theirs.perSecond);
      rates.skaldCpu.push(ours.cpuUs);
      rates.echoCpu.push(theirs.cpuUs);
      for (const latency of ours.latencies) latencies.push(latency);
    }
    const note = `${rounds} rounds of ${CONNECTIONS * perRound}`;
    const work = `${CONNECTIONS} connections, one change a commit, HTTP`;
    return [
      ratioRow({
        work,
        ours: rates.skald,
        theirs: rates.echo,
        against: "bare node:http echo",
        reach: "≥ 0.5",
        note: `${note}; p50 ${quantile(latencies, 0.5).toFixed(1)} ms, p99 ${quantile(latencies, 0.99).toFixed(1)} ms`,
      }),
      ...(rates.skaldCpu[0] === undefined
        ? []
        : [
            row({
              work: `${work}: server's processor time a request`,
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
    await Promise.all(servers.map((server) => server.stop()));
  }
}

export function startEcho() {
  return startProgram([fileURLToPath(new URL("echo-server.mjs", import.meta.url))], {
    ready: /listening (\d+)/,
  }).then((program) => ({ ...program, port: Number(program.match[1]) }));
}

async function openAll(port, wires) {
  const opened = await Promise.all(Array.from({ length: CONNECTIONS }, () => Wire.open(port)));
  wires.push(...opened);
  return opened;
}

function requestsOf(list, d, from, count, token) {
  return Array.from({ length: count }, (_, i) => {
    const index = from + i;
    const base = index === 0 ? [] : [list[index - 1].hash];
    return httpRequest({
      method: "POST",
      path: "/api/v1/db/bench/branches/main/tx",
      token,
      body: txBody(`bench/d${d}`, base, list[index].bytes),
    });
  });
}
