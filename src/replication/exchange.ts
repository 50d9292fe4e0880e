import { SkaldError, isSkaldError } from "../errors.ts";
import { CODEC_DAG_CBOR, cidFromDigest, cidToString } from "../ids/cid.ts";
import { toHex } from "../ids/hash.ts";
import { erasedBy, stubbedIn } from "../log/erased.ts";
import type { Place } from "../log/log.ts";
import { openRecord, type StoredCommit } from "../log/stored-commit.ts";
import { readEnd, readFrames, readHead } from "./frames.ts";
import { placeJson, type Compared, type Peer } from "./peer.ts";
import { otherDb } from "./serve.ts";

/**
 * Brings two copies of a db together by what they have and lack. Whoever receives checks everything and says
 * what is durable; this here only carries, so it can break off at any byte and goes on from where the receiver
 * is. Memory: two pages.
 */

/** One request: some tens of milliseconds of work for the receiver. */
const PAGE_BYTES = 1024 * 1024;
const PAGE_RECORDS = 2048;

export interface Progress {
  readonly commits: number;
  readonly bytes: number;
  /** Of the commits that are to be carried. */
  readonly of: number;
}

export interface Carrying {
  readonly onProgress?: (progress: Progress) => void;
  /** Waits so many milliseconds. */
  readonly pause: (ms: number) => Promise<void>;
  readonly signal?: AbortSignal;
}

export interface Relation {
  readonly uid: Uint8Array;
  /** Where two copies stand, and the last commit that both have. */
  readonly here: Place;
  readonly there: Place;
  readonly common: Place;
}

/** Finds the last commit that two copies share. Throws SYNC_OTHER_DB when they are not copies of one db. */
export async function relate(here: Peer, there: Peer): Promise<Relation> {
  const own = await here.compare([]);
  const other = await there.compare(own.places);
  checkSame(here, own, other);
  const relation = { uid: own.uid, here: own.head, there: other.head };
  const mine = await here.compare([other.head]);
  // It is all in here, or it is all in there.
  if (mine.common.seq === other.head.seq) return { ...relation, common: other.head };
  let low = other.common;
  if (low.seq === own.head.seq) return { ...relation, common: low };
  let high = own.places.reduce(
    (least, { seq }) => (seq > low.seq && seq < least ? seq : least),
    Math.min(own.head.seq, other.head.seq) + 1,
  );
  while (high - low.seq > 1) {
    const { places } = await here.compare([], { low: low.seq, high });
    if (places.length === 0) break;
    const { common } = await there.compare(places);
    const above = places.filter(({ seq }) => seq > common.seq).at(-1);
    if (common.seq > low.seq) low = common;
    if (above) high = above.seq;
  }
  return { ...relation, common: low };
}

function checkSame(here: Peer, own: Compared, other: Compared): void {
  if (Buffer.compare(own.uid, other.uid) !== 0) throw otherDb(here.name, toHex(own.uid), toHex(other.uid));
}

export interface Carried {
  readonly commits: number;
  readonly bytes: number;
  readonly head: Place;
}

/**
 * Carries what `to` lacks of the line of `from`, of which it must be the beginning, up to where that is now.
 * Goes on after what breaks off for as long as it gets on. Throws SYNC_DIVERGED, SYNC_INVALID, what the
 * receiver refuses with, and what the connection breaks off with.
 */
export async function carry(from: Peer, to: Peer, relation: Relation, options: Carrying): Promise<Carried> {
  const tally = { commits: 0, bytes: 0 };
  const target = relation.here;
  const of = target.seq - relation.there.seq;
  let at = relation.there;
  let small = false;
  for (let tries = 0; at.seq < target.seq;) {
    const before = at.seq;
    try {
      await stream(from, to, { ...relation, there: at, here: target }, small, (commits, bytes, head) => {
        at = head;
        tally.commits += commits;
        tally.bytes += bytes;
        options.onProgress?.({ ...tally, of });
      });
    } catch (error) {
      tries = at.seq > before ? 1 : tries + 1;
      if (!mayPass(error) || tries > MOST_TRIES || options.signal?.aborted) throw error;
      // On a line that breaks all the time a small page may come through where a large one does not.
      small = true;
      await options.pause(PAUSE_MS * 2 ** tries);
      at = await standing(to, at);
    }
  }
  return { ...tally, head: at };
}

const MOST_TRIES = 5;
const PAUSE_MS = 50;

/** Where the receiver is: what was sent last may be durable, though its answer did not come. */
async function standing(to: Peer, at: Place): Promise<Place> {
  try {
    return (await to.compare([])).head;
  } catch (error) {
    if (mayPass(error)) return at;
    throw error;
  }
}

/** A stream that ended before its end. */
class BrokenOff extends Error {
  readonly code = "UNREACHABLE";
}

/** Whether the same may go well in a moment. */
function mayPass(error: unknown): boolean {
  return PASSING.has(String((error as { code?: unknown } | null)?.code));
}

const PASSING: ReadonlySet<string> = new Set([
  "UNREACHABLE",
  "UNAVAILABLE",
  "RATE_LIMITED",
  "WORK_BUSY",
  "REQUEST_TIMEOUT",
  "ECONNRESET",
  "ECONNREFUSED",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "ERR_STREAM_PREMATURE_CLOSE",
]);

type Landed = (commits: number, bytes: number, head: Place) => void;

async function stream(
  from: Peer,
  to: Peer,
  { uid, here: target, there: start }: Relation,
  small: boolean,
  landed: Landed,
): Promise<void> {
  const frames = readFrames(await from.pull(start, target.seq));
  const first = await frames.next();
  if (first.done) throw new BrokenOff(`${from.name} sent nothing.`);
  const head = readHead(first.value);
  if (Buffer.compare(head.uid, uid) !== 0) throw otherDb(from.name, toHex(uid), toHex(head.uid));
  if (head.after !== start.seq) throw wrong(from, `it begins after commit ${head.after}, not ${start.seq}`);
  let page: Uint8Array[] = [];
  let bytes = 0;
  /** The last record that was read. */
  let last = start;
  /** What the page follows. */
  let base = start;
  let sending: Promise<void> = Promise.resolve();
  const send = async (): Promise<void> => {
    await sending;
    const [bodies, size, after, end] = [page, bytes, base, last];
    [page, bytes, base] = [[], 0, last];
    const erased = await erasedLater(from, after, bodies);
    sending = to.push(uid, after, bodies, erased).then((there) => {
      if (there.seq < end.seq) throw wrong(to, `it took records up to ${end.seq} and is at ${there.seq}`);
      landed(bodies.length, size, end);
    });
    // Whoever waits for it hears; meanwhile the next page is read.
    sending.catch(() => {});
  };
  try {
    for await (const item of frames) {
      if (!(item instanceof Uint8Array)) {
        const { end, commit } = readEnd(item);
        if (page.length > 0) await send();
        await sending;
        const whole =
          end === last.seq && end === target.seq && sameCid(commit, last.cid) && sameCid(commit, target.cid);
        if (whole) return;
        throw wrong(
          from,
          `it promised commit ${target.seq} (${target.cid ? cidToString(target.cid) : "none"}) and ends with ${end}`,
        );
      }
      if (last.seq >= target.seq)
        throw wrong(from, `it goes on after commit ${target.seq}, which was the last one asked for`);
      last = { seq: last.seq + 1, cid: cidFromDigest(CODEC_DAG_CBOR, item.slice(1, 33)) };
      page.push(item);
      bytes += item.length;
      if (small || bytes >= PAGE_BYTES || page.length >= PAGE_RECORDS) await send();
    }
    throw new BrokenOff(`The answer of ${from.name} broke off.`);
  } catch (error) {
    // What came whole is sent all the same.
    if (mayPass(error) && page.length > 0) await send().catch(() => {});
    await sending.catch((failure: unknown) => {
      // Why the receiver refused says more than that the sender was cut off for it.
      if (!mayPass(failure) || isSkaldError(failure)) throw failure;
    });
    throw error;
  }
}

/**
 * Documents of which a page has changes without their bytes, and that it does not erase itself. Throws SYNC_INVALID
 * unless the sender says that it has erased them.
 */
async function erasedLater(
  from: Peer,
  after: Place,
  bodies: readonly Uint8Array[],
): Promise<readonly string[]> {
  const lacking = new Set<string>();
  const erased = new Set<string>();
  bodies.forEach((body, i) => {
    const stored = opened(body, after.seq + 1 + i);
    if (!stored) return;
    for (const doc of stubbedIn(stored)) lacking.add(doc);
    for (const doc of erasedBy(stored)) erased.add(doc);
  });
  const later = [...lacking].filter((doc) => !erased.has(doc));
  if (later.length === 0) return [];
  const said = new Set(await from.erased(later));
  const unsaid = later.find((doc) => !said.has(doc));
  if (unsaid !== undefined)
    throw wrong(from, `it sends changes of ${unsaid} without their bytes, and has not erased it`);
  return later;
}

/** What is no record is for the receiver to refuse. */
function opened(body: Uint8Array, seq: number): StoredCommit | undefined {
  try {
    return openRecord(body, seq);
  } catch {
    return undefined;
  }
}

function sameCid(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && Buffer.compare(a, b) === 0);
}

function wrong(peer: Peer, why: string): SkaldError {
  return new SkaldError("SYNC_INVALID", `What ${peer.name} sends is not what it said: ${why}.`);
}

/** Two copies of one db: this side's and the other server's. */
export interface Pair {
  readonly here: Peer;
  readonly there: Peer;
}

export interface Tally {
  readonly commits: number;
  readonly bytes: number;
}

export interface Exchanged {
  readonly received: Tally;
  readonly sent: Tally;
  /** Where this side is. */
  readonly head: { readonly seq: number; readonly commit: string | null };
  /** Commits that one side has and the other lacks. */
  readonly ahead: number;
  readonly behind: number;
  /** When both sides had written: the two heads that there were, and the last seq before. */
  readonly merged?: {
    readonly common: number;
    readonly heads: readonly { readonly seq: number; readonly commit: string | null }[];
  };
}

const NOTHING: Tally = { commits: 0, bytes: 0 };

/**
 * Brings what the other side has and this one lacks. When both have commits that the other lacks, this side takes
 * over the other's line with its own commits merged on top. Throws what `carry` throws, SYNC_EQUIVOCATION.
 */
export async function pull({ here, there }: Pair, carrying: Carrying): Promise<Exchanged> {
  for (let tries = 1; ; tries += 1) {
    const relation = await relate(there, here);
    const { common } = relation;
    const ahead = relation.there.seq - common.seq;
    const behind = relation.here.seq - common.seq;
    if (behind === 0)
      return { received: NOTHING, sent: NOTHING, head: placeJson(relation.there), ahead, behind };
    try {
      if (ahead === 0) {
        const { commits, bytes, head } = await carry(there, here, relation, carrying);
        return { received: { commits, bytes }, sent: NOTHING, head: placeJson(head), ahead: 0, behind: 0 };
      }
      return await pullMerging({ here, there }, relation, carrying);
    } catch (error) {
      // Somebody wrote to this side, or merged, just now.
      if ((error as { code?: unknown }).code !== "SYNC_DIVERGED" || tries === MOST_TRIES) throw error;
    }
  }
}

/** Stages what the other side has since the last common commit, going on after what was staged before, and merges. */
async function pullMerging(
  { here, there }: Pair,
  relation: Relation,
  carrying: Carrying,
): Promise<Exchanged> {
  const line: Peer = {
    ...here,
    push: (...page) => here.stage(...page),
    compare: async (have) => {
      const now = await here.compare(have);
      return { ...now, head: now.staged ?? relation.common };
    },
  };
  const { staged } = await here.compare([]);
  const goesOn =
    staged !== undefined &&
    staged.seq > relation.common.seq &&
    (await there.compare([staged])).common.seq === staged.seq;
  const from = goesOn ? staged : relation.common;
  const { commits, bytes, head } = await carry(there, line, { ...relation, there: from }, carrying);
  const merged = await here.merge(head);
  return {
    received: { commits, bytes },
    sent: NOTHING,
    head: placeJson(merged.head),
    ahead: merged.head.seq - head.seq,
    behind: 0,
    merged: { common: merged.common, heads: merged.heads.map(placeJson) },
  };
}

/**
 * Sends what this side has and the other one lacks. When the other side has commits too, it pulls and merges first,
 * unless that is not wanted. Throws what `carry` throws, SYNC_DIVERGED.
 */
export async function push(
  { here, there }: Pair,
  carrying: Carrying,
  { merge = true }: { readonly merge?: boolean } = {},
): Promise<Exchanged> {
  let before: Exchanged | undefined;
  for (let tries = 1; ; tries += 1) {
    const relation = await relate(here, there);
    const { common } = relation;
    const ahead = relation.here.seq - common.seq;
    const behind = relation.there.seq - common.seq;
    const soFar = { received: NOTHING, ...before, head: placeJson(relation.here) };
    if (ahead === 0) return { ...soFar, sent: NOTHING, ahead, behind };
    try {
      if (behind === 0) {
        const { commits, bytes } = await carry(here, there, relation, carrying);
        return { ...soFar, sent: { commits, bytes }, ahead: 0, behind: 0 };
      }
      if (!merge) throw diverged(relation.here, relation.there, common);
    } catch (error) {
      // Somebody wrote to the other side just now.
      if (!merge || (error as { code?: unknown }).code !== "SYNC_DIVERGED" || tries === MOST_TRIES)
        throw error;
    }
    const pulled = await pull({ here, there }, carrying);
    before = { ...pulled, received: added(before?.received ?? NOTHING, pulled.received) };
  }
}

function added(a: Tally, b: Tally): Tally {
  return { commits: a.commits + b.commits, bytes: a.bytes + b.bytes };
}

function diverged(here: Place, there: Place, common: Place): SkaldError {
  return new SkaldError(
    "SYNC_DIVERGED",
    `This side is at commit ${here.seq}, the other at ${there.seq}; both have ${common.seq}.`,
    { details: { here: placeJson(here), there: placeJson(there), common: placeJson(common) } },
  );
}
