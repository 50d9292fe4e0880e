import { cidFromString, cidToString } from "../ids/cid.ts";
import { fromHex } from "../ids/hash.ts";
import type { Place } from "../log/log.ts";
import type {
  ErasureListJson,
  SyncCompareJson,
  SyncMergedJson,
  SyncPlaceJson,
  SyncPushedJson,
} from "../protocol/wire.ts";
import { encodeHead, encodeRecords } from "./frames.ts";

/** Sends a request to a server and gives its answer's parts. Throws for every answer that is not 2xx. */
export type Ask = (request: {
  readonly method: "GET" | "PUT" | "POST";
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}) => Promise<AsyncIterable<Uint8Array>>;

export interface Compared {
  readonly uid: Uint8Array;
  readonly head: Place;
  readonly common: Place;
  readonly places: readonly Place[];
  readonly staged: Place | undefined;
}

/** A copy of a db on a server, as another copy sees it. */
export interface Peer {
  /** For people. */
  readonly name: string;
  compare(
    have: readonly Place[],
    between?: { readonly low: number; readonly high: number },
  ): Promise<Compared>;
  /** The stream of records after a commit up to another; see `frames.ts`. */
  pull(after: Place, upTo: number): Promise<AsyncIterable<Uint8Array>>;
  /** Those of these documents that it has erased. */
  erased(docs: readonly string[]): Promise<readonly string[]>;
  /**
   * Adds records after its head, and gives its new head. `erased` are documents that later records erase, and of which
   * these have changes without their bytes.
   */
  push(
    uid: Uint8Array,
    after: Place,
    bodies: readonly Uint8Array[],
    erased?: readonly string[],
  ): Promise<Place>;
  /** Adds records to another line beside its own, or begins one, and gives where that is then. */
  stage(
    uid: Uint8Array,
    after: Place,
    bodies: readonly Uint8Array[],
    erased?: readonly string[],
  ): Promise<Place>;
  /** Adopts the staged line and merges its own on top of it. */
  merge(staged: Place): Promise<Merged>;
}

export interface Merged {
  readonly head: Place;
  /** The two heads that there were. */
  readonly heads: readonly [here: Place, there: Place];
  readonly common: number;
}

export function httpPeer(ask: Ask, db: string, name: string): Peer {
  const base = `/api/v1/db/${encodeURIComponent(db)}/sync`;
  const post = (route: string, value: unknown): ReturnType<Ask> =>
    ask({
      method: "POST",
      path: `${base}/${route}`,
      headers: { "content-type": "application/json" },
      body: JSON.stringify(value),
    });
  const send = (
    route: string,
    uid: Uint8Array,
    after: Place,
    bodies: readonly Uint8Array[],
    erased: readonly string[] = [],
  ): ReturnType<Ask> =>
    ask({
      method: "POST",
      path: `${base}/${route}`,
      headers: { "content-type": "application/cbor-seq" },
      body: Buffer.concat([
        encodeHead({ uid, after: after.seq, commit: after.cid, erased }),
        encodeRecords(bodies),
      ]),
    });
  return {
    name,
    compare: async (have, between) => {
      const answer = await readJson<SyncCompareJson>(
        await post("compare", { have: have.map(placeJson), ...(between ? { between } : {}) }),
      );
      return {
        uid: fromHex(answer.uid),
        head: placeOf(answer),
        common: placeOf(answer.common),
        places: answer.places.map(placeOf),
        staged: answer.staged ? placeOf(answer.staged) : undefined,
      };
    },
    erased: async (docs) => {
      const found: string[] = [];
      for (let at = 0; at < docs.length; at += ASKED) {
        const query = docs.slice(at, at + ASKED).map((doc) => `doc=${encodeURIComponent(doc)}`);
        const path = `/api/v1/db/${encodeURIComponent(db)}/erasures?limit=${ASKED}&${query.join("&")}`;
        const answer = await readJson<ErasureListJson>(await ask({ method: "GET", path }));
        found.push(...answer.erasures.map(({ doc }) => doc));
      }
      return found;
    },
    pull: (after, upTo) => post("pull", { after: placeJson(after), up_to: upTo }),
    push: async (...page) => placeOf(await readJson<SyncPushedJson>(await send("push", ...page))),
    stage: async (...page) => placeOf(await readJson<SyncPlaceJson>(await send("stage", ...page))),
    merge: async (staged) => {
      const answer = await readJson<SyncMergedJson>(await post("merge", placeJson(staged)));
      const [here, there] = answer.heads.map(placeOf) as [Place, Place];
      return { head: placeOf(answer), heads: [here, there], common: answer.common };
    },
  };
}

/** Documents that are asked for in one URL. */
const ASKED = 25;

export async function readJson<T>(parts: AsyncIterable<Uint8Array>): Promise<T> {
  const all: Uint8Array[] = [];
  for await (const part of parts) all.push(part);
  return JSON.parse(Buffer.concat(all).toString("utf8")) as T;
}

export function placeOf({ seq, commit }: { readonly seq: number; readonly commit: string | null }): Place {
  return { seq, cid: commit === null ? undefined : cidFromString(commit) };
}

export function placeJson({ seq, cid }: Place): { seq: number; commit: string | null } {
  return { seq, commit: cid ? cidToString(cid) : null };
}
