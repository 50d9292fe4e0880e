import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { Session } from "node:inspector/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

/**
 * Where the time goes. `node test/bench/profile.mjs <file.cpuprofile>…` lists, over all files given,
 * the functions that took most of it themselves, and the files of ours in whose service it was spent.
 */
const SHOWN = 25;

/** Runs `work` and, when there is a folder to put it, keeps its profile there. */
export async function profiled(folder, name, work) {
  if (!folder) return work();
  const session = new Session();
  session.connect();
  await session.post("Profiler.enable");
  await session.post("Profiler.setSamplingInterval", { interval: 200 });
  await session.post("Profiler.start");
  try {
    return await work();
  } finally {
    const { profile } = await session.post("Profiler.stop");
    session.disconnect();
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, `${name}.cpuprofile`), JSON.stringify(profile));
  }
}

function summarise(profiles) {
  const self = new Map();
  const files = new Map();
  let total = 0;
  let idle = 0;
  for (const file of profiles) {
    const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(file, "utf8"));
    const byId = new Map(nodes.map((node) => [node.id, node]));
    const parents = new Map(nodes.flatMap((node) => (node.children ?? []).map((child) => [child, node])));
    samples.forEach((id, i) => {
      const { functionName, url, lineNumber } = byId.get(id).callFrame;
      const name = functionName || "(anonymous)";
      // A sample's delta is the time since the one before it.
      const delta = timeDeltas[i + 1] ?? 0;
      if (name === "(idle)") {
        idle += delta;
        return;
      }
      total += delta;
      // Native functions serve many: who called them says more.
      const key = url ? placeOf(name, url, lineNumber) : `${name} ← ${callerOf(parents.get(id), parents)}`;
      self.set(key, (self.get(key) ?? 0) + delta);
      const owner = ownerOf(byId.get(id), parents);
      files.set(owner, (files.get(owner) ?? 0) + delta);
    });
  }
  const lines = [`busy ${(total / 1000).toFixed(0)} ms, idle ${(idle / 1000).toFixed(0)} ms`];
  for (const table of [self, files]) {
    for (const [key, time] of [...table].toSorted((a, b) => b[1] - a[1]).slice(0, SHOWN)) {
      const share = ((100 * time) / total).toFixed(1).padStart(5);
      lines.push(`${share} %  ${(time / 1000).toFixed(0).padStart(6)} ms  ${key}`);
    }
    lines.push("");
  }
  return `${lines.join("\n")}\n`;
}

function placeOf(name, url, line) {
  return `${name} ${url.replace(/^.*\/(node_modules\/|dist\/|test\/bench\/)/, "$1")}:${line + 1}`;
}

const isOurs = (url) => url.includes("/dist/") && !url.includes("node_modules");

/** The nearest caller outside Node and the packages. */
function callerOf(node, parents) {
  for (let at = node; at; at = parents.get(at.id)) {
    const { functionName, url, lineNumber } = at.callFrame;
    if (isOurs(url)) return placeOf(functionName, url, lineNumber);
  }
  return "";
}

/** The file of ours nearest above, or the part of Node that works on its own account. */
function ownerOf(node, parents) {
  let own = node.callFrame.url || node.callFrame.functionName;
  for (let at = node; at; at = parents.get(at.id)) {
    const { url } = at.callFrame;
    if (isOurs(url)) return url.replace(/^.*\/(dist\/)/, "$1");
    if (url) own = url;
  }
  return own.replace(/^.*\/(node_modules|test\/bench)\//, "$1/");
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  process.stdout.write(summarise(process.argv.slice(2)));
