import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseScope } from "../../src/auth/policy.ts";
import { derivedOf } from "../support/derived.ts";
import { memoryFolder } from "../support/memory-folder.mjs";
import { Author, Follower, SocketPeer, type Peers } from "./clients.ts";
import { History } from "./history.ts";
import { hostileChanges } from "./hostile.ts";
import type { Weather } from "./network.ts";
import { Scheduler, virtualTimers, type WallClock } from "./scheduler.ts";
import { Server, type Machine } from "./server.ts";

const DBS = ["a", "b"] as const;
const YEAR = 365 * 24 * 3_600_000;
const START = Date.UTC(2026, 0, 1);

export interface Outcome {
  readonly seed: number;
  /** Of the log of events. */
  readonly hash: string;
  readonly lines: readonly string[];
  /** What must not have happened. */
  readonly wrong: readonly string[];
  readonly tally: Readonly<Record<string, number>>;
}

/** A whole server's life, with clients and faults, out of one seed. */
export async function simulate(seed: number, broken: Machine["broken"] = {}): Promise<Outcome> {
  const run = new Run(seed, broken);
  const stop = virtualTimers(run.scheduler);
  try {
    await run.live();
  } finally {
    stop();
    run.remove();
  }
  return run.outcome();
}

class Run {
  readonly scheduler: Scheduler;
  readonly #history: History;
  readonly #root: string;
  readonly #machine: Machine;
  readonly #wrong: string[] = [];
  readonly #tally: Record<string, number> = {
    crashes: 0,
    pauses: 0,
    jumps: 0,
    partitions: 0,
    stalls: 0,
    fullDisks: 0,
    tears: 0,
    restarts: 0,
  };
  readonly #wall: WallClock = { offset: START };
  readonly #people: (Author | Follower | SocketPeer)[] = [];
  /** The one that runs, also while it stops. */
  #server: Server | undefined;
  #lives = 0;
  #calm = false;
  #compacts = false;

  constructor(seed: number, broken: Machine["broken"]) {
    const scheduler = new Scheduler(seed);
    this.scheduler = scheduler;
    const wrong = (what: string): void => {
      scheduler.note(`WRONG ${what}`);
      this.#wrong.push(what);
    };
    this.#history = new History(wrong);
    this.#root = mkdtempSync(path.join(memoryFolder() ?? tmpdir(), "skald-sim-"));
    this.#machine = {
      scheduler,
      root: this.#root,
      wall: this.#wall,
      disk: { full: false, fails: 0 },
      threads: { dies: 0, hangs: 0 },
      weather: { blockedUntil: 0 },
      openDbs: scheduler.pick([1, 2, 2]),
      broken,
      wrong,
    };
  }

  outcome(): Outcome {
    const scheduler = this.scheduler;
    return {
      seed: scheduler.seed,
      hash: scheduler.hash(),
      lines: scheduler.lines,
      wrong: this.#wrong,
      tally: {
        ...this.#tally,
        steps: scheduler.steps,
        writes: this.#history.intents.length,
        reads: this.#history.reads,
      },
    };
  }

  remove(): void {
    if (this.#server) this.#server.life.alive = false;
    rmSync(this.#root, { recursive: true, force: true });
  }

  async live(): Promise<void> {
    const { uids, token } = await this.#begin();
    const peers: Peers = {
      scheduler: this.scheduler,
      history: this.#history,
      server: () => (this.#server?.stopping === false ? this.#server : undefined),
      uids,
      calm: () => this.#calm,
      wrong: this.#machine.wrong,
    };
    const working = this.#people_(peers, token);
    const chaos = this.scheduler.time + this.scheduler.between(2000, 40_000);
    this.#plan(chaos);
    if (!(await this.#until(working, chaos))) {
      this.#still();
      if (!(await this.#until(working, Math.max(this.scheduler.time, this.#paused()) + 20 * 60_000))) {
        this.#machine.wrong("somebody waits for ever");
        return;
      }
    }
    this.#still();
    await this.#end();
  }

  /** The first start, before anything goes wrong. */
  async #begin(): Promise<{ uids: Map<string, Uint8Array>; token: (name: string) => string }> {
    const dir = path.join(this.#root, "0");
    mkdirSync(dir);
    const server = new Server(this.#machine, dir, "s0");
    this.#server = server;
    const uids = new Map<string, Uint8Array>();
    const made = (async () => {
      for (const db of DBS) {
        await server.engine.create(db);
        uids.set(db, await server.engine.use(db, (open) => open.log.identity.uid));
      }
    })();
    await this.#until(made, Infinity);
    const token = (name: string): string =>
      server.tokens.create({
        label: name,
        subject: name,
        scopes: (name === "ops" ? ["*:*"] : ["*:doc.read", "*:doc.write"]).map(parseScope),
      }).token;
    return { uids, token };
  }

  #people_(peers: Peers, token: (name: string) => string): Promise<unknown> {
    const scheduler = this.scheduler;
    const hostile = scheduler.chance(0.3)
      ? hostileChanges(scheduler, peers.uids.get("a") as Uint8Array)
      : undefined;
    const faults = { compacts: scheduler.chance(0.5), rebuilds: scheduler.chance(0.2) };
    this.#compacts = faults.compacts;
    const all: Promise<void>[] = [];
    for (let i = 1 + scheduler.below(2); i > 0; i -= 1) {
      const author = new Author(peers, `h${i}`, token(`h${i}`));
      this.#people.push(author);
      all.push(author.live(DBS, 3 + scheduler.below(8)));
    }
    for (let i = 1 + scheduler.below(2); i > 0; i -= 1) {
      const peer = new SocketPeer(peers, `w${i}`, token(`w${i}`));
      this.#people.push(peer);
      all.push(peer.live("a", 4 + scheduler.below(14), i === 1 ? hostile : undefined));
    }
    const follower = new Follower(peers, "ops", token("ops"));
    this.#people.push(follower);
    all.push(follower.live("a", 2 + scheduler.below(4), faults));
    return Promise.all(all);
  }

  /** Draws what goes wrong and when. */
  #plan(end: number): void {
    const scheduler = this.scheduler;
    const { threads, disk, weather } = this.#machine;
    const often = (share: number, most: number): number =>
      scheduler.chance(share) ? 1 + scheduler.below(most) : 0;
    const times = (count: number, what: string, work: () => void): void => {
      for (let i = 0; i < count; i += 1)
        scheduler.at(scheduler.between(0, end - scheduler.time), what, () => !this.#calm && work());
    };
    if (scheduler.chance(0.25)) threads.dies = scheduler.between(0.01, 0.1);
    if (scheduler.chance(0.15)) threads.hangs = scheduler.between(0.005, 0.03);
    if (scheduler.chance(0.2)) disk.fails = scheduler.between(0.01, 0.1);
    times(often(0.6, 3), "a crash", () => this.#crash());
    times(often(0.2, 2), "a restart", () => this.#restart());
    times(often(0.3, 2), "a pause", () => {
      this.#tally["pauses"] = (this.#tally["pauses"] ?? 0) + 1;
      const until = scheduler.time + scheduler.pick([300, 3000, 20_000, 20_000, 20_000, 5 * 3_600_000]);
      if (this.#server) this.#server.life.pausedUntil = Math.max(this.#paused(), until);
    });
    times(often(0.4, 3), "the clock is set", () => {
      this.#tally["jumps"] = (this.#tally["jumps"] ?? 0) + 1;
      this.#wall.offset += scheduler.between(-3, 3) * scheduler.pick([1000, 3_600_000, YEAR]);
    });
    const block = (at: Weather): void => {
      this.#tally["partitions"] = (this.#tally["partitions"] ?? 0) + 1;
      at.blockedUntil = Math.max(at.blockedUntil, scheduler.time + scheduler.pick([300, 5000, 70_000]));
    };
    times(often(0.3, 2), "the network stands still", () => block(weather));
    times(often(0.3, 3), "a peer is cut off", () => block(scheduler.pick(this.#people).weather));
    times(often(0.4, 5), "a connection breaks", () => {
      this.#tally["tears"] = (this.#tally["tears"] ?? 0) + 1;
      scheduler.pick(this.#people).connection?.tear();
    });
    times(often(0.3, 3), "a peer reads no more", () => {
      this.#tally["stalls"] = (this.#tally["stalls"] ?? 0) + 1;
      const { connection } = scheduler.pick(this.#people);
      if (!connection) return;
      connection.reading = false;
      scheduler.at(scheduler.between(100, 30_000), "a peer reads again", () => {
        connection.reading = true;
      });
    });
    times(often(0.25, 2), "the disk is full", () => {
      this.#tally["fullDisks"] = (this.#tally["fullDisks"] ?? 0) + 1;
      disk.full = true;
      scheduler.at(scheduler.between(100, 8000), "the disk has room", () => {
        disk.full = false;
      });
    });
  }

  /** No fault from here on; who waits must get through. */
  #still(): void {
    const { threads, disk, weather } = this.#machine;
    this.#calm = true;
    this.scheduler.note("calm");
    Object.assign(threads, { dies: 0, hangs: 0 });
    Object.assign(disk, { full: false, fails: 0 });
    weather.blockedUntil = 0;
    for (const peer of this.#people) {
      peer.weather.blockedUntil = 0;
      if (peer.connection) peer.connection.reading = true;
    }
  }

  #paused(): number {
    return this.#server?.life.pausedUntil ?? 0;
  }

  #crash(): void {
    const old = this.#server;
    if (!old?.life.alive) return;
    this.#tally["crashes"] = (this.#tally["crashes"] ?? 0) + 1;
    this.#server = undefined;
    const dir = old.crash(String((this.#lives += 1)));
    for (const db of DBS) this.#history.check(db, path.join(dir, "dbs", db), false);
    this.scheduler.at(this.scheduler.between(10, 2000), "a start", () => this.#start(dir));
  }

  #start(dir: string): void {
    this.#server = new Server(this.#machine, dir, `s${this.#lives}`);
  }

  #restart(): void {
    const old = this.#server;
    if (!old?.life.alive || old.fatal || old.stopping) return;
    this.#tally["restarts"] = (this.#tally["restarts"] ?? 0) + 1;
    this.#lives += 1;
    old.stop().then(
      () => {
        this.#server = undefined;
        this.scheduler.at(this.scheduler.between(10, 500), "a start", () => this.#start(old.dir));
      },
      (error: unknown) => {
        this.scheduler.note(`the end failed: ${(error as Error).message}`);
        this.#crash();
      },
    );
  }

  /** Takes steps until `work` is done. Gives false when `limit` came first. */
  async #until(work: Promise<unknown>, limit: number): Promise<boolean> {
    let done = false;
    let failure: unknown;
    work.then(
      () => (done = true),
      (error: unknown) => {
        done = true;
        failure = error;
      },
    );
    await new Promise((resolve) => setImmediate(resolve));
    const watch = (): boolean => {
      // A process whose disk failed ends, as the command does.
      if (this.#server?.fatal && this.#server.life.alive) this.#crash();
      return done;
    };
    const reached = await this.scheduler.run(watch, limit);
    if (failure !== undefined) throw failure;
    return reached;
  }

  async #end(): Promise<void> {
    const late = Math.max(this.scheduler.time, this.#paused()) + 20 * 60_000;
    while (this.#server?.stopping !== false && this.scheduler.time < late) {
      await this.#until(this.scheduler.sleep(100, "waits for a start"), Infinity);
    }
    const server = this.#server;
    if (server?.stopping !== false) return this.#machine.wrong("there is no server at the end");
    const limit = Math.max(this.scheduler.time, this.#paused()) + 20 * 60_000;
    const { engine } = server;
    const derived = async (): Promise<void> => {
      // One that its caller gave up on may still be at work, and moves what is compared.
      if (this.#compacts) await engine.use("a", (db) => db.compact());
      const lived = await derivedOf(engine, "a");
      await engine.rebuild("a");
      const anew = await derivedOf(engine, "a");
      const others = Object.keys(lived.tables).filter((table) => lived.tables[table] !== anew.tables[table]);
      if (others.length > 0) this.#machine.wrong(`made anew from the log, others are: ${others.join(", ")}`);
    };
    if (this.scheduler.chance(0.3) && !(await this.#until(derived(), limit)))
      this.#machine.wrong("a rebuild does not end");
    if (!(await this.#until(server.stop(), limit))) this.#machine.wrong("the server does not end");
    for (const db of DBS) this.#history.check(db, path.join(server.dir, "dbs", db), true);
  }
}
