import { parentPort } from "node:worker_threads";
import { packBundle } from "../log/bundle.ts";
import type { StoredCommit } from "../log/stored-commit.ts";

/** A thread that packs bundles: one takes a few tenths of a second, which no other request should wait for. */
interface PackRequest {
  readonly uid: Uint8Array;
  readonly commits: readonly StoredCommit[];
}

export type PackReply = { readonly body: Uint8Array } | { readonly error: string };

parentPort?.on("message", ({ uid, commits }: PackRequest) => {
  try {
    parentPort?.postMessage({ body: packBundle(uid, commits) } satisfies PackReply);
  } catch (error) {
    parentPort?.postMessage({ error: (error as Error).message } satisfies PackReply);
  }
});
