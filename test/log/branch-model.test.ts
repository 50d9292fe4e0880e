import path from "node:path";
import { mkdtempSync } from "node:fs";
import { packBundle } from "../../src/log/bundle.ts";
import { readChange, readTrustedHeader, type ChangeHeader } from "../../src/log/change.ts";
import { genesisOf } from "../../src/log/genesis.ts";
import { DEFAULT_CHANGE_LIMITS } from "../../src/log/guard.ts";
import { Log } from "../../src/log/log.ts";
import type { Transaction } from "../../src/log/transaction.ts";
import { dropSqliteCatalog, openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { createSqliteLog, openSqliteLog } from "../../src/store/sqlite-log.ts";
import { putTogether } from "../support/change-chunks.ts";
import { seeded, seedOf } from "../support/fault-process.ts";
import { findingsIn } from "../support/ledger.ts";
import { memoryDir } from "../support/temp-dir.ts";

/** Branches made, written, closed and deleted at random, against a model that keeps every commit in a list. */
const root = memoryDir();
const RUNS = Number(process.env["SKALD_TEST_RUNS"] ?? 8);
const STEPS = 60;
const DOCS = ["m/a", "m/b", "n/c"];
const ACTORS = [0x1a, 0x2b, 0x3c];

interface ModelCommit {
  readonly seq: number;
  readonly branch: number;
  readonly doc?: string;
  readonly changes: readonly string[];
  readonly refused: readonly string[];
  readonly deleted: boolean;
}

interface ModelBranch {
  readonly id: number;
  readonly name: string;
  readonly parent: number;
  readonly fork: number;
  state: "open" | "closed" | "deleted";
}

class Model {
  readonly commits: ModelCommit[] = [];
  readonly branches: ModelBranch[] = [{ id: 0, name: "main", parent: 0, fork: 0, state: "open" }];
  readonly changes = new Map<string, ChangeHeader>();
  readonly owners = new Map<string, string>();

  get seq(): number {
    return this.commits.length;
  }
  named(name: string): ModelBranch | undefined {
    return this.branches.find((one) => one.name === name && one.state !== "deleted");
  }
  byId(id: number): ModelBranch {
    return this.branches.find((one) => one.id === id) as ModelBranch;
  }
  isOn(id: number, { branch, seq }: ModelCommit): boolean {
    if (branch === id) return true;
    const { parent, fork } = this.byId(id);
    return id !== 0 && seq <= fork && this.isOn(parent, this.commits[seq - 1] as ModelCommit);
  }
  past(id: number, upTo: number): ModelCommit[] {
    return this.commits.filter((commit) => commit.seq <= upTo && this.isOn(id, commit));
  }
  of(id: number, doc: string, upTo: number): ModelCommit[] {
    return this.past(id, upTo).filter((commit) => commit.doc === doc);
  }
  /** As the commits up to there leave it. */
  exact(
    id: number,
    doc: string,
    upTo = this.seq,
  ): { all: Set<string>; refused: Set<string>; deleted: boolean } {
    const touched = this.of(id, doc, upTo);
    return {
      all: new Set(touched.flatMap(({ changes }) => changes)),
      refused: new Set(touched.flatMap(({ refused }) => refused)),
      deleted: touched.at(-1)?.deleted ?? false,
    };
  }
  /** What readers of a branch leave out: what it has set aside, or its parent when it never wrote the document. */
  gone(id: number, doc: string): Set<string> {
    const own = this.commits.some((commit) => commit.branch === id && commit.doc === doc);
    return own || id === 0 ? this.exact(id, doc).refused : this.gone(this.byId(id).parent, doc);
  }
  tips(hashes: Iterable<string>): string[] {
    const tips = new Set(hashes);
    for (const hash of hashes) for (const dep of this.changes.get(hash)?.deps ?? []) tips.delete(dep);
    return [...tips].sort();
  }
  heads(id: number, doc: string): string[] {
    const { all, refused } = this.exact(id, doc);
    return this.tips([...all].filter((hash) => !refused.has(hash)));
  }
  /** The last number of an actor among some changes. */
  last(hashes: Iterable<string>, actor: string): number {
    return Math.max(
      0,
      ...[...hashes].map((hash) => this.changes.get(hash)).map((one) => (one?.actor === actor ? one.seq : 0)),
    );
  }
}

interface Outcome {
  readonly code?: string;
  readonly duplicate?: boolean;
}

class Run {
  readonly folder = path.join(mkdtempSync(path.join(root, "log-")), "db");
  readonly model = new Model();
  readonly random: () => number;
  storage = createSqliteLog(this.folder, "notes", { reserve: 0 });
  log = new Log(this.storage, openSqliteCatalog(this.folder), { cachedDocs: 5 });
  readonly uid = this.log.identity.uid;
  readonly worse: (tx: Transaction) => Transaction;

  constructor(random: () => number, worse: (tx: Transaction) => Transaction = (tx) => tx) {
    this.random = random;
    this.worse = worse;
  }
  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.random() * items.length)] as T;
  }
  genesis(doc: string): string {
    const [collection = "", key = ""] = doc.split("/");
    return genesisOf(this.uid, collection, key).hash;
  }

  async step(): Promise<void> {
    const at = this.random();
    if (at < 0.14) await this.create();
    else if (at < 0.6) await this.write();
    else if (at < 0.74) await this.bring();
    else if (at < 0.8) await this.erase();
    else if (at < 0.84) await this.setAside();
    else if (at < 0.88) await this.end(this.random() < 0.5 ? "close" : "delete");
    else if (at < 0.91) await this.reopen(this.random() < 0.5);
    else if (at < 0.93)
      await this.log.compact(packBundle, { upTo: Math.floor(this.random() * this.model.seq) });
    else this.look();
  }

  async create(): Promise<void> {
    const { model } = this;
    const name = this.pick(["one", "two", "three"]);
    const from = this.pick(["main", ...model.branches.map((branch) => branch.name), "none"]);
    const at = this.random() < 0.4 ? undefined : Math.floor(this.random() * (model.seq + 2));
    const source = model.named(from);
    const code = model.named(name)
      ? "BRANCH_EXISTS"
      : !source
        ? "BRANCH_NOT_FOUND"
        : at === undefined || at === 0
          ? undefined
          : at > model.seq
            ? "POINT_IN_FUTURE"
            : model.isOn(source.id, model.commits[at - 1] as ModelCommit)
              ? undefined
              : "POINT_OTHER_BRANCH";
    const outcome = await this.outcome(
      this.log.createBranch(name, { author: "ann", from, ...(at === undefined ? {} : { at }) }),
    );
    expect(outcome.code).toBe(code);
    if (code !== undefined || !source) return;
    const last = model.commits.findLast(({ branch }) => branch === source.id)?.seq ?? 0;
    const id = model.seq + 1;
    model.branches.push({ id, name, parent: source.id, fork: at ?? last, state: "open" });
    this.push(id, {});
  }

  push(branch: number, more: Partial<ModelCommit>): void {
    const seq = this.model.seq + 1;
    this.model.commits.push({ changes: [], refused: [], deleted: false, ...more, seq, branch });
  }

  /** A new change on the heads of a branch. */
  async write(): Promise<void> {
    const { model } = this;
    const { branch, doc, author } = this.target();
    const byte = this.pick(ACTORS);
    const actor = byte.toString(16).repeat(16);
    const there = branch && model.named(branch.name) === branch ? branch : undefined;
    const { all, refused } = there
      ? model.exact(there.id, doc)
      : { all: new Set<string>(), refused: new Set<string>() };
    const heads = there ? model.heads(there.id, doc) : [];
    const deps = heads.length > 0 ? heads : [this.genesis(doc)];
    const most = Math.max(0, ...deps.map((dep) => model.changes.get(dep)?.maxOp ?? 0));
    const change = this.make(byte, deps, model.last(all, actor) + 1, most + 1);
    const owner = model.owners.get(`${doc} ${actor}`);
    const elsewhere = model.branches
      .filter(
        ({ id }) => id !== there?.id && model.commits.some((one) => one.branch === id && one.doc === doc),
      )
      .map(({ id }) => model.last(model.exact(id, doc).all, actor));
    const knows = model.last(all, actor) > 0;
    const ended = [...refused].some((hash) => model.changes.get(hash)?.actor === actor);
    const code = !there
      ? "BRANCH_NOT_FOUND"
      : there.state === "closed"
        ? "BRANCH_CLOSED"
        : knows && owner !== author
          ? "CHANGE_ACTOR"
          : ended
            ? "CHANGE_REFUSED"
            : elsewhere.some((last) => last >= change.seq)
              ? "CHANGE_EQUIVOCATION"
              : elsewhere.some((last) => last > 0) && owner !== author
                ? "CHANGE_ACTOR"
                : undefined;
    await this.changes(branch?.name ?? "none", there, doc, author, change, code, false);
  }

  target(): { branch: ModelBranch | undefined; doc: string; author: string } {
    const branch = this.random() < 0.03 ? undefined : this.pick(this.model.branches);
    return {
      branch: branch?.state === "deleted" ? undefined : branch,
      doc: this.pick(DOCS),
      author: this.random() < 0.9 ? "ann" : "bea",
    };
  }

  /** A change that another branch has. */
  async bring(): Promise<void> {
    const { model } = this;
    const { branch, author } = this.target();
    const source = this.pick(model.commits.filter(({ changes }) => changes.length > 0).concat());
    if (!source?.doc || !branch) return;
    const change = model.changes.get(source.changes[0] as string) as ChangeHeader;
    const { all, refused } = model.exact(branch.id, source.doc);
    const here = all.has(change.hash);
    const broken =
      change.deps.some((dep) => refused.has(dep)) ||
      [...refused].some((hash) => model.changes.get(hash)?.actor === change.actor);
    const lacks = change.deps.some((dep) => !all.has(dep) && dep !== this.genesis(source.doc as string));
    const code =
      branch.state === "closed"
        ? "BRANCH_CLOSED"
        : here
          ? undefined
          : broken
            ? "CHANGE_REFUSED"
            : lacks
              ? "CHANGE_DEPS_MISSING"
              : undefined;
    await this.changes(branch.name, branch, source.doc, author, change, code, here);
  }

  async changes(
    name: string,
    branch: ModelBranch | undefined,
    doc: string,
    author: string,
    change: ChangeHeader,
    code: string | undefined,
    duplicate: boolean,
  ): Promise<void> {
    const outcome = await this.outcome(
      this.log.write(
        this.worse({ author, clientTxId: "", branch: name, writes: [{ doc, changes: [change] }] }),
      ),
    );
    expect(outcome).toEqual(code === undefined ? { duplicate } : { code });
    if (code !== undefined || duplicate || !branch) return;
    this.model.changes.set(change.hash, change);
    const key = `${doc} ${change.actor}`;
    if (!this.model.owners.has(key)) this.model.owners.set(key, author);
    this.push(branch.id, { doc, changes: [change.hash] });
  }

  async erase(): Promise<void> {
    const { branch, doc } = this.target();
    if (!branch) return;
    const duplicate = this.model.exact(branch.id, doc).deleted;
    const outcome = await this.outcome(
      this.log.write(
        this.worse({
          author: "ann",
          clientTxId: "",
          branch: branch.name,
          writes: [{ doc, changes: [], deleted: true }],
        }),
      ),
    );
    expect(outcome).toEqual(branch.state === "closed" ? { code: "BRANCH_CLOSED" } : { duplicate });
    if (branch.state === "open" && !duplicate) this.push(branch.id, { doc, deleted: true });
  }

  async setAside(): Promise<void> {
    const { model } = this;
    const { branch, doc } = this.target();
    if (branch?.state !== "open") return;
    const { all, refused, deleted } = model.exact(branch.id, doc);
    const left = [...all].filter((hash) => !refused.has(hash));
    if (left.length === 0) return;
    const out = new Set([this.pick(left)]);
    const actors = new Set<string>();
    for (const hash of left) {
      const one = model.changes.get(hash) as ChangeHeader;
      if (out.has(hash) || actors.has(one.actor) || one.deps.some((dep) => out.has(dep))) {
        out.add(hash);
        actors.add(one.actor);
      }
    }
    const heads = model.tips(left.filter((hash) => !out.has(hash)));
    await this.log.setAside(doc, model.heads(branch.id, doc), [...out], heads, "model", branch.name);
    this.push(branch.id, { doc, refused: [...out], deleted });
  }

  async end(kind: "close" | "delete"): Promise<void> {
    const branch = this.pick(this.model.branches);
    const there = this.model.named(branch.name);
    const outcome = await this.outcome(
      kind === "close"
        ? this.log.closeBranch(branch.name, { author: "ann" })
        : this.log.deleteBranch(branch.name, { author: "ann" }),
    );
    const code =
      branch.name === "main"
        ? "BAD_REQUEST"
        : !there
          ? "BRANCH_NOT_FOUND"
          : kind === "close" && there.state === "closed"
            ? "BRANCH_CLOSED"
            : undefined;
    expect(outcome.code).toBe(code);
    if (code !== undefined || !there) return;
    there.state = kind === "close" ? "closed" : "deleted";
    this.push(there.id, {});
  }

  async reopen(anew: boolean): Promise<void> {
    await this.log.close();
    if (anew) dropSqliteCatalog(this.folder);
    this.storage = openSqliteLog(this.folder, "notes");
    this.log = new Log(this.storage, openSqliteCatalog(this.folder), { cachedDocs: 5 });
  }

  look(): void {
    const { log, model } = this;
    expect(log.head().seq).toBe(model.seq);
    const live = model.branches.filter(({ state }) => state !== "deleted");
    expect(
      log.branches().map(({ id, name, parentId, forkSeq, state }) => ({
        id,
        name,
        parent: parentId,
        fork: forkSeq,
        state,
      })),
    ).toEqual(live);
    for (const { id, name } of live) {
      const past = model.past(id, model.seq);
      expect(log.commitsOn(model.seq, 9999, name)).toEqual(past.map(({ seq }) => seq).reverse());
      const upTo = Math.floor(this.random() * (model.seq + 1));
      expect(log.seqOn(upTo, name)).toBe(model.past(id, upTo).at(-1)?.seq ?? 0);
      const written = DOCS.filter((doc) => model.of(id, doc, model.seq).length > 0);
      expect(log.list("", "", 99, true, name).map((one) => one.name)).toEqual(written);
      expect(log.list("m/", "", 1, false, name).map((one) => one.name)).toEqual(
        written.filter((doc) => doc.startsWith("m/") && !model.exact(id, doc).deleted).slice(0, 1),
      );
      for (const doc of DOCS) this.lookAt(id, name, doc, upTo);
    }
    expect(log.counts().documents).toBe(
      DOCS.filter((doc) => model.of(0, doc, model.seq).length > 0 && !model.exact(0, doc).deleted).length,
    );
  }

  lookAt(id: number, name: string, doc: string, upTo: number): void {
    const { log, model } = this;
    const gone = model.gone(id, doc);
    for (const at of [upTo, model.seq]) {
      const touched = model.of(id, doc, at);
      const last = touched.at(-1);
      const all = touched.flatMap(({ changes }) => changes).filter((hash) => !gone.has(hash));
      expect(log.stateAt(doc, at, name)).toEqual(
        last && { seq: last.seq, heads: model.tips(all), deleted: last.deleted },
      );
      expect(log.history(doc, at, 999, name)).toEqual(touched.map(({ seq }) => seq).reverse());
      expect(log.changes(doc, 0, at, name).map((bytes) => readTrustedHeader(bytes).hash)).toEqual(all);
    }
    const state = log.state(doc, name);
    const exact = model.exact(id, doc);
    if (!state) return expect(exact.all.size).toBe(0);
    expect([...state.heads.keys()].sort()).toEqual(model.heads(id, doc));
    expect(state.changes).toBe(exact.all.size);
    for (const [actor, { seq, principal }] of state.actors) {
      expect(seq).toBe(model.last(exact.all, actor));
      expect(principal).toBe(model.owners.get(`${doc} ${actor}`));
    }
  }

  make(byte: number, deps: readonly string[], seq: number, startOp: number): ChangeHeader {
    const bytes = putTogether({
      deps: deps.map((dep) => new Uint8Array(Buffer.from(dep, "hex"))),
      actor: new Uint8Array(16).fill(byte),
      seq,
      startOp,
      time: new Uint8Array([0]),
      // So that no two are the same change.
      message: new Uint8Array(Buffer.from(String(Math.floor(this.random() * 1e9)))),
      others: [],
      columns: [
        { spec: 0x15, data: [0x7f, 1, 0x6e] },
        { spec: 0x34, data: [1] },
        { spec: 0x42, data: [0x7f, 1] },
        { spec: 0x56, data: [0x7f, 0] },
        { spec: 0x70, data: [0x7f, 0] },
      ],
      extra: new Uint8Array(),
    });
    return readChange(bytes, DEFAULT_CHANGE_LIMITS);
  }

  async outcome(written: Promise<{ duplicate: boolean }>): Promise<Outcome> {
    try {
      const { duplicate } = await written;
      return { duplicate };
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === undefined) throw error;
      return { code };
    }
  }
}

async function run(seed: number, worse?: (tx: Transaction) => Transaction): Promise<void> {
  const one = new Run(seeded(seed), worse);
  try {
    for (let step = 0; step < STEPS; step += 1) await one.step();
    one.look();
    expect(findingsIn(one.storage)).toEqual([]);
    await one.reopen(true);
    one.look();
    await one.log.compact(packBundle);
    one.look();
    expect(findingsIn(one.storage)).toEqual([]);
    await one.reopen(true);
    one.look();
  } catch (error) {
    throw new Error(`with seed ${seed}: ${(error as Error).message}`, { cause: error });
  } finally {
    await one.log.close();
  }
}

describe("branches of a log", () => {
  test("answer as their model does, whatever is made, written, ended and bundled", async () => {
    const seed = seedOf();
    for (let n = 0; n < RUNS; n += 1) await run(seed + n);
  }, 600_000);

  test.each<[string, (tx: Transaction) => Transaction]>([
    ["writes to main what is meant for a branch", (tx) => ({ ...tx, branch: "main" })],
    ["forgets who an actor belongs to", (tx) => ({ ...tx, anyActor: true })],
  ])("are not those of a build that %s", async (_, worse) => {
    let found = false;
    for (let n = 0; n < 30 && !found; n += 1)
      found = await run(1000 + n, worse).then(
        () => false,
        () => true,
      );
    expect(found).toBe(true);
  });
});
