import path from "node:path";
import { QUERIES } from "../support/sql-queries.mjs";
import { median, row } from "./figures.mjs";
import { quiet, startSkald } from "./processes.mjs";
import { documentsOf, fill } from "./sql-queries.mjs";
import { Wire, httpRequest, runConnections } from "./wire.mjs";

const CONNECTIONS = 16;

/**
 * Twenty SQL statements at a point 10,000 commits back, beside the same now, in turns; and what the first of them takes,
 * for which the file of that point is made. Each commit changed a field of one document, all of them in turn.
 */
export async function run(context) {
  const commits = context.quick ? 1000 : 10_000;
  const rounds = context.quick ? 5 : 25;
  const documents = documentsOf(context);
  const server = await startSkald({
    dir: path.join(context.dir, "sql-points"),
    profile: context.profile,
    flags: ["--scrub-days", "0"],
  });
  try {
    await fill(server, documents);
    const { seq: at } = await (await ask(server, { sql: "SELECT count(*) FROM documents" })).json();
    await change(server, [...documents.keys()], commits);
    await quiet(server);
    await ask(server, { sql: "SELECT count(*) FROM documents" });
    await quiet(server);

    const cpu = server.cpuMs();
    const begun = performance.now();
    const first = await (await ask(server, { sql: "SELECT count(*) FROM documents", at: String(at) })).json();
    const firstMs = performance.now() - begun;
    const firstCpu = server.cpuMs() - cpu;
    if (first.seq !== at) throw new Error(`the answer is of ${first.seq} and not of ${at}`);

    const wire = await Wire.open(server.port);
    const request = ({ sql, args }, point) =>
      httpRequest({
        method: "POST",
        path: "/api/v1/db/films/query/exec",
        token: server.token,
        type: "application/json",
        body: JSON.stringify({ sql, args, ...point }),
      });
    const sums = { now: 0, back: 0 };
    for (const query of QUERIES) {
      const sides = { now: request(query), back: request(query, { at: String(at) }) };
      const took = { now: [], back: [] };
      for (let round = -2; round < rounds; round += 1) {
        for (const side of round % 2 === 0 ? ["now", "back"] : ["back", "now"]) {
          const from = performance.now();
          await wire.request(sides[side]);
          if (round >= 0) took[side].push(performance.now() - from);
        }
      }
      sums.now += median(took.now);
      sums.back += median(took.back);
    }
    wire.close();
    const back = `${commits.toLocaleString("en-US")} commits back`;
    return [
      row({
        work: `twenty SQL statements at a point ${back}, after the first`,
        ours: sums.back,
        theirs: sums.now,
        against: "the same now",
        reach: "≤ 1.2",
        unit: "ms",
        note: `medians of ${rounds} rounds`,
      }),
      row({
        work: `the first statement at a point ${back}: its file is made`,
        ours: firstMs,
        unit: "ms",
        note: `${documents.size.toLocaleString("en-US")} documents, all changed since; ${Math.round(firstCpu)} ms of processor`,
      }),
    ];
  } finally {
    await server.stop();
  }
}

function ask(server, body) {
  return server.fetch("/db/films/query/exec", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

/** One field of one document a commit. */
async function change(server, names, commits) {
  const wires = await Promise.all(Array.from({ length: CONNECTIONS }, () => Wire.open(server.port)));
  const lists = wires.map((_, w) =>
    Array.from({ length: Math.ceil(commits / CONNECTIONS) }, (__, i) =>
      httpRequest({
        method: "PATCH",
        path: `/api/v1/db/films/docs/${names[(w + i * CONNECTIONS) % names.length]}`,
        token: server.token,
        type: "application/merge-patch+json",
        body: JSON.stringify({ touched: i }),
      }),
    ),
  );
  await runConnections(wires, lists, () => server.cpuMs());
  for (const wire of wires) wire.close();
}
