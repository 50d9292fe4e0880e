import { mkdirSync, rmSync } from "node:fs";
import path from "node:path";
import { equality, missing, row } from "./figures.mjs";
import { startSkald } from "./processes.mjs";
import { Wire, httpRequest, txBody } from "./wire.mjs";
import { hasTrace, traceChanges } from "./workload.mjs";

const TRACES = ["sveltecomponent", "friendsforever", "automerge-paper"];
const IN_FLIGHT = 64;
const DOC = "texts/trace";

/**
 * Recorded typing replayed through the server, one commit a transaction of the trace, over one
 * connection with many requests under way. Then the server starts anew and must show the text at
 * the head and at ten points in its past as Automerge shows them without a server, and the log must
 * verify.
 */
export async function run(context) {
  const rows = [];
  for (const name of context.traces ?? (context.quick ? TRACES.slice(0, 1) : TRACES)) {
    if (!hasTrace(name, context.data)) {
      rows.push(missing(`replay of ${name}`, "no data: give --data <dir> or SKALD_DATA with traces/ in it"));
      continue;
    }
    rows.push(...(await replay(name, context)));
  }
  return rows;
}

async function replay(name, context) {
  const trace = await traceChanges({
    name,
    dataDir: context.data,
    ...(context.quick ? { limit: Math.round(2_500 * (context.scale ?? 1)) } : {}),
  });
  const folder = path.join(context.dir, `trace-${name}`);
  mkdirSync(folder, { recursive: true });
  const dir = path.join(folder, "skald");
  let skald = await startSkald({ dir, profile: context.profile });
  let wire;
  const { token } = skald;
  try {
    await skald.fetch("/db/trace", { method: "PUT" });
    wire = await Wire.open(skald.port);
    const cpu = skald.cpuMs();
    const started = performance.now();
    const seqs = await sendAll(wire, token, trace);
    const ms = performance.now() - started;
    const spent = cpu === undefined ? undefined : ((skald.cpuMs() - cpu) * 1000) / seqs.length;
    wire.close();
    const restarted = performance.now();
    await skald.stop();
    skald = await startSkald({ dir, token });
    const restartMs = performance.now() - restarted;
    const rows = [
      row({
        work: `replay of ${name} through HTTP`,
        ours: (seqs.length / ms) * 1000,
        unit: "changes/s",
        note: `${seqs.length} changes, ${IN_FLIGHT} under way on one connection${spent === undefined ? "" : `, ${spent.toFixed(0)} µs of processor time each`}; stop and start ${restartMs.toFixed(0)} ms`,
      }),
      equality(`${name}: Automerge alone ends with the trace's text`, trace.reachesEnd, ""),
    ];
    const head = performance.now();
    const atHead = await textAt(skald, "");
    rows.push(
      equality(
        `${name}: text at the head`,
        atHead === trace.text,
        `${(performance.now() - head).toFixed(0)} ms`,
      ),
    );
    const past = performance.now();
    let same = 0;
    for (const { index, text } of trace.points) {
      if ((await textAt(skald, `?at=${seqs[index]}`)) === text) same += 1;
    }
    const each = (performance.now() - past) / trace.points.length;
    rows.push(
      equality(
        `${name}: text at ten points in the past`,
        same === trace.points.length,
        `${same} of ${trace.points.length}, ${each.toFixed(0)} ms each`,
      ),
    );
    const verified = performance.now();
    const lines = (await (await skald.fetch("/db/trace/verify")).text()).trim().split("\n");
    const verdict = lines.at(-1);
    rows.push(
      equality(
        `${name}: verify`,
        JSON.parse(verdict).verdict === "sound",
        `${((performance.now() - verified) / 1000).toFixed(1)} s; ${verdict.slice(0, 200)}`,
      ),
    );
    return rows;
  } finally {
    wire?.close();
    await skald.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Seqs of the commits, in the order of the changes. */
function sendAll(wire, token, { changes, linear }) {
  const seqs = Array.from({ length: changes.length });
  return new Promise((resolve, reject) => {
    let sent = 0;
    let answered = 0;
    const sendOne = () => {
      const index = sent++;
      // Of several writers none knows where the other's last change left the document.
      const base = linear ? (index === 0 ? [] : [changes[index - 1].hash]) : undefined;
      const body = txBody(DOC, base, changes[index].bytes);
      wire.send(
        httpRequest({ method: "POST", path: "/api/v1/db/trace/branches/main/tx", token, body }),
        (status, answer) => {
          if (status !== 200) return reject(new Error(`change ${index}: status ${status}: ${answer}`));
          seqs[index] = Number(/"seq":(\d+)/.exec(answer.latin1Slice())[1]);
          answered += 1;
          if (answered === changes.length) return resolve(seqs);
          if (sent < changes.length) sendOne();
        },
      );
    };
    while (sent < Math.min(IN_FLIGHT, changes.length)) sendOne();
  });
}

async function textAt(skald, query) {
  const answer = await skald.fetch(`/db/trace/docs/${DOC}${query}`);
  return (await answer.json()).text;
}
