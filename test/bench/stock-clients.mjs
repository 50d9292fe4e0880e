import { mkdirSync } from "node:fs";
import path from "node:path";
import { startClients } from "./drive.mjs";
import { equality, median, missing, row } from "./figures.mjs";
import { NOT_INSTALLED, peersInstalled, startAutomergeRepo, startLiveSkald } from "./live-servers.mjs";
import { quiet } from "./processes.mjs";

const CLIENTS = 64;
/** A stock client sends at most once in 100 ms: several changes a message, or one. */
const PACES = [
  { everyMs: 33, what: "three changes a message" },
  { everyMs: 125, what: "one change a message" },
];

/**
 * What a change by a stock automerge-repo client costs the server in processor time, everything that
 * follows from it included. Every client has a document and changes it at a given pace, so both servers
 * get the same work; only ours is on the disk before the client hears of it.
 */
export async function run({ dir, quick, profile, scale = 1 }) {
  const work = `server's processor time a change, ${CLIENTS} stock clients on ${CLIENTS} documents`;
  if (!peersInstalled()) return [missing(work, NOT_INSTALLED)];
  const rounds = quick ? 1 : 4;
  const turnMs = (quick ? 700 : 5000) * scale;
  const folder = path.join(dir, "stock-clients");
  mkdirSync(folder, { recursive: true });
  const closing = [];
  try {
    const sides = [];
    for (const start of [startAutomergeRepo, startLiveSkald]) {
      const server = await start(path.join(folder, start.name), start === startLiveSkald ? { profile } : []);
      closing.push(() => server.stop());
      const clients = await startClients("peers/stock-clients.mjs");
      closing.push(() => clients.stop());
      const side = { server, clients, count: 0, spent: new Map() };
      await clients.call("open", { urls: await server.urls(CLIENTS) });
      side.ids = (await clients.call("create", { each: 1 })).map(([id]) => id);
      await clients.call("settled");
      sides.push(side);
    }
    for (const pace of PACES) {
      const count = Math.round(turnMs / pace.everyMs);
      // The first round is everyone's warm-up.
      for (let round = 0; round <= rounds; round += 1) {
        for (const side of sides) {
          const spent = await turn(side, count, pace.everyMs);
          if (round > 0) side.spent.set(pace, [...(side.spent.get(pace) ?? []), spent]);
        }
      }
    }
    const [theirs, ours] = sides;
    const rows = PACES.map((pace) => {
      const ratio = median(ours.spent.get(pace).map((value, i) => value / theirs.spent.get(pace)[i]));
      const against = median(theirs.spent.get(pace));
      return {
        ...row({
          work: `${work}, ${pace.what}`,
          ours: ratio * against,
          theirs: against,
          against: theirs.server.name,
          reach: "≤ 0.333",
          unit: "µs",
          note: `${rounds} rounds of ${Math.round(turnMs / pace.everyMs) * CLIENTS} changes at ${Math.round((CLIENTS * 1000) / pace.everyMs)} a second`,
        }),
        ours: median(ours.spent.get(pace)),
      };
    });
    return [...rows, await arrived(ours)];
  } finally {
    for (const close of closing.toReversed()) await close();
  }
}

/** Microseconds of the server's processor time a change, with what it does afterwards. */
async function turn({ server, clients }, count, everyMs) {
  await quiet(server);
  const from = server.cpuMs();
  await clients.call("change", { count, everyMs });
  await clients.call("settled");
  await new Promise((resolve) => setTimeout(resolve, 300));
  await quiet(server);
  return ((server.cpuMs() - from) * 1000) / (count * CLIENTS);
}

/** What is cheap because it did not happen is not cheap. */
async function arrived({ server, clients, ids }) {
  const { RepoClient } = await import("./peers/automerge-repo-client.mjs");
  const values = await clients.call("values");
  const [url] = await server.urls(1);
  const reader = await RepoClient.open(url);
  let equal = 0;
  for (const [i, id] of ids.entries()) {
    const { count, state } = await reader.find(id);
    if (count === values[i].count && state === values[i].state) equal += 1;
  }
  reader.close();
  return equality(
    "what the server has of the documents at the end",
    equal === ids.length,
    `${equal} of ${ids.length}`,
  );
}
