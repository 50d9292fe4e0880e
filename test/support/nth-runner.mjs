// Runs workloads under nth-shim.c, one after another in one process: a line of JSON asks for a run on stdin,
// one answers on stdout.
import { cpSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { Case } from "./nth-case.mjs";
import { NthDisk } from "./nth-disk.mjs";
import { WORKLOADS } from "./nth-workloads.mjs";

const disk = new NthDisk();
let run;
process.on("unhandledRejection", (error) => run?.wrong("nobody took a rejection", error));
process.on("uncaughtException", (error) => run?.wrong("nobody caught", error));
process.on("warning", (warning) => run?.wrong("warns", warning));

const templates = new Map();

async function template(spec) {
  let made = templates.get(spec.workload);
  if (!made) {
    const before = new Case(disk, { ...spec, dir: `${spec.root}/template-${spec.workload}` });
    made = { dir: await WORKLOADS[spec.workload].template(before), before };
    templates.set(spec.workload, made);
  }
  cpSync(made.dir, spec.dir, { recursive: true });
  return made.before;
}

for await (const line of createInterface({ input: process.stdin })) {
  const spec = JSON.parse(line);
  const workload = WORKLOADS[spec.workload];
  run = new Case(disk, spec);
  if (workload.template) {
    const before = await template(spec);
    run.txs = new Map([...before.txs].map(([id, tx]) => [id, { ...tx }]));
    run.dbs = { ...before.dbs };
  }
  disk.arm({ ...spec, prefix: spec.dir });
  try {
    await workload.work(run, spec);
  } catch (error) {
    run.wrong("the workload", error);
  }
  // What nobody waits for has its say before the next run.
  await new Promise((resolve) => setImmediate(resolve));
  disk.disarm();
  const calls = spec.count ? { trace: run.trace() } : {};
  writeSync(1, `${JSON.stringify({ ...run.result(), ...calls })}\n`);
}
