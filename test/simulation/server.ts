import { cpSync, rmSync } from "node:fs";
import type { Server as HttpServer } from "node:http";
import path from "node:path";
import { Capabilities } from "../../src/auth/capabilities.ts";
import { tokenProvider } from "../../src/auth/credential-provider.ts";
import { Audit } from "../../src/audit/audit.ts";
import { Tickets } from "../../src/auth/tickets.ts";
import { People } from "../../src/auth/people.ts";
import { Sessions } from "../../src/auth/sessions.ts";
import { Signin } from "../../src/auth/signin.ts";
import { Tokens } from "../../src/auth/tokens.ts";
import { Vigil } from "../../src/auth/vigil.ts";
import { Engine } from "../../src/db/engine.ts";
import { Scrub } from "../../src/db/scrub.ts";
import { verifyLines } from "../../src/db/verify.ts";
import { isSkaldError } from "../../src/errors.ts";
import { FeedTally } from "../../src/http/feed-tally.ts";
import { QueryTally } from "../../src/http/query-tally.ts";
import { openQueries, type OpenedQueries } from "../../src/query/open.ts";
import { createHttpServer } from "../../src/http/server.ts";
import { Subscriptions } from "../../src/subscriptions/subscriptions.ts";
import { SERVICE_FILE } from "../../src/store/sqlite-registry.ts";
import { SyncHubs } from "../../src/sync/hub.ts";
import type { World } from "../../src/world.ts";
import { packerOf, Threads, type ThreadFaults } from "./document-thread.ts";
import { Connection, type Weather } from "./network.ts";
import { Life, worldOf, type Scheduler, type WallClock } from "./scheduler.ts";
import { SimulatedFiles, type Broken, type DiskFaults } from "./storage.ts";

/** What is around a server and goes on when it dies. */
export interface Machine {
  readonly scheduler: Scheduler;
  readonly root: string;
  readonly wall: WallClock;
  readonly disk: DiskFaults;
  readonly threads: ThreadFaults;
  readonly weather: Weather;
  readonly openDbs: number;
  readonly broken: Broken & { readonly world?: (world: World) => World };
  /** Told what must never happen. */
  readonly wrong: (what: string) => void;
}

/** One life of a server: the real engine and the real HTTP server, on a made-up world. */
export class Server {
  readonly life: Life;
  readonly dir: string;
  readonly engine: Engine;
  readonly tokens: Tokens;
  readonly #audit: Audit;
  /** The disk failed: the process has to end. */
  fatal = false;
  readonly #machine: Machine;
  readonly #http: HttpServer;
  readonly #files: SimulatedFiles;
  readonly #capabilities: Capabilities;
  readonly #vigil: Vigil;
  readonly #threads: Threads;
  readonly #people: People;
  readonly #sessions: Sessions;
  readonly #scrub: Scrub;
  readonly #connections = new Set<Connection>();
  stopping = false;

  constructor(machine: Machine, dir: string, name: string) {
    const { scheduler } = machine;
    this.#machine = machine;
    this.dir = dir;
    this.life = new Life(name);
    const plain = worldOf(scheduler, this.life, machine.wall);
    const world = machine.broken.world?.(plain) ?? plain;
    this.#files = new SimulatedFiles(scheduler, this.life, machine.disk, machine.broken);
    this.#threads = new Threads(scheduler, this.life, world, machine.threads);
    this.engine = new Engine({
      dir,
      reserve: 0,
      openDbs: machine.openDbs,
      world,
      files: this.#files,
      packer: () => packerOf(scheduler, this.life),
      documents: { workers: 2, thread: this.#threads.start },
      onError: (error) => this.#failed(error, "in the background"),
    });
    const vigil = (this.#vigil = new Vigil(world));
    this.tokens = new Tokens(path.join(dir, SERVICE_FILE), { world, ended: () => vigil.notice() });
    this.#people = new People(path.join(dir, SERVICE_FILE), { world });
    this.#sessions = new Sessions(path.join(dir, SERVICE_FILE), { world });
    this.#capabilities = new Capabilities(path.join(dir, SERVICE_FILE), {
      world,
      secret: () => this.tokens.secret("did"),
      ended: () => vigil.notice(),
    });
    this.#audit = new Audit({
      engine: this.engine,
      file: path.join(dir, SERVICE_FILE),
      world,
      onError: (error) => this.#failed(error, "in the audit log"),
    });
    this.#scrub = new Scrub({
      engine: this.engine,
      days: 0.001,
      world,
      onFinding: (error) => this.#failed(error, "in the scrub"),
    });
    this.#scrub.start();
    this.#http = createHttpServer(
      {
        engine: this.engine,
        tokens: this.tokens,
        people: this.#people,
        sessions: this.#sessions,
        signin: new Signin({ login: undefined, key: () => this.tokens.secret("login"), world }),
        publicUrl: undefined,
        audit: this.#audit,
        sync: new SyncHubs({ failed: (error) => this.#failed(error, "in sync"), refused: () => {} }),
        syncRoot: undefined,
        url: () => undefined,
        feeds: new FeedTally(),
        tickets: new Tickets(this.tokens, world),
        vigil,
        capabilities: this.#capabilities,
        providers: [tokenProvider(this.tokens), this.#capabilities],
        subscriptions: new Subscriptions({
          engine: this.engine,
          onError: (error) => this.#failed(error, "in a subscription"),
        }),
        ...this.#sql(),
        queryTally: new QueryTally(),
        version: "0",
        automerge: "0",
        world,
        started: world.monotonic(),
        openApi: () => "{}",
        metrics: () => Promise.resolve({ type: "text/plain", text: "" }),
        scrub: () => this.#scrub.status(),
        verify: (dbId, signal, options) => verifyLines(this.engine, dbId, signal, options),
        accepting: () => !this.stopping,
      },
      { request: () => {}, failure: (error, id) => this.#failed(error, `request ${id}`) },
    );
  }

  /** None of the clients here speaks SQL, so it starts nothing. */
  #sql(): OpenedQueries {
    return openQueries({ engine: this.engine, onError: (error) => this.#failed(error, "in SQL") });
  }

  /** A client connects. Undefined when nobody listens. */
  connect(name: string, weather: Weather, latency: number): Connection | undefined {
    if (!this.life.alive || this.stopping) return undefined;
    const { scheduler } = this.#machine;
    const made = new Connection(scheduler, this.life, name, [this.#machine.weather, weather], latency);
    this.#connections.add(made);
    made.server.once("close", () => this.#connections.delete(made));
    this.#http.emit("connection", made.server);
    return made;
  }

  /** Dies at once. Gives the directory as it is left, under another name. */
  crash(next: string): string {
    const dir = path.join(this.#machine.root, next);
    this.life.alive = false;
    cpSync(this.dir, dir, { recursive: true });
    for (const connection of this.#connections) connection.crashed();
    // Not what a dead process does, but the test's own process has only so many files.
    this.#files.abandon();
    this.#closeService();
    this.#audit.abandon();
    this.engine.lock.release();
    rmSync(this.dir, { recursive: true, force: true });
    return dir;
  }

  #closeService(): void {
    this.#sessions.end();
    this.#people.close();
    this.#capabilities.close();
    this.tokens.close();
  }

  /** Stops as the service does; resolves when everything is given back. */
  async stop(): Promise<void> {
    const { scheduler, wrong } = this.#machine;
    this.stopping = true;
    await new Promise<void>((resolve) => {
      const drained = (): void => {
        if (this.#connections.size === 0) resolve();
        else scheduler.at(100, "drain", drained, this.life);
      };
      scheduler.at(
        8000,
        "drained enough",
        () => this.#connections.forEach((connection) => connection.server.destroy()),
        this.life,
      );
      this.#http.close();
      drained();
    });
    this.#vigil.close();
    await this.#scrub.stop();
    await this.#audit.close();
    await this.engine.close();
    this.#closeService();
    if (this.#files.open > 0 && !this.fatal) wrong(`${this.#files.open} files are open after the end`);
    if (this.#threads.alive > 0) wrong(`${this.#threads.alive} threads are alive after the end`);
    if (this.life.timers > 0) wrong(`${this.life.timers} timers run after the end`);
    this.life.alive = false;
  }

  #failed(error: unknown, where: string): void {
    if (!this.life.alive) return;
    const code = isSkaldError(error) ? error.code : String((error as Error | undefined)?.stack ?? error);
    this.#machine.scheduler.note(`failure ${where}: ${code}`);
    if (code === "STORAGE_FAILED") this.fatal = true;
    else if (!EXPECTED.has(code)) this.#machine.wrong(`a failure ${where}: ${code}`);
  }
}

/** Failures that the faults bring about. */
const EXPECTED: ReadonlySet<string> = new Set([
  "STORAGE_FULL",
  "UNAVAILABLE",
  "WORK_FAILED",
  "WORK_TIMEOUT",
  "WORK_BUSY",
]);
