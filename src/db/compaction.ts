import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { SkaldError } from "../errors.ts";
import type { CompactOptions, Log, PackBundle } from "../log/log.ts";
import type { PackReply } from "./bundle-worker.ts";

// The same file from the compiled program and from tests that load the sources.
const WORKER_FILE = fileURLToPath(new URL("../../dist/db/bundle-worker.js", import.meta.url));

/** Makes bundles for one compaction, away from what serves requests. */
export interface Packer {
  readonly pack: PackBundle;
  end(): Promise<unknown>;
}

/** A packer on a thread of its own. */
export function startPacker(): Packer {
  const worker = new Worker(WORKER_FILE, { name: "skald-bundles" });
  return {
    pack: async (uid, commits) => {
      worker.postMessage({ uid, commits });
      const [reply] = (await once(worker, "message")) as [PackReply];
      if ("error" in reply) throw new SkaldError("INTERNAL", reply.error);
      return reply.body;
    },
    end: () => worker.terminate(),
  };
}

/**
 * Puts the log's commits into bundles, packed by what `start` starts. Every address stays resolvable
 * and `verify` goes on checking every byte; see specs/03-log.md. Throws INTERNAL when commits do not
 * come back from their bundle, and then leaves them as they are.
 */
export async function compactLog(
  log: Log,
  start: () => Packer,
  options: CompactOptions = {},
): Promise<{ bundles: number; commits: number; before: number; after: number }> {
  const before = log.bytes();
  const packer = start();
  try {
    const done = await log.compact(packer.pack, options);
    return { ...done, before, after: log.bytes() };
  } finally {
    await packer.end();
  }
}
