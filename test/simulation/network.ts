import { Duplex } from "node:stream";
import type { Life, Scheduler } from "./scheduler.ts";

/** Bytes that the other side's machine takes before its program reads them. */
const WINDOW = 64 * 1024;

/** When nothing gets through, either way, for everyone or for one. */
export interface Weather {
  blockedUntil: number;
}

/** One direction of a connection: what goes in comes out later, in order, cut differently. */
class Pipe {
  readonly #scheduler: Scheduler;
  readonly #what: string;
  readonly #life: Life | undefined;
  readonly #weather: readonly Weather[];
  readonly #latency: number;
  readonly #deliver: (bytes: Buffer | "end" | "cut") => void;
  readonly #waiting: { at: number; bytes: Buffer | "end" | "cut" }[] = [];
  #running = false;

  constructor(
    scheduler: Scheduler,
    what: string,
    life: Life | undefined,
    weather: readonly Weather[],
    latency: number,
    deliver: (bytes: Buffer | "end" | "cut") => void,
  ) {
    this.#scheduler = scheduler;
    this.#what = what;
    this.#life = life;
    this.#weather = weather;
    this.#latency = latency;
    this.#deliver = deliver;
  }

  put(bytes: Buffer | "end" | "cut"): void {
    const { scheduler, at } = { scheduler: this.#scheduler, at: this.#scheduler.time + this.#delay() };
    if (typeof bytes !== "string" && bytes.length > 1 && scheduler.chance(0.15)) {
      const middle = 1 + scheduler.below(bytes.length - 1);
      this.#waiting.push({ at, bytes: bytes.subarray(0, middle) });
      this.#waiting.push({ at: at + this.#delay(), bytes: bytes.subarray(middle) });
    } else this.#waiting.push({ at, bytes });
    this.#next();
  }

  /** Drops what is under way. */
  drop(): void {
    this.#waiting.length = 0;
  }

  #delay(): number {
    return this.#latency * this.#scheduler.between(0.5, 1.5);
  }

  #next(): void {
    const [first] = this.#waiting;
    if (!first || this.#running) return;
    this.#running = true;
    const open = Math.max(...this.#weather.map(({ blockedUntil }) => blockedUntil));
    const wait = Math.max(first.at, open) - this.#scheduler.time;
    this.#scheduler.at(
      wait,
      this.#what,
      () => {
        this.#running = false;
        const blocked = this.#weather.some(({ blockedUntil }) => blockedUntil > this.#scheduler.time);
        const arrived = blocked ? undefined : this.#waiting.shift();
        if (arrived) this.#deliver(arrived.bytes);
        this.#next();
      },
      this.#life,
    );
  }
}

/** The server's end: as much of a `net.Socket` as HTTP and WebSockets touch. */
class ServerEnd extends Duplex {
  readonly remoteAddress = "10.0.0.1";
  readonly remotePort = 1;
  readonly #connection: Connection;
  readonly #inbox: Buffer[] = [];
  #ended = false;
  #wants = false;
  #idle: (() => void) | undefined;
  #idleMs = 0;

  constructor(connection: Connection) {
    super({ allowHalfOpen: true });
    this.#connection = connection;
  }

  arrive(bytes: Buffer | "end" | "cut"): void {
    if (this.destroyed) return;
    this.#touch();
    if (bytes === "cut") {
      this.destroy(Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" }));
      return;
    }
    if (bytes === "end") this.#ended = true;
    else this.#inbox.push(bytes);
    this.#flow();
  }

  #flow(): void {
    while (this.#wants && this.#inbox.length > 0) this.#wants = this.push(this.#inbox.shift());
    if (this.#ended && this.#inbox.length === 0 && this.#wants) {
      this.#wants = false;
      this.push(null);
    }
  }

  override _read(): void {
    this.#wants = true;
    this.#flow();
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: (error?: Error) => void): void {
    this.#touch();
    this.#connection.fromServer(Buffer.from(chunk), done);
  }

  override _final(done: () => void): void {
    this.#connection.endFromServer();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#idle?.();
    this.#connection.serverClosed();
    done(error);
  }

  setNoDelay(): this {
    return this;
  }
  setKeepAlive(): this {
    return this;
  }
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }
  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once("finish", () => this.destroy());
  }

  /** Silence after which `timeout` is emitted; 0 for never. */
  setTimeout(ms: number, heard?: () => void): this {
    if (heard) this.once("timeout", heard);
    this.#idleMs = ms;
    this.#touch();
    return this;
  }

  #touch(): void {
    this.#idle?.();
    this.#idle = undefined;
    if (this.#idleMs > 0 && !this.destroyed) {
      this.#idle = this.#connection.timer(this.#idleMs, () => this.emit("timeout"));
    }
  }
}

/** A connection between a client and the server, through a network that delays, cuts up, blocks and breaks. */
export class Connection {
  readonly server: Duplex;
  /** What the client hears. */
  onData: (bytes: Buffer) => void = () => {};
  onClose: () => void = () => {};
  /** The client is still there; one that is gone hears nothing more. */
  open = true;
  /** The server's end is. */
  serverOpen = true;
  readonly #scheduler: Scheduler;
  readonly #life: Life;
  readonly #up: Pipe;
  readonly #down: Pipe;
  #unread = 0;
  #reading = true;
  readonly #unreadParts: Buffer[] = [];
  #room: (() => void) | undefined;

  constructor(scheduler: Scheduler, life: Life, name: string, weather: readonly Weather[], latency: number) {
    this.#scheduler = scheduler;
    this.#life = life;
    const end = new ServerEnd(this);
    this.server = end;
    this.#up = new Pipe(scheduler, `${name} > server`, life, weather, latency, (bytes) => end.arrive(bytes));
    this.#down = new Pipe(scheduler, `${name} < server`, undefined, weather, latency, (bytes) => {
      if (!this.open) return;
      if (typeof bytes === "string") {
        this.open = false;
        if (bytes === "end") this.#up.put("end");
        this.onClose();
        return;
      }
      if (this.#reading) this.#take(bytes);
      else this.#unreadParts.push(bytes);
    });
  }

  timer(ms: number, work: () => void): () => void {
    return this.#scheduler.at(ms, "socket idle", work, this.#life);
  }

  // The client's side.

  send(bytes: Uint8Array): void {
    if (this.open) this.#up.put(Buffer.from(bytes));
  }

  /** Goes away: with a reset that the server hears, or without a word until its kernel gives up. */
  leave(silently: boolean): void {
    if (!this.open) return;
    this.open = false;
    if (!silently) {
      this.#up.put("cut");
      return;
    }
    this.#up.drop();
    this.#scheduler.at(
      11 * 60_000,
      "gone peer noticed",
      () => (this.server as ServerEnd).arrive("cut"),
      this.#life,
    );
  }

  /** The network tears it: both hear. */
  tear(): void {
    if (!this.open) return;
    this.#up.put("cut");
    this.#down.put("cut");
  }

  set reading(reads: boolean) {
    this.#reading = reads;
    if (reads) for (const part of this.#unreadParts.splice(0)) this.#take(part);
  }

  #take(bytes: Buffer): void {
    this.#unread -= bytes.length;
    if (this.#unread < WINDOW) {
      const room = this.#room;
      this.#room = undefined;
      if (room) this.#scheduler.at(0, "window opens", room, this.#life);
    }
    this.onData(bytes);
  }

  // The server's side.

  fromServer(bytes: Buffer, done: () => void): void {
    this.#unread += bytes.length;
    this.#down.put(bytes);
    if (this.#unread < WINDOW || !this.open) done();
    else this.#room = done;
  }

  endFromServer(): void {
    this.#down.put("end");
  }

  serverClosed(): void {
    if (!this.serverOpen) return;
    this.serverOpen = false;
    this.#down.put("cut");
  }

  /** The server's process is gone: what it has sent may still arrive. */
  crashed(): void {
    if (!this.serverOpen) return;
    this.serverOpen = false;
    if (this.#scheduler.chance(0.5)) this.#down.drop();
    this.#down.put("cut");
  }
}
