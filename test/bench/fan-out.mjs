import { mkdirSync } from "node:fs";
import path from "node:path";
import { startClients } from "./drive.mjs";
import { missing, quantile, row } from "./figures.mjs";
import {
  NOT_INSTALLED,
  peersInstalled,
  startAutomergeRepo,
  startHocuspocus,
  startLiveSkald,
} from "./live-servers.mjs";
import { quiet } from "./processes.mjs";

const READERS = [1, 10, 100];
const VALUE = "x".repeat(500);

/**
 * How long after an edit its bytes are with each subscriber of the document, who has a socket of his own and
 * does nothing with them: what a client does then is not the server's. Ours are on the disk by then.
 */
export async function run({ dir, quick, profile, scale = 1 }) {
  if (!peersInstalled()) return [missing("one edit to subscribers", NOT_INSTALLED)];
  const edits = Math.round((quick ? 15 : 100) * scale);
  const rounds = quick ? 1 : 3;
  const folder = path.join(dir, "fan-out");
  mkdirSync(folder, { recursive: true });
  const closing = [];
  try {
    const sides = {};
    for (const [name, start, program] of [
      ["skald", () => startLiveSkald(path.join(folder, "skald"), { profile }), "skald-clients.mjs"],
      ["hocuspocus", () => startHocuspocus(path.join(folder, "hocuspocus")), "peers/yjs-clients.mjs"],
      ["automergeRepo", () => startAutomergeRepo(path.join(folder, "automerge-repo")), "skald-clients.mjs"],
    ]) {
      const server = await start();
      closing.push(() => server.stop());
      sides[name] = { server, program };
    }
    const rows = [];
    for (const readers of READERS) {
      const latencies = { skald: [], hocuspocus: [], automergeRepo: [] };
      for (const [name, { server, program }] of Object.entries(sides)) {
        const clients = await startClients(program);
        const [url] = await server.urls(1);
        await clients.call("gather", { url, readers, name: `fan-${readers}`, value: VALUE });
        sides[name].clients = clients;
      }
      for (let round = 0; round <= rounds; round += 1) {
        for (const [name, { server, clients }] of Object.entries(sides)) {
          await quiet(server);
          const found = await clients.call("fanOut", { edits, gapMs: 10 });
          if (round > 0) latencies[name].push(...found);
        }
      }
      for (const { clients } of Object.values(sides)) await clients.stop();
      for (const [what, q] of [
        ["half", 0.5],
        ["99 of 100", 0.99],
      ]) {
        const work = `one edit to ${readers} subscriber${readers === 1 ? "" : "s"}, until ${what} have it`;
        const ours = quantile(latencies.skald, q);
        const note = `${rounds * edits} edits; automerge-repo sync server ${quantile(latencies.automergeRepo, q).toFixed(1)} ms`;
        const theirs = quantile(latencies.hocuspocus, q);
        rows.push(row({ work, ours, theirs, against: "Hocuspocus", reach: "≤ 1", unit: "ms", note }));
      }
    }
    return rows;
  } finally {
    for (const close of closing.toReversed()) await close();
  }
}
