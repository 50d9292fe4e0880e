import { existsSync, mkdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { startClients } from "./drive.mjs";
import { missing } from "./figures.mjs";
import { ratioRow } from "./library.mjs";
import { NOT_INSTALLED, peersInstalled, startHocuspocus, startLiveSkald } from "./live-servers.mjs";
import { quiet } from "./processes.mjs";

const DOCS = 64;
const CLIENT = fileURLToPath(new URL("../../dist/client/index.js", import.meta.url));
const LOADS = [
  { inFlight: 1, what: "each document waits for its answer" },
  { inFlight: 16, what: "16 of each document under way" },
];

/**
 * Updates acknowledged a second, of 64 documents over one socket of each server's own client. An
 * acknowledgement by Skald means that the update is on the disk; by Hocuspocus, that it was applied.
 */
export async function run({ dir, quick, profile, scale = 1 }) {
  const work = `acknowledged updates of ${DOCS} documents`;
  if (!peersInstalled()) return [missing(work, NOT_INSTALLED)];
  if (!existsSync(CLIENT)) return [missing(work, "the client library is not built")];
  const rounds = quick ? 2 : 5;
  const ms = (quick ? 500 : 3000) * scale;
  const folder = path.join(dir, "live-updates");
  mkdirSync(folder, { recursive: true });
  const closing = [];
  try {
    const skald = await startLiveSkald(path.join(folder, "skald"), { profile });
    closing.push(() => skald.stop());
    const hocuspocus = await startHocuspocus(path.join(folder, "hocuspocus"));
    closing.push(() => hocuspocus.stop());
    const theirs = await startClients("peers/yjs-clients.mjs");
    closing.push(() => theirs.stop());
    const ours = await startClients("skald-clients.mjs");
    closing.push(() => ours.stop());
    const [url] = await hocuspocus.urls(1);
    await theirs.call("open", { url, docs: DOCS });
    const [socket] = await skald.urls(1);
    await ours.call("open", { url: skald.url, token: skald.token, db: "bench", docs: DOCS, socket });
    const rows = [];
    for (const { inFlight, what } of LOADS) {
      for (const [name, how] of [
        ["prepared", "changes made beforehand, bare frames"],
        ["updates", "live documents of the client library"],
      ]) {
        const rates = { ours: [], theirs: [], ourCpu: [], theirCpu: [] };
        // The first round is everyone's warm-up.
        for (let round = 0; round <= rounds; round += 1) {
          const a = await turn(hocuspocus, () => theirs.call("updates", { ms, inFlight }));
          const b = await turn(skald, () => ours.call(name, { ms, inFlight }));
          if (round === 0) continue;
          rates.theirs.push(a.rate);
          rates.ours.push(b.rate);
          rates.theirCpu.push(a.cpuUs);
          rates.ourCpu.push(b.cpuUs);
        }
        const us = (values) => `${Math.round(values.reduce((a, b) => a + b) / values.length)} µs`;
        rows.push(
          ratioRow({
            work: `${work}, ${what}, ${how}`,
            ours: rates.ours,
            theirs: rates.theirs,
            against: "Hocuspocus",
            reach: "≥ 1",
            unit: "updates/s",
            note: `${rounds} rounds of ${ms / 1000} s; server's processor time each ${us(rates.ourCpu)}, Hocuspocus ${us(rates.theirCpu)}`,
          }),
        );
      }
    }
    return rows;
  } finally {
    for (const close of closing.toReversed()) await close();
  }
}

async function turn(server, work) {
  await quiet(server);
  const from = server.cpuMs();
  const { acked, ms } = await work();
  await quiet(server);
  return { rate: (acked / ms) * 1000, cpuUs: ((server.cpuMs() - from) * 1000) / acked };
}
