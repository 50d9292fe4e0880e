import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { QUERIES, SCHEMA, answerOf, canonical, madeDocuments, oracleOf } from "../support/sql-queries.mjs";
import { equality, median, row } from "./figures.mjs";
import { quiet, startSkald } from "./processes.mjs";
import { Wire, httpRequest } from "./wire.mjs";

/**
 * Twenty statements of the kind people write, through HTTP, beside better-sqlite3 in this process on plain tables with
 * the same rows: their answers, and what each takes from the request to the last byte of the answer. Each statement is
 * asked of both in turns, so that whatever else the machine does falls on both. With `--data` the films and countries
 * there, else documents of their shape.
 */
export async function run(context) {
  const documents = documentsOf(context);
  const server = await startSkald({
    dir: path.join(context.dir, "sql-queries"),
    flags: ["--scrub-days", "0"],
  });
  const oracle = oracleOf(documents);
  try {
    await fill(server, documents);
    await quiet(server);
    const wire = await Wire.open(server.port);
    const rounds = context.quick ? 5 : 25;
    const found = [];
    let equal = true;
    for (const query of QUERIES) {
      const request = httpRequest({
        method: "POST",
        path: "/api/v1/db/films/query/exec",
        token: server.token,
        type: "application/json",
        body: JSON.stringify({ sql: query.sql, args: query.args }),
      });
      const ours = [];
      const theirs = [];
      for (let round = -2; round < rounds; round += 1) {
        const from = performance.now();
        const reply = await wire.request(request);
        const between = performance.now();
        const wanted = answerOf(oracle, query);
        const to = performance.now();
        if (round < 0) {
          // The first ones prepare the statement, on both sides.
          equal &&= canonical(JSON.parse(reply.body).rows) === canonical(wanted.rows);
          continue;
        }
        ours.push(between - from);
        theirs.push(to - between);
      }
      found.push({ name: query.name, ours: median(ours), theirs: median(theirs) });
    }
    wire.close();
    return [
      equality("twenty SQL statements through HTTP: the rows of plain tables", equal),
      ...rowsOf(found, rounds),
    ];
  } finally {
    oracle.close();
    await server.stop();
  }
}

/** A statement may take 1.3 times as long and a millisecond. */
const allowed = ({ theirs }) => 1.3 * theirs + 1;

function rowsOf(found, rounds) {
  const worst = found.toSorted((a, b) => b.ours / allowed(b) - a.ours / allowed(a))[0];
  const sum = (read) => found.reduce((total, one) => total + read(one), 0);
  return [
    row({
      work: "twenty SQL statements through HTTP, all of them",
      ours: sum(({ ours }) => ours),
      theirs: sum(allowed),
      against: "1.3 × better-sqlite3 in process + 1 ms each",
      reach: "≤ 1",
      unit: "ms",
      note: `better-sqlite3 took ${sum(({ theirs }) => theirs).toFixed(1)} ms; medians of ${rounds} rounds`,
    }),
    row({
      work: `the one of them that is furthest behind: ${worst.name}`,
      ours: worst.ours,
      theirs: allowed(worst),
      against: "1.3 × better-sqlite3 in process + 1 ms",
      reach: "≤ 1",
      unit: "ms",
      note: `better-sqlite3 took ${worst.theirs.toFixed(2)} ms`,
    }),
  ];
}

export function documentsOf({ data, quick }) {
  const films = data && path.join(data, "movies-2000s.json");
  if (films && existsSync(films)) {
    const read = (file) => JSON.parse(readFileSync(file, "utf8"));
    const found = new Map();
    read(films).forEach((film, i) => found.set(`movies/m${String(i).padStart(4, "0")}`, film));
    for (const land of read(path.join(data, "countries.json"))) found.set(`countries/${land.cca3}`, land);
    return found;
  }
  let state = 7;
  const random = () => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return state / 0x7fffffff;
  };
  return madeDocuments(random, quick ? 300 : 2400, 60);
}

export async function fill(server, documents) {
  const send = async (where, body) =>
    server.fetch(`/db/films${where}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  await server.fetch("/db/films", { method: "PUT" });
  const all = Array.from(documents, ([doc, value]) => ({ doc, value }));
  for (let at = 0; at < all.length; at += 200)
    await send("/branches/main/tx", { writes: all.slice(at, at + 200) });
  for (const sql of SCHEMA) await send("/query/exec", { sql });
}
