import { cidToString } from "../../src/ids/cid.ts";
import { Records } from "../../src/log/records.ts";
import type { StoredCommit } from "../../src/log/stored-commit.ts";
import { openSqliteLog } from "../../src/store/sqlite-log.ts";
import { findingsIn } from "../support/ledger.ts";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Value = { [key: string]: Json };

/** What one write means to a document. */
export type Effect =
  | { readonly doc: string; readonly kind: "put"; readonly value: Value; readonly base?: readonly string[] }
  | { readonly doc: string; readonly kind: "patch"; readonly value: Value; readonly base?: readonly string[] }
  | { readonly doc: string; readonly kind: "delete" }
  | { readonly doc: string; readonly kind: "set"; readonly key: string; readonly value: number }
  /** Changes by somebody who means harm: whatever comes of them concerns their own document. */
  | { readonly doc: string; readonly kind: "hostile" };

/** A transaction that a client wants, however often it sends it. */
export interface Intent {
  readonly db: string;
  readonly author: string;
  readonly id: string;
  readonly effects: readonly Effect[];
  sent: number;
  /** What was acknowledged to anybody before it was first sent. */
  floor: number;
  receipt?: Ack;
  /** Code of a refusal that ended it. */
  refused?: string;
}

export interface Ack {
  readonly seq: number;
  readonly commit: string;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly duplicate: boolean;
}

interface Seen {
  readonly who: string;
  readonly db: string;
  readonly doc: string;
  /** Everything acknowledged before the question was asked is at or below this seq. */
  readonly floor: number;
  /** The point of the answer; undefined for "not there", which names none. */
  readonly seq: number | undefined;
  readonly json: string | undefined;
}

/** Everything that clients asked for and were told, kept outside of the server, and what must follow from it. */
export class History {
  readonly intents: Intent[] = [];
  readonly #acked = new Map<string, Map<number, string>>();
  readonly #highest = new Map<string, number>();
  readonly #seen: Seen[] = [];
  readonly #timed: {
    readonly who: string;
    readonly db: string;
    readonly time: number;
    readonly seq: number;
  }[] = [];
  readonly #wrong: (what: string) => void;
  reads = 0;

  constructor(wrong: (what: string) => void) {
    this.#wrong = wrong;
  }

  intend(db: string, author: string, effects: readonly Effect[]): Intent {
    const made: Intent = { db, author, id: `${author}-${this.intents.length}`, effects, sent: 0, floor: 0 };
    this.intents.push(made);
    return made;
  }

  /** Is about to be sent. */
  sending(intent: Intent): void {
    if (intent.sent === 0) intent.floor = this.floor(intent.db);
    intent.sent += 1;
  }

  /** The seq that every later answer must be at or above. */
  floor(db: string): number {
    return this.#highest.get(db) ?? 0;
  }

  /** An answer that holds for `seq` was heard. */
  heard(who: string, db: string, seq: number, floor: number): void {
    if (seq < floor) this.#wrong(`${who} was answered at ${seq}, after ${floor} was acknowledged`);
    this.#highest.set(db, Math.max(this.floor(db), seq));
  }

  acknowledge(intent: Intent, ack: Ack): void {
    const { db, id, receipt } = intent;
    if (receipt && !receipt.duplicate && (receipt.seq !== ack.seq || receipt.commit !== ack.commit)) {
      this.#wrong(`${id} got two receipts: ${receipt.seq} ${receipt.commit} and ${ack.seq} ${ack.commit}`);
    }
    if (!receipt || receipt.duplicate) intent.receipt = ack;
    if (!ack.duplicate && ack.seq <= intent.floor)
      this.#wrong(`${id} was written at ${ack.seq}, below ${intent.floor}, which was acknowledged before`);
    const known = this.#commits(db);
    if ((known.get(ack.seq) ?? ack.commit) !== ack.commit)
      this.#wrong(`commit ${ack.seq} of ${db} has two addresses`);
    known.set(ack.seq, ack.commit);
    // A duplicate names an old commit; the db may be far beyond it.
    this.#highest.set(db, Math.max(this.floor(db), ack.seq));
  }

  /** A commit that was read from a list: as good as acknowledged. */
  listed(db: string, seq: number, commit: string): void {
    const known = this.#commits(db);
    if ((known.get(seq) ?? commit) !== commit) this.#wrong(`commit ${seq} of ${db} was listed as another`);
    known.set(seq, commit);
  }

  read(seen: Seen): void {
    this.reads += 1;
    this.#seen.push(seen);
    if (seen.seq !== undefined) this.heard(seen.who, seen.db, seen.seq, seen.floor);
  }

  /** A time was asked for, that of a commit at or below `floor`, and this point was the answer. */
  timed(who: string, db: string, time: number, seq: number, floor: number): void {
    if (seq < floor) this.#wrong(`${who} asked for the time of ${floor} and got ${seq}`);
    this.#timed.push({ who, db, time, seq });
  }

  #commits(db: string): Map<number, string> {
    let known = this.#acked.get(db);
    if (!known) this.#acked.set(db, (known = new Map<number, string>()));
    return known;
  }

  /** What was acknowledged is in the log in `folder`, and nothing that nobody asked for. */
  check(db: string, folder: string, final: boolean): void {
    const storage = openSqliteLog(folder, db, { readonly: true });
    try {
      // Nothing in a log is ever repaired, so what a crash spoilt shows at the end.
      if (final) {
        for (const { what, where } of findingsIn(storage))
          this.#wrong(`verify of ${db}: ${what} at ${where}`);
      }
      const records = new Records(storage);
      const commits: StoredCommit[] = [];
      while (commits.length < storage.last()) commits.push(...records.page(commits.length + 1, 1000));
      for (const [seq, commit] of this.#commits(db)) {
        const found = commits[seq - 1];
        if (!found || cidToString(found.cid) !== commit)
          this.#wrong(`commit ${seq} of ${db} is lost: ${commit}`);
      }
      if (final) this.#replay(db, commits);
    } finally {
      storage.close();
    }
  }

  #replay(db: string, commits: readonly StoredCommit[]): void {
    const wanted = new Map(this.intents.filter((one) => one.db === db).map((one) => [one.id, one]));
    const model = new Model();
    const done = new Map<string, number>();
    for (const { commit, clientTxId } of commits) {
      if (commit.author === "skald") {
        if (!commit.entries.every(({ doc }) => doc.startsWith("h/")))
          this.#wrong(`commit ${commit.seq} sets aside changes of good documents`);
        continue;
      }
      const intent = wanted.get(clientTxId);
      if (!intent || intent.author !== commit.author) {
        this.#wrong(`commit ${commit.seq} of ${db} was wanted by nobody: ${commit.author} ${clientTxId}`);
        continue;
      }
      if (done.has(intent.id))
        this.#wrong(`${intent.id} was written at ${done.get(intent.id)} and ${commit.seq}`);
      done.set(intent.id, commit.seq);
      const touched = new Set(commit.entries.map(({ doc }) => doc));
      for (const effect of intent.effects) {
        if (!touched.has(effect.doc)) continue;
        if ((effect.kind === "put" || effect.kind === "patch") && effect.base) {
          const base = commit.entries.find(({ doc }) => doc === effect.doc)?.base ?? [];
          if ([...base].sort().join() !== [...effect.base].sort().join())
            this.#wrong(`${intent.id} was written on other heads than it named`);
        }
        model.apply(effect, commit.seq);
      }
      const { receipt } = intent;
      if (receipt && !receipt.duplicate && receipt.seq !== commit.seq)
        this.#wrong(`${intent.id} is commit ${commit.seq}, its receipt says ${receipt.seq}`);
      if (receipt?.duplicate && receipt.seq !== commit.seq)
        this.#wrong(`${intent.id} is commit ${commit.seq}, its repeat was answered with ${receipt.seq}`);
      if (receipt && receipt.seq === commit.seq && receipt.time !== commit.time)
        this.#wrong(`${intent.id} has the time ${commit.time}, its receipt says ${receipt.time}`);
      if (intent.refused !== undefined && intent.sent === 1)
        this.#wrong(`${intent.id} was refused with ${intent.refused} and is commit ${commit.seq}`);
    }
    for (const intent of wanted.values()) {
      const { receipt } = intent;
      if (receipt && !receipt.duplicate && done.get(intent.id) !== receipt.seq)
        this.#wrong(`${intent.id} was acknowledged at ${receipt.seq} and is not there`);
      if (receipt?.duplicate && !done.has(intent.id)) this.#changedNothing(intent, receipt, model);
    }
    for (const { who, db: of, time, seq } of this.#timed) {
      const found = of === db ? commits[seq - 1]?.commit.time : undefined;
      if (found !== undefined && found > time)
        this.#wrong(`${who} asked for ${time} and got ${seq} of ${found}`);
    }
    for (const seen of this.#seen) if (seen.db === db) this.#compare(seen, model, commits.length);
  }

  /** A write that was answered as a repeat without being one: the document was what it should be already. */
  #changedNothing(intent: Intent, receipt: Ack, model: Model): void {
    for (const effect of intent.effects) {
      if (effect.kind !== "put") continue;
      const versions = model.versions(effect.doc).filter(({ json }) => json === canonical(effect.value));
      if (versions.length === 0)
        this.#wrong(`${intent.id} was answered as a repeat at ${receipt.seq}, and never held`);
    }
  }

  #compare(seen: Seen, model: Model, last: number): void {
    const { who, db, doc, seq, json, floor } = seen;
    if (doc.startsWith("h/")) return;
    if (seq !== undefined) {
      const should = model.at(doc, seq);
      const is = json === undefined ? undefined : canonical(JSON.parse(json) as Json);
      if (should !== is) this.#wrong(`${who} read ${db} ${doc} at ${seq} as ${is}, which was ${should}`);
      return;
    }
    // "Not there" holds for some point from the floor on.
    for (let at = floor; at <= last; at += 1) if (model.at(doc, at) === undefined) return;
    this.#wrong(`${who} was told that ${db} ${doc} is not there, which it was from ${floor} on`);
  }
}

/** Documents as values after each commit, as simply as it can be said. */
class Model {
  readonly #versions = new Map<
    string,
    { seq: number; value: Value | undefined; json: string | undefined }[]
  >();

  versions(doc: string): readonly { seq: number; json: string | undefined }[] {
    return this.#versions.get(doc) ?? [];
  }

  at(doc: string, seq: number): string | undefined {
    return this.#versions.get(doc)?.findLast((version) => version.seq <= seq)?.json;
  }

  apply(effect: Effect, seq: number): void {
    let versions = this.#versions.get(effect.doc);
    if (!versions) this.#versions.set(effect.doc, (versions = []));
    const before = versions.at(-1)?.value ?? {};
    const value = after(effect, before);
    versions.push({ seq, value, json: value === undefined ? undefined : canonical(value) });
  }
}

function after(effect: Effect, before: Value): Value | undefined {
  switch (effect.kind) {
    case "put":
      return effect.value;
    case "patch":
      return merged(before, effect.value) as Value;
    case "set":
      return { ...before, [effect.key]: effect.value };
    default:
      return undefined;
  }
}

/** RFC 7396. */
function merged(target: Json | undefined, patch: Json): Json {
  if (!isMap(patch)) return patch;
  const out: Value = isMap(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete out[key];
    else out[key] = merged(out[key], value);
  }
  return out;
}

function isMap(value: Json | undefined): value is Value {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** JSON with keys in order. */
export function canonical(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (!isMap(value)) return JSON.stringify(value);
  const keys = Object.keys(value).sort();
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical(value[key] as Json)}`).join()}}`;
}
