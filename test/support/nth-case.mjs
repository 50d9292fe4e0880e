// One run of a workload under one fault: what was asked, what was answered, and what should not have been.
import { readdirSync, readlinkSync } from "node:fs";
import path from "node:path";
import { cidToString } from "../../dist/ids/cid.js";
import { plainChange, sha256 } from "./plain-change.mjs";

const FULL = "STORAGE_FULL";
const FAILED = "STORAGE_FAILED";
const DERIVED = "DERIVED_DAMAGED";
const DERIVED_FILE = /(?:catalog|views)\.sqlite(?:-\w+)?$/;
const LOG_FILE = /\/log\.sqlite(?:-wal)?$/;
const HANG_MS = Number(process.env.HANG ?? 30_000);

export class Case {
  /** Transactions by their client_tx_id, with what came of each. */
  txs = new Map();
  /** What each db is by what was answered: there, gone, or unknown. */
  dbs = {};
  tokens = [];
  steps = [];
  violations = [];
  /** File on which the disk failed: nothing more may be written to it. */
  failed = undefined;
  error = undefined;
  #until = Number.POSITIVE_INFINITY;
  #disk;
  #spec;
  #phase = 0;

  constructor(disk, spec) {
    this.#disk = disk;
    this.#spec = spec;
  }

  get dir() {
    return this.#spec.dir;
  }

  /** Counts from here on, and only what is done below `prefix`. */
  rearm(prefix) {
    this.#disk.arm({ ...this.#spec, prefix });
  }

  /** The end of what is struck; what comes after only looks. */
  heal() {
    this.#until = this.#disk.count;
    this.#disk.heal();
  }

  trace() {
    return this.#disk.trace().slice(0, this.#until);
  }

  wrong(what, error) {
    this.violations.push(error === undefined ? what : `${what}: ${error?.stack ?? String(error)}`);
  }

  /** Told of failures that concern no caller: they have names too. */
  told = (error) => {
    this.steps.push(`(told) ${error?.code ?? error}`);
    this.#known("told of", error);
  };

  #known(where, error) {
    const { code, name } = error ?? {};
    if (name !== "SkaldError" || ![FULL, FAILED, DERIVED].includes(code)) return this.wrong(where, error);
    const struck = this.#disk.trace().flatMap((entry) => (entry.struck ? [entry.name] : []));
    if (struck.length === 0) return this.wrong(`${where}: refused though no call failed`, error);
    // A call that fails for ever fails for what is derived as well.
    if (code === DERIVED && !struck.some((name) => DERIVED_FILE.test(name)))
      this.wrong(`${where}: blamed on what is derived, not ${struck[0]}`);
    if (code === FAILED && DERIVED_FILE.test(String(struck[0])) && !this.#spec.forever)
      this.wrong(`${where}: a derived file is no reason to stop`, error);
    if (code === FULL && this.#spec.fault === "EIO") this.wrong(`${where}: the disk was not full`, error);
  }

  /**
   * Runs a step. A full disk, once it has room again, and a derived file, once the disk is well, must let
   * the same step through without a restart. Gives undefined when the disk failed for good.
   */
  async step(name, work) {
    this.#disk.phase((this.#phase += 1));
    for (let tries = 1; ; tries += 1) {
      try {
        return await within(work(), name);
      } catch (error) {
        this.steps.push(`${name} ${error?.code ?? error}`);
        this.#known(name, error);
        if (error?.code !== FULL && error?.code !== DERIVED) {
          this.error = error;
          this.failed = String(error?.details?.file ?? "");
          this.#disk.heal();
          return undefined;
        }
        // The second try meets the same disk when it fails for ever, the third a sound one.
        if (tries === 2) this.#disk.heal();
        if (tries === 3) {
          this.wrong(`${name} fails still on a sound disk`, error);
          return undefined;
        }
      }
    }
  }

  /** The change and the id of a write to `doc`, made against the document as it is. */
  tx(db, doc, pad = 0) {
    const id = `tx-${this.txs.size + 1}`;
    const state = db.log.state(doc);
    const bytes = plainChange({
      deps: state ? [...state.heads.keys()] : [db.genesis(doc).hash],
      actor: sha256(`${id} ${doc}`).subarray(0, 16).toString("hex"),
      seq: 1,
      startOp: (state?.maxOp ?? 0) + 1,
      key: `k${this.txs.size % 40}`,
      value: this.txs.size % 64,
      pad,
    });
    const tx = { id, doc, bytes, outcome: "unsent" };
    this.txs.set(id, tx);
    return tx;
  }

  /** Sends it; throws what refuses it. */
  async send(write, tx) {
    try {
      const { seq, commit } = await write({
        author: "writer",
        clientTxId: tx.id,
        writes: [{ doc: tx.doc, changes: [tx.bytes] }],
      });
      Object.assign(tx, { outcome: "acknowledged", seq, commit });
    } catch (error) {
      tx.outcome = error?.code === FAILED ? "unknown" : "refused";
      throw error;
    }
  }

  /** After the log of `db` failed: later writes are refused, nothing is moved, reads go on. */
  async stopped(db) {
    const { log } = db;
    const from = this.#disk.count;
    const seq = Math.max(0, ...this.#acknowledged().map((tx) => tx.seq));
    const later = this.tx(db, "notes/later");
    const outcomes = await Promise.allSettled([
      this.send((request) => db.tx(request), later),
      Promise.resolve().then(() => log.tidy()),
    ]);
    // It was never looked at, so it is not unknown.
    later.outcome = "refused";
    for (const { status, reason } of outcomes)
      if (status === "fulfilled" || reason?.code !== FAILED)
        this.wrong("goes on after the disk failed", reason);
    if (log.head().seq !== seq) this.wrong(`the head is at ${log.head().seq}, acknowledged is ${seq}`);
    this.readable(db);
    return () => {
      const moved = this.#disk.trace(from).filter(({ call, name }) => call !== "open" && LOG_FILE.test(name));
      if (moved.length > 0) this.wrong(`touched after the disk failed: ${JSON.stringify(moved.slice(0, 4))}`);
    };
  }

  /** Every acknowledged commit of `db` reads back, and so does what is derived of it. */
  readable({ log }) {
    const acknowledged = this.#acknowledged();
    for (const { seq, commit, doc } of acknowledged) {
      const stored = log.commit(seq);
      if (!stored || cidToString(stored.cid) !== commit) this.wrong(`commit ${seq} does not read back`);
      if (!log.state(doc)) this.wrong(`${doc} has no state`);
      if (!log.history(doc, log.head().seq, 1000).includes(seq))
        this.wrong(`${seq} is not in the history of ${doc}`);
    }
    const docs = new Set(acknowledged.map(({ doc }) => doc));
    const listed = log.list("", "", 1000).length;
    if (listed !== docs.size || log.counts().documents !== docs.size)
      this.wrong(`lists ${listed} and counts ${log.counts().documents} of ${docs.size} documents`);
  }

  #acknowledged() {
    return [...this.txs.values()].filter(({ outcome }) => outcome === "acknowledged");
  }

  /** Nothing of the directory stays open. */
  closed(dir = this.dir) {
    for (const fd of readdirSync("/proc/self/fd")) {
      try {
        const target = readlinkSync(`/proc/self/fd/${fd}`);
        if (target.startsWith(dir)) this.wrong(`left open: ${path.relative(dir, target)}`);
      } catch {
        // The descriptor of the listing itself.
      }
    }
  }

  result() {
    const { id, workload, n, fault, forever = false, dir } = this.#spec;
    const trace = this.trace();
    const struck = trace.find((entry) => entry.struck);
    return {
      id,
      workload,
      n,
      fault,
      forever,
      dir,
      struck: struck && `${struck.call} ${struck.name}`,
      calls: trace.length,
      hits: this.#disk.hits,
      steps: this.steps,
      violations: this.violations,
      dbs: this.dbs,
      tokens: this.tokens,
      cpu: process.cpuUsage(),
      txs: [...this.txs.values()].map((tx) => ({ ...tx, bytes: Buffer.from(tx.bytes).toString("base64") })),
    };
  }
}

/** A guard against what never ends, not a measure. */
export async function within(work, name) {
  let timer;
  const hangs = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${name} hangs`)), HANG_MS);
  });
  try {
    return await Promise.race([work, hangs]);
  } finally {
    clearTimeout(timer);
  }
}
