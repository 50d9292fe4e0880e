import { cidDigest, cidOf, cidToString, CODEC_DAG_CBOR } from "../ids/cid.ts";
import { toHex } from "../ids/hash.ts";
import { prefixOf } from "../log/address-map.ts";
import { lineOf } from "../log/commit.ts";
import { mergedIn } from "../log/merged.ts";
import { addressesOf, headersIn, type StoredCommit } from "../log/stored-commit.ts";
import { guarded } from "./check-catalog.ts";
import type { Checking, Progress } from "./checking.ts";

const PAGE = 64;
/** Page sizes of the windows. */
const SIZES = [1, 2, 7, 64, 500];
const WINDOW = 130;
/** Windows lie around this many bundles' ends, the oldest and the newest ones. */
const BUNDLES = 4;

/**
 * Reads the log as subscribers do, once from the start and then in windows from many places with pages of
 * many sizes; compares on the way what the catalog knows of each commit: its addresses and its receipt.
 * Costs about as much as the walk again: 0.13 ms a commit.
 */
export function* checkFeed(checking: Checking): Generator<Progress> {
  const { db, walk, records, catchUp, report } = checking;
  const { log } = db;
  catchUp();
  const of = walk.seq;
  const end = walk.head;
  let last: StoredCommit | undefined;
  for (let from = 1; from <= of;) {
    const page = pageFrom(checking, from, PAGE);
    for (const stored of page) {
      const { commit } = stored;
      const parent = lineOf(commit);
      if (last ? !parent || Buffer.compare(parent, last.cid) !== 0 : parent !== undefined)
        report("feed", `commit ${commit.seq} does not follow the one read before it`);
      if (Buffer.compare(cidOf(CODEC_DAG_CBOR, stored.bytes), stored.cid) !== 0)
        report("feed", `commit ${commit.seq} is not what its address says`);
      guarded(
        (where) => report("catalog", where, "rebuild"),
        `commit ${commit.seq}`,
        () => compareNames(checking, stored),
      );
      last = stored;
      if (commit.seq === of) break;
    }
    if (page.length === 0) break;
    from += page.length;
    yield { done: Math.min(from - 1, of), of };
  }
  // Each names the one before, so the last one vouches for all of them.
  if (of > 0 && (!end || !last || Buffer.compare(last.cid, end) !== 0))
    report("feed", `read from the start it does not end with commit ${of}`);

  for (const start of cursors(checking, of)) {
    for (const size of SIZES) {
      let at = start;
      while (at <= of && at < start + Math.min(WINDOW, 3 * size)) {
        const page = pageFrom(checking, at, size);
        if (page.length === 0) break;
        for (const { cid, commit } of page) {
          const there = records.commit(commit.seq);
          if (!there || Buffer.compare(there.cid, cid) !== 0)
            report("feed", `commit ${commit.seq}, read with others from ${at} on, is ${cidToString(cid)}`);
        }
        at += page.length;
      }
      yield { done: of, of };
    }
  }
  guarded(
    (where) => report("feed", where),
    "commits after the head",
    () => {
      if (log.commits(log.head().seq + 1, 1).length > 0) report("feed", "there are commits after the head");
    },
  );
}

/** A page, checked to start where it should and to go on without a gap; empty when it does not. */
function pageFrom({ db, report }: Checking, from: number, limit: number): StoredCommit[] {
  const what = `${limit} commits from ${from} on`;
  const page = guarded(
    (where) => report("feed", where),
    what,
    () => db.log.commits(from, limit),
  );
  if (!page) return [];
  const seqs = page.map(({ commit }) => commit.seq);
  if (page.length > 0 && page.length <= limit && seqs.every((seq, i) => seq === from + i)) return page;
  report("feed", `${what} are ${seqs.slice(0, 10).join(", ") || "none"}`);
  return [];
}

/** Places to read from: both ends, the middle, and around the ends of bundles. */
function cursors({ storage }: Checking, of: number): number[] {
  const ends = storage.ranges().map(({ last }) => last);
  const some = [...ends.slice(0, BUNDLES), ...ends.slice(-BUNDLES)];
  const places = [1, 2, Math.ceil(of / 2), of - 8, of, ...some.flatMap((end) => [end - 1, end, end + 1])];
  return [...new Set(places)].filter((place) => place >= 1 && place <= of);
}

/** What the catalog finds of a commit: its receipt always, its addresses until it is in a bundle. */
function compareNames({ db, report, records }: Checking, stored: StoredCommit): void {
  const catalog = db.log.answers;
  const { commit, clientTxId } = stored;
  const { seq, author } = commit;
  if (clientTxId !== "") {
    const found = catalog.receipt(author, clientTxId);
    if (found !== seq && !isEarlier(records.commit(found ?? 0), stored)) {
      const given = found === undefined ? "nothing" : `commit ${found}`;
      report("receipts", `commit ${seq}: a repeat of ${author}'s ${clientTxId} finds ${given}`, "rebuild");
    }
  }
  for (const { commit: within, clientTxId: id } of mergedIn(stored)) {
    const found = id === "" ? seq : catalog.receipt(within.author, id);
    if (found !== undefined && found <= seq) continue;
    report(
      "receipts",
      `commit ${seq}: a repeat of ${within.author}'s ${id}, which it merged, is not found`,
      "rebuild",
    );
  }
  if (seq <= catalog.bundledUpTo()) return;
  const hashes = [
    toHex(cidDigest(stored.cid)),
    ...addressesOf(commit).map((address) => toHex(cidDigest(address))),
    ...commit.entries.flatMap((entry) => headersIn(stored, entry.doc).map((header) => header.hash)),
  ];
  for (const hash of hashes) {
    if (!catalog.find(prefixOf(hash)).includes(seq))
      report("catalog", `commit ${seq}: it does not find ${hash}`, "rebuild");
  }
}

/** Whether a receipt that is not this commit's is that of an earlier commit with the same pair: the log's own fault. */
function isEarlier(found: StoredCommit | undefined, stored: StoredCommit): boolean {
  return (
    found !== undefined &&
    found.commit.seq < stored.commit.seq &&
    found.clientTxId === stored.clientTxId &&
    found.commit.author === stored.commit.author
  );
}
