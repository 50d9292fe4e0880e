import { mkdirSync } from "node:fs";
import path from "node:path";
import { startClients } from "./drive.mjs";
import { median, quantile } from "./figures.mjs";
import { ratioRow } from "./library.mjs";
import { quiet, startSkald } from "./processes.mjs";
import { Wire, httpRequest, txBody } from "./wire.mjs";
import { smallChanges } from "./workload.mjs";

/**
 * How long after a commit is sent the last of many subscribers has its event, beside a server that writes
 * the same bytes to as many sockets and does nothing else.
 */
export async function run({ dir, quick, profile, scale = 1 }) {
  const readers = Math.round((quick ? 200 : 1000) * scale);
  const rounds = quick ? 8 : 40;
  const folder = path.join(dir, "sse");
  mkdirSync(folder, { recursive: true });
  const closing = [];
  try {
    const skald = await startSkald({ dir: path.join(folder, "skald"), profile });
    closing.push(() => skald.stop());
    await skald.fetch("/db/bench", { method: "PUT" });
    const raw = await startClients("raw-rows.mjs");
    closing.push(() => raw.stop());
    const port = await raw.call("repeat");
    const subscribers = await startClients("event-readers.mjs");
    closing.push(() => subscribers.stop());
    const [list] = await smallChanges({ docs: 1, changes: rounds + 3 });
    const wire = await Wire.open(skald.port);
    closing.push(() => wire.close());
    const commit = async (i) => {
      const body = txBody("bench/d0", undefined, list[i].bytes);
      const request = { method: "POST", path: "/api/v1/db/bench/branches/main/tx", token: skald.token, body };
      const { status } = await wire.request(httpRequest(request));
      if (status > 299) throw new Error(`tx: ${status}`);
    };
    await commit(0);
    await subscribers.call("open", { name: "events", port: skald.port, readers, token: skald.token });
    await subscribers.call("open", { name: "raw", port, readers });
    // What one event is: the raw side sends as many bytes.
    const bytes = await subscribers.call("one", { name: "events" }, await commit(1));
    const times = { ours: [], theirs: [] };
    for (let round = 0; round <= rounds; round += 1) {
      await quiet(skald);
      const theirs = await subscribers.call("repeat", { name: "raw", bytes });
      const from = Number(process.hrtime.bigint()) / 1e6;
      const heard = subscribers.call("last", { name: "events", bytes });
      await commit(round + 2);
      const ours = (await heard) - from;
      if (round === 0) continue;
      times.ours.push(ours);
      times.theirs.push(theirs);
    }
    return [
      ratioRow({
        work: `one commit to ${readers} subscribers by server-sent events, until the last has it`,
        ours: times.ours,
        theirs: times.theirs,
        against: `the same ${bytes} bytes to as many sockets`,
        reach: "≤ 2",
        unit: "ms",
        note: `${rounds} rounds; the slowest tenth of ours ${quantile(times.ours, 0.9).toFixed(1)} ms, of theirs ${quantile(times.theirs, 0.9).toFixed(1)} ms; median ${median(times.ours).toFixed(1)}`,
      }),
    ];
  } finally {
    for (const close of closing.toReversed()) await close();
  }
}
