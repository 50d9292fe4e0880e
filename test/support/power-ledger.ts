import type { Mark } from "./disk-trace.ts";

/** A db as its client knows it. */
export interface KnownDb {
  state: "absent" | "creating" | "ready" | "deleting";
  /** Commits up to here were acknowledged in this life of the db. */
  acked: number;
  /** What each seq was acknowledged as, by the whole of the trace: an address in base32. */
  truth: Map<number, string>;
}

/** What a client was told and what it asked for, up to some mark: what must be there after a power cut, and what may. */
export class PowerLedger {
  readonly dbs = new Map<string, KnownDb>();
  /** `client_tx_id`s of every transaction that was asked for. */
  readonly sent = new Set<string>();
  readonly labels = new Set<string>();
  readonly tokens = new Map<string, "made" | "revoking" | "revoked">();
  marks = 0;
  readonly #truths: ReadonlyMap<string, Map<number, string>>;
  readonly #lives = new Map<string, number>();

  /** `all` are the marks of the whole trace. */
  constructor(all: readonly Mark[] | PowerLedger) {
    if (!(all instanceof PowerLedger)) {
      this.#truths = truthsOf(all);
      return;
    }
    this.#truths = all.#truths;
    for (const [id, db] of all.dbs) this.dbs.set(id, { ...db, truth: new Map(db.truth) });
    for (const id of all.sent) this.sent.add(id);
    for (const label of all.labels) this.labels.add(label);
    for (const [id, state] of all.tokens) this.tokens.set(id, state);
    for (const [id, life] of all.#lives) this.#lives.set(id, life);
  }

  apply(mark: Mark): void {
    this.marks += 1;
    const text = (name: string): string => String(mark[name]);
    if ("creating" in mark) this.#begin(text("creating"));
    else if ("created" in mark) this.db(text("created")).state = "ready";
    else if ("deleting" in mark) this.db(text("deleting")).state = "deleting";
    else if ("deleted" in mark)
      this.dbs.set(text("deleted"), { state: "absent", acked: 0, truth: new Map() });
    else if ("sent" in mark) this.sent.add(text("id"));
    else if ("acked" in mark || "saw" in mark) {
      const db = this.db(text("acked" in mark ? "acked" : "saw"));
      if ("saw" in mark) db.state = "ready";
      db.acked = Math.max(db.acked, Number(mark["seq"]));
      if (db.acked > 0) db.truth.set(Number(mark["seq"]), text("commit"));
    } else if ("making" in mark) this.labels.add(text("making"));
    else if ("made" in mark) this.tokens.set(text("token"), "made");
    else if ("revoking" in mark) this.tokens.set(text("revoking"), "revoking");
    else if ("revoked" in mark) this.tokens.set(text("revoked"), "revoked");
  }

  db(id: string): KnownDb {
    const db = this.dbs.get(id);
    if (!db) throw new Error(`a mark names the db ${id}, which was not made`);
    return db;
  }

  #begin(id: string): void {
    const life = (this.#lives.get(id) ?? 0) + 1;
    this.#lives.set(id, life);
    this.dbs.set(id, { state: "creating", acked: 0, truth: this.#truths.get(`${id} ${life}`) ?? new Map() });
  }
}

/** The commits of each life of each db, by `id life`. */
function truthsOf(all: readonly Mark[]): Map<string, Map<number, string>> {
  const truths = new Map<string, Map<number, string>>();
  const lives = new Map<string, number>();
  for (const mark of all) {
    if ("creating" in mark)
      lives.set(String(mark["creating"]), (lives.get(String(mark["creating"])) ?? 0) + 1);
    if (!("acked" in mark)) continue;
    const name = `${mark["acked"]} ${lives.get(String(mark["acked"]))}`;
    const truth = truths.get(name) ?? new Map<number, string>();
    truths.set(name, truth.set(Number(mark["seq"]), String(mark["commit"])));
  }
  return truths;
}
