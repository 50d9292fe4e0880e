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

/** Skald with the db `bench`, which automerge-repo's clients reach at `/` as they do their own server. */
export async function startLiveSkald(dir, { profile, nodeFlags = [] } = {}) {
  const skald = await startSkald({
    dir,
    profile,
    nodeFlags,
    flags: ["--sync-root", "bench", "--scrub-days", "0"],
  });
  const url = `ws://127.0.0.1:${skald.port}/`;
  return { ...skald, name: "Skald", urls: async (count) => Array.from({ length: count }, () => url) };
}
