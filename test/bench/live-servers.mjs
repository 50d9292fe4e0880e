import { existsSync, mkdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { startProgram, startSkald } from "./processes.mjs";

const HERE = fileURLToPath(new URL("peers/", import.meta.url));

export const peersInstalled = () => existsSync(path.join(HERE, "node_modules", "@hocuspocus"));

export const NOT_INSTALLED = "peers not installed: npm run bench:peers";

/** A server of `peers/` on a directory of its own; `urls(n)` are what n clients connect to. */
async function startPeer(name, file, dir, flags = []) {
  mkdirSync(dir, { recursive: true });
  const program = await startProgram([...flags, path.join(HERE, file), path.join(dir, "data")], {
    ready: /listening (\d+)/,
    cwd: dir,
  });
  const port = Number(program.match[1]);
  const url = `ws://127.0.0.1:${port}`;
  return { ...program, name, port, urls: async (count) => Array.from({ length: count }, () => url) };
}

export const startAutomergeRepo = (dir, flags) =>
  startPeer("automerge-repo sync server", "automerge-repo-server.mjs", dir, flags);

export const startHocuspocus = (dir, flags) => startPeer("Hocuspocus", "hocuspocus-server.mjs", dir, flags);

/**
 * Skald with the db `bench`. Its clients come with a ticket in the URL, as a browser's do; `urls(0)` tells
 * whether there is such a route at all.
 */
export async function startLiveSkald(dir, { profile, nodeFlags = [] } = {}) {
  const skald = await startSkald({ dir, profile, nodeFlags });
  await skald.fetch("/db/bench", { method: "PUT" });
  const ticket = async () => {
    const answer = await skald.fetch("/tickets", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ db_id: "bench", action: "sync" }),
    });
    return (await answer.json()).ticket;
  };
  const base = `ws://127.0.0.1:${skald.port}/api/v1/db/bench/sync`;
  return {
    ...skald,
    name: "Skald",
    urls: async (count) => {
      const urls = [];
      for (let i = 0; i < count; i += 1) urls.push(`${base}?ticket=${encodeURIComponent(await ticket())}`);
      return urls;
    },
  };
}
