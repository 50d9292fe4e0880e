import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { SkaldError } from "../errors.ts";
import type { CompactOptions, Log, PackBundle, PackRecords } from "../log/log.ts";
import type { PackReply } from "./bundle-worker.ts";

// The same file from the compiled program and from tests that load the sources.
const WORKER_FILE = fileURLToPath(new URL("../../dist/db/bundle-worker.js", import.meta.url));

/** Makes bundles for one compaction, away from what serves requests. */
export interface Packer {
  readonly pack: PackBundle;
  /** The same from records, so that nobody else has to take them apart; without it nothing is bundled by itself. */
  readonly packRecords?: PackRecords;
  end(): Promise<unknown>;
}

/** A packer on a thread of its own. */
export function startPacker(): Packer {
  const worker = new Worker(WORKER_FILE, { name: "skald-bundles" });
  const answer = async (): Promise<Exclude<PackReply, { error: string }>> => {
    const [reply] = (await once(worker, "message")) as [PackReply];
    if ("error" in reply) throw new SkaldError("INTERNAL", reply.error);
    return reply;
  };
  return {
    pack: async (uid, commits) => {
      worker.postMessage({ uid, commits });
      return (await answer()).body;
    },
    packRecords: async (uid, from, bodies) => {
      const bytes = new Uint8Array(bodies.reduce((sum, body) => sum + body.length, 0));
      const ends = new Uint32Array(bodies.length);
      let at = 0;
      bodies.forEach((body, i) => {
        bytes.set(body, at);
        ends[i] = at += body.length;
      });
      worker.postMessage({ uid, from, bytes, ends }, [bytes.buffer, ends.buffer]);
      const { body, touched = [] } = await answer();
      return { body, touched };
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
