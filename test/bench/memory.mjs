import { mkdirSync } from "node:fs";
import path from "node:path";
import { missing, row, show } from "./figures.mjs";
import { quiet, startSkald } from "./processes.mjs";
import { Wire, httpRequest } from "./wire.mjs";
import { smallChanges } from "./workload.mjs";

const CONNECTIONS = 8;
const DOCS_PER_DB = 10;

/**
 * The server's resident memory when it knows many dbs and has written and read many documents: an
 * idle db must cost a row in a table. Each db gets ten documents in one commit, and one is read back.
 */
export async function run({ dir, quick, profile, scale = 1 }) {
  const dbs = Math.round((quick ? 300 : 10_000) * scale);
  const lists = await smallChanges({ docs: DOCS_PER_DB, changes: 5 });
  const writes = lists.map((list, i) => ({
    doc: `things/t${i}`,
    base_heads: [],
    changes: list.map((change) => Buffer.from(change.bytes).toString("base64")),
  }));
  const body = JSON.stringify({ writes });
  const folder = path.join(dir, "memory");
  mkdirSync(folder, { recursive: true });
  const skald = await startSkald({ dir: path.join(folder, "skald"), profile });
  const wires = [];
  try {
    if (!skald.memory()) return [missing("memory of the server", "needs /proc")];
    const empty = skald.memory().now;
    const started = performance.now();
    const most = quick ? 5_000 : 150_000;
    let next = 0;
    await Promise.all(
      Array.from({ length: CONNECTIONS }, async () => {
        const wire = await Wire.open(skald.port);
        wires.push(wire);
        const ask = async (method, path, payload) => {
          const { status, body: answer } = await wire.request(
            httpRequest({ method, path: `/api/v1/db/${path}`, token: skald.token, body: payload }),
          );
          if (status > 299) throw new Error(`${method} ${path}: ${status} ${answer}`);
        };
        while (next < dbs && performance.now() - started < most) {
          const db = `db-${next++}`;
          await ask("PUT", db);
          await ask("POST", `${db}/branches/main/tx`, body);
          await ask("GET", `${db}/docs/things/t${next % DOCS_PER_DB}`);
        }
      }),
    );
    const seconds = (performance.now() - started) / 1000;
    await quiet(skald);
    const { now, most: peak } = skald.memory();
    const late =
      next < dbs ? `; stopped after ${seconds.toFixed(0)} s of making, ${show(dbs)} were wanted` : "";
    return [
      row({
        work: `server's memory, ${show(next)} dbs known and ${show(next * DOCS_PER_DB)} documents touched`,
        ours: peak,
        reach: late === "" ? "≤ 400" : undefined,
        unit: "MiB",
        note: `most; ${show(now)} at the end, ${show(empty)} after the start; ${show(next / seconds)} dbs/s made, written and read${late}`,
      }),
    ];
  } finally {
    for (const wire of wires) wire.close();
    await skald.stop();
  }
}
