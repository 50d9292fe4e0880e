import { mkdirSync } from "node:fs";
import path from "node:path";
import { collectedKiB } from "./collected-memory.mjs";
import { startClients } from "./drive.mjs";
import { missing, row } from "./figures.mjs";
import {
  NOT_INSTALLED,
  peersInstalled,
  startAutomergeRepo,
  startHocuspocus,
  startLiveSkald,
} from "./live-servers.mjs";
import { quiet } from "./processes.mjs";

const BYTES = 1000;
const CLIENTS = 8;
/** Before the first look each server has done all of it once, so that what it loads once counts for none. */
const WARM_UP = 80;
const INSPECT = ["--inspect=127.0.0.1:0"];

/**
 * What a server's memory has grown by for each document of 1 KB that clients made, once they are gone
 * and it has had time to put things away.
 */
export async function run({ dir, quick, scale = 1 }) {
  const work = "server's memory per idle document after its clients left";
  if (!peersInstalled()) return [missing(work, NOT_INSTALLED)];
  const docs = Math.round((quick ? 240 : 4000) * scale);
  // Threads that idle end, and Hocuspocus stores what was changed, some seconds after.
  const restMs = quick ? 3_000 : 45_000;
  const folder = path.join(dir, "idle-memory");
  mkdirSync(folder, { recursive: true });
  const measured = {};
  const sides = {
    skald: () => startLiveSkald(path.join(folder, "skald"), { nodeFlags: INSPECT }),
    automergeRepo: () => startAutomergeRepo(path.join(folder, "automerge-repo"), INSPECT),
    hocuspocus: () => startHocuspocus(path.join(folder, "hocuspocus"), INSPECT),
  };
  for (const [name, start] of Object.entries(sides)) {
    const server = await start();
    try {
      await visit(server, name, "warm", WARM_UP);
      await rest(server, restMs);
      const before = await collectedKiB(server);
      await visit(server, name, "idle", docs);
      await rest(server, restMs);
      measured[name] = ((await collectedKiB(server)) - before) / docs;
    } finally {
      await server.stop();
    }
  }
  const { skald, automergeRepo, hocuspocus } = measured;
  const ours = { work, ours: Math.max(skald, 0), unit: "KiB" };
  const note = `${docs} documents of ${BYTES} bytes`;
  return [
    row({ ...ours, theirs: automergeRepo, against: "automerge-repo sync server", reach: "≤ 0.02", note }),
    row({ ...ours, theirs: hocuspocus, against: "Hocuspocus", note }),
  ];
}

/** Clients come, make documents, and go once the server has them. */
async function visit(server, name, prefix, docs) {
  if (name === "hocuspocus") {
    const clients = await startClients("peers/yjs-clients.mjs");
    const [url] = await server.urls(1);
    await clients.call("make", { url, docs, bytes: BYTES, prefix });
    return clients.stop();
  }
  // In lots: a client that holds thousands of documents is slow, and is not what is measured.
  const lot = 400;
  for (let left = docs; left > 0; left -= lot) {
    const clients = await startClients("peers/stock-clients.mjs");
    await clients.call("open", { urls: await server.urls(CLIENTS) });
    await clients.call("create", { each: Math.ceil(Math.min(left, lot) / CLIENTS), bytes: BYTES });
    await clients.call("settled");
    await quiet(server);
    await clients.call("close");
    await clients.stop();
  }
}

async function rest(server, ms) {
  await new Promise((resolve) => setTimeout(resolve, ms));
  await quiet(server);
}
