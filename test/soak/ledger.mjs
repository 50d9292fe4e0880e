import { appendFileSync, mkdirSync, rmSync } from "node:fs";
import path from "node:path";

/**
 * What was acknowledged, kept outside the server: one book for each life of a db, from its making to its
 * deletion. A book is a file of JSON lines and, as long as the db lives, the same in memory; the load
 * deletes a db before its book gets large, so memory is bounded.
 *
 *   {seq, commit, tx?}     acknowledged
 *   {unknown: tx, docs?}   sent, and the answer never came
 *   {refused: tx}          sent, and refused
 */
export class Book {
  commits = new Map();
  /** tx → seq, of those that named one. */
  byTx = new Map();
  /** tx → names of the documents it wrote, undefined when that is not told. */
  unknown = new Map();
  refused = new Set();
  /** Writes without a name whose answer never came. */
  nameless = 0;
  problems = [];
  #file;
  #lines = [];

  constructor({ folder, db, uid }) {
    this.db = db;
    this.uid = uid;
    mkdirSync(folder, { recursive: true });
    this.#file = path.join(folder, `${db}-${uid.slice(0, 8)}.ndjson`);
  }

  acknowledged({ seq, commit, tx, duplicate = false }) {
    const known = this.commits.get(seq);
    if (known !== undefined && known !== commit)
      this.problems.push(`seq ${seq} was acknowledged as ${known} and as ${commit}`);
    const before = tx === undefined ? undefined : this.byTx.get(tx);
    // What changed nothing is answered with the newest commit and leaves no receipt.
    if (tx !== undefined && (!duplicate || before !== undefined || this.unknown.has(tx))) {
      if (before !== undefined && before !== seq)
        this.problems.push(`${tx} was given seq ${before} and then ${seq}`);
      if (before !== undefined && !duplicate) this.problems.push(`${tx} was taken twice without a word`);
      this.byTx.set(tx, seq);
      this.unknown.delete(tx);
    }
    if (known === undefined) {
      this.commits.set(seq, commit);
      this.#write({ seq, commit, ...(tx === undefined ? {} : { tx }) });
    }
  }

  /** `named`: the commit would carry the transaction's name. */
  lost({ tx, docs, named = false }) {
    if (!named) this.nameless += 1;
    if (tx !== undefined && !this.byTx.has(tx)) this.unknown.set(tx, docs);
    this.#write({ unknown: tx ?? null, ...(docs === undefined ? {} : { docs }) });
  }

  refusedFor(tx) {
    // A repeat that is refused says nothing of what it repeats.
    if (tx === undefined || this.byTx.has(tx) || this.unknown.has(tx)) return;
    // Of old ones only the newest are remembered.
    if (this.refused.size > 5000) this.refused.delete(this.refused.values().next().value);
    this.refused.add(tx);
    this.#write({ refused: tx });
  }

  #write(line) {
    this.#lines.push(JSON.stringify(line));
    if (this.#lines.length >= 200) this.flush();
  }

  flush() {
    if (this.#lines.length > 0) appendFileSync(this.#file, `${this.#lines.join("\n")}\n`);
    this.#lines = [];
  }

  /** The db is gone and was compared. */
  close() {
    this.#lines = [];
    rmSync(this.#file, { force: true });
  }
}

/** A commit that carries the name of its transaction says so in its message. */
export const messageOf = (tx) => `tx ${tx}`;
const txOf = (message) => (message?.startsWith("tx ") ? message.slice(3) : undefined);

/**
 * Compares a book with the whole log (commits as `GET …/commits` gives them, in order). Gives what is wrong,
 * and of the transactions of unknown outcome those that turn out to be there (tx → {seq, commit}).
 * Nothing may be written meanwhile.
 */
export function compare(book, log) {
  const wrong = [...book.problems];
  const say = (what) => {
    if (wrong.length < 50) wrong.push(what);
  };
  const found = new Map();
  const seen = new Map();
  let unexplained = 0;
  let before;
  log.forEach((commit, i) => {
    const { seq, cid, parents, message, author, entries, time } = commit;
    if (seq !== i + 1) say(`the log has seq ${seq} in place ${i + 1}`);
    if (before && parents[0] !== before.cid) say(`commit ${seq} does not follow ${before.cid}`);
    if (before && Date.parse(time) < Date.parse(before.time))
      say(`commit ${seq} is older than the one before`);
    before = commit;
    const known = book.commits.get(seq);
    if (known !== undefined && known !== cid) say(`seq ${seq} was acknowledged as ${known} and is ${cid}`);
    const tx = txOf(message);
    if (tx === undefined) {
      if (known === undefined && author !== "skald") unexplained += 1;
      return;
    }
    if (seen.has(tx)) say(`${tx} is there twice, as seq ${seen.get(tx)} and ${seq}`);
    seen.set(tx, seq);
    const acknowledged = book.byTx.get(tx);
    if (acknowledged !== undefined && acknowledged !== seq)
      say(`${tx} was acknowledged as seq ${acknowledged} and is seq ${seq}`);
    if (book.refused.has(tx)) say(`${tx} was refused and is there as seq ${seq}`);
    if (book.unknown.has(tx)) {
      found.set(tx, { seq, commit: cid });
      const docs = book.unknown.get(tx);
      const there = new Set(entries.map(({ doc }) => doc));
      if (docs && (there.size !== docs.length || !docs.every((doc) => there.has(doc))))
        say(`${tx} is there in part: ${[...there].join(", ")} of ${docs.join(", ")}`);
    } else if (acknowledged === undefined && known === undefined) {
      say(`${tx} is there as seq ${seq} and nobody was told, nor was its answer lost`);
    }
  });
  for (const [seq, commit] of book.commits) {
    if (seq > log.length) say(`seq ${seq} (${commit}) was acknowledged and is not there`);
  }
  for (const [tx, seq] of book.byTx) {
    // Transactions without a message are found by their seq alone.
    const there = seen.get(tx);
    if (there !== undefined && there !== seq) say(`${tx} moved from seq ${seq} to ${there}`);
  }
  if (unexplained > book.nameless)
    say(`${unexplained} commits that nobody was told of, and only ${book.nameless} answers were lost`);
  return { wrong, found };
}
