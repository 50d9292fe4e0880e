import { parentPort } from "node:worker_threads";
import { packBundle } from "../log/bundle.ts";
import { touchesIn, type Touch } from "../log/recover.ts";
import { openRecord, type StoredCommit } from "../log/stored-commit.ts";

/** A thread that packs bundles: one takes a few tenths of a second, which no other request should wait for. */
interface PackRecordsRequest {
  readonly uid: Uint8Array;
  readonly from: number;
  /** Records one after the other, and where each ends. */
  readonly bytes: Uint8Array;
  readonly ends: Uint32Array;
}

interface PackRequest {
  readonly uid: Uint8Array;
  readonly commits: readonly StoredCommit[];
}

export type PackReply =
  { readonly body: Uint8Array; readonly touched?: readonly Touch[] } | { readonly error: string };

parentPort?.on("message", (request: PackRequest | PackRecordsRequest) => {
  try {
    const commits =
      "commits" in request
        ? request.commits
        : Array.from(request.ends, (end, i) =>
            openRecord(request.bytes.subarray(i === 0 ? 0 : request.ends[i - 1], end), request.from + i),
          );
    const body = packBundle(request.uid, commits);
    parentPort?.postMessage({
      body,
      ...("commits" in request ? {} : { touched: touchesIn(commits) }),
    } satisfies PackReply);
  } catch (error) {
    parentPort?.postMessage({ error: (error as Error).message } satisfies PackReply);
  }
});
