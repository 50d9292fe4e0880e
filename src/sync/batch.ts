import { BloomFilter } from "./bloom.ts";
import type { History, HistoryChange, Most, Since, Stretch } from "./history.ts";
import type { Have } from "./sync-message.ts";

/** What is sent in one message, and what it says of us. */
export interface Batch {
  /** The heads that the message names as ours. */
  readonly heads: readonly string[];
  readonly have: readonly Have[];
  readonly parts: readonly Uint8Array[];
  /** Sent because they were asked for by name. */
  readonly served: readonly string[];
  /** What the peer has once the message arrives. */
  readonly upTo?: UpTo;
}

/** All of the document as of commit `seq`, and these heads and what they build on. */
export interface UpTo {
  readonly seq: number;
  readonly heads: readonly string[];
}

/** What a batch follows from. */
export interface Peer {
  readonly has: UpTo;
  /** What it asks for by name and was not sent since. */
  readonly need: readonly string[];
  readonly filters: readonly { readonly lastSync: readonly string[]; readonly bloom: BloomFilter }[];
  readonly version2: boolean;
  /** It takes changes from us. */
  readonly feeds: boolean;
}

const NONE = new Uint8Array(0);

/** To a peer of which nothing was heard yet. Without common ground it is left to speak first. */
export async function firstBatch(history: History, shared: readonly string[]): Promise<Batch> {
  const { heads } = history;
  const silent: Batch = { heads, have: [], parts: [], served: [] };
  if (shared.length === 0) return silent;
  for (const head of shared) if ((await history.seqOf(head)) === undefined) return silent;
  const since = await history.since(shared, FIRST);
  if (!since) return silent;
  const bloom = BloomFilter.of(since.changes.map(({ hash }) => hash)).encode();
  return { ...silent, heads: since.heads, have: [{ lastSync: shared, bloom }] };
}

/**
 * To a peer whose heads are all here: everything that is not before them or was sent already, so nothing is left
 * to chance. Then both have all of ours, and it sends what is not among that.
 */
export async function exactBatch(history: History, peer: Peer): Promise<Batch> {
  if (!peer.feeds) return onlyHeads(history, peer);
  const known = peer.has.heads;
  const since = goesOn(history, peer) ? await history.since(known, most(history, peer)) : undefined;
  if (since) {
    const served = await byName(history, peer.need, new Set(since.changes.map(({ hash }) => hash)));
    return newer(since, served);
  }
  return peer.version2 ? wholeBatch(history) : portion(history, known);
}

/** The same when it follows from what is in memory, as it does for peers that wait for news. */
export function exactNow(history: History, peer: Peer): Batch | "later" {
  if (!peer.feeds) return onlyHeads(history, peer);
  if (peer.need.length > 0 || !goesOn(history, peer)) return "later";
  const since = history.sinceNow(peer.has.heads, most(history, peer));
  return since === undefined || since === "later" ? "later" : newer(since, []);
}

function onlyHeads({ heads }: History, { has }: Peer): Batch {
  return { heads, have: [{ lastSync: has.heads, bloom: NONE }], parts: [], served: [] };
}

/** Whether the peer is sent single changes, if these are few enough. */
function goesOn({ size }: History, { has, version2 }: Peer): boolean {
  return has.heads.length > 0 || size <= SMALL || !version2;
}

function newer({ heads, seq, changes }: Since, served: readonly HistoryChange[]): Batch {
  return {
    heads,
    have: [{ lastSync: heads, bloom: NONE }],
    parts: [...served, ...changes].map(({ bytes }) => bytes),
    served: served.map(({ hash }) => hash),
    upTo: { seq, heads },
  };
}

/**
 * To a peer with heads that are not here: what is not before common ground and, so says its filter, not there. The
 * filter is wrong now and then; the peer then asks by name.
 */
export async function filteredBatch(history: History, peer: Peer): Promise<Batch> {
  // As they are now: what is committed while this works is the next message's.
  const { heads, seq } = history;
  const claimed = await common(history, peer.filters);
  let ground = [...new Set([...peer.has.heads, ...claimed])].sort();
  let stretch = await history.stretch(ground);
  if (claimed.length > 0 && (await contradicts(history, peer.need, stretch))) {
    // It asks for something before what it says both have: it lost that since it last said so.
    ground = [...peer.has.heads];
    stretch = await history.stretch(ground);
  }
  const bloom = await filterOf(history, stretch);
  const have = [{ lastSync: ground, bloom: bloom.encode() }];
  if (!peer.feeds) return { heads, have, parts: [], served: [] };
  const sent = await notThere(history, stretch, peer, most(history, peer));
  if (!sent) return { ...(await wholeBatch(history)), have };
  const served = await byName(history, peer.need, sent);
  const parts = served.map(({ bytes }) => bytes);
  const pace = history.pace();
  for (let i = 0, left = sent.size; left > 0; i += 1) {
    if (!sent.has(stretch.hash(i))) continue;
    parts.push(stretch.change(i).bytes);
    left -= 1;
    if (pace.due()) await pace.turn();
  }
  return {
    heads,
    have,
    parts,
    served: served.map(({ hash }) => hash),
    ...(peer.filters.length > 0 ? { upTo: { seq, heads } } : {}),
  };
}

/** The document as it is saved, where that is less than what is missing one by one. */
async function wholeBatch(history: History): Promise<Batch> {
  const { heads, seq, bytes } = await history.save();
  const parts = bytes.length > 0 ? [bytes] : [];
  return { heads, have: [{ lastSync: heads, bloom: NONE }], parts, served: [], upTo: { seq, heads } };
}

/** For a peer that takes single changes only: as many as go into a message, oldest first. */
async function portion(history: History, known: readonly string[]): Promise<Batch> {
  const { heads, seq } = history;
  const stretch = await history.stretch(known);
  const tips = new Set(known);
  const parts: Uint8Array[] = [];
  const pace = history.pace();
  let bytes = 0;
  for (let i = 0; i < stretch.length && bytes < PORTION_BYTES; i += 1) {
    const change = stretch.change(i);
    for (const dep of change.deps) tips.delete(dep);
    tips.add(change.hash);
    parts.push(change.bytes);
    bytes += change.bytes.length;
    if (pace.due()) await pace.turn();
  }
  const all = parts.length === stretch.length;
  const upTo = all ? { seq, heads } : { seq: 0, heads: [...tips].sort() };
  return { heads, have: [{ lastSync: upTo.heads, bloom: NONE }], parts, served: [], upTo };
}

/** Beyond a third of the document it takes less to send all of it, saved. */
function most(history: History, { version2 }: Peer): Most {
  if (!version2) return SINGLE;
  const changes = Math.max(SMALL, Math.min(MANY.changes, Math.floor(history.size / 3)));
  return { changes, bytes: MANY.bytes };
}

/** Changes that were asked for by name and are not among `sent`. */
async function byName(
  history: History,
  need: readonly string[],
  sent: ReadonlySet<string>,
): Promise<HistoryChange[]> {
  const found: HistoryChange[] = [];
  const pace = history.pace();
  for (const hash of need) {
    const change = sent.has(hash) ? undefined : await history.change(hash);
    if (change) found.push(change);
    if (pace.due()) await pace.turn();
  }
  return found;
}

/** What the peer's filters say both have, as far as it is here. */
async function common(history: History, filters: Peer["filters"]): Promise<string[]> {
  const found: string[] = [];
  for (const { lastSync } of filters) {
    for (const hash of lastSync) if ((await history.seqOf(hash)) !== undefined) found.push(hash);
  }
  return found;
}

async function contradicts(history: History, need: readonly string[], stretch: Stretch): Promise<boolean> {
  if (need.length === 0) return false;
  const left = new Set<string>();
  for (const hash of need) if ((await history.seqOf(hash)) !== undefined) left.add(hash);
  const pace = history.pace();
  for (let i = 0; i < stretch.length && left.size > 0; i += 1) {
    left.delete(stretch.hash(i));
    if (pace.due()) await pace.turn();
  }
  return left.size > 0;
}

async function filterOf(history: History, stretch: Stretch): Promise<BloomFilter> {
  const filter = BloomFilter.sized(stretch.length);
  const pace = history.pace();
  for (let i = 0; i < stretch.length; i += 1) {
    filter.add(stretch.hash(i));
    if ((i & 63) === 0 && pace.due()) await pace.turn();
  }
  return filter;
}

/** Hashes of the changes that no filter has, and of what builds on them; undefined for more than `bound`. */
async function notThere(
  history: History,
  stretch: Stretch,
  { filters, version2 }: Peer,
  bound: Most,
): Promise<Set<string> | undefined> {
  const sent = new Set<string>();
  if (filters.length === 0) return sent;
  const pace = history.pace();
  for (let i = 0; i < stretch.length; i += 1) {
    const hash = stretch.hash(i);
    if (filters.every(({ bloom }) => !bloom.has(hash)) || stretch.deps(i).some((dep) => sent.has(dep))) {
      sent.add(hash);
      if (version2 && sent.size > bound.changes) return undefined;
    }
    if ((i & 63) === 0 && pace.due()) await pace.turn();
  }
  return sent;
}

/** A document of so few changes is sent as these, which needs nobody to save it. */
const SMALL = 32;
const MANY: Most = { changes: 20_000, bytes: 4 * 1024 * 1024 };
const SINGLE: Most = { changes: 20_000, bytes: 16 * 1024 * 1024 };
const FIRST: Most = { changes: 2000, bytes: 2 * 1024 * 1024 };
const PORTION_BYTES = 16 * 1024 * 1024;
