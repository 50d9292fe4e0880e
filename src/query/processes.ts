import type { ChildProcess } from "node:child_process";
import { SkaldError, type ErrorCode } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { realWorld, type World } from "../world.ts";
import { memoryLimit } from "./failure.ts";
import { Frames, JOB_KINDS, lineOf, type Bounds, type Failure, type Frame, type QueryJob } from "./job.ts";
import { lowerPriority, startChild, type ChildLimits } from "./query-child.ts";
import { Quickness } from "./quickness.ts";
import { LONG_MS, newSlot, ref, sqlOf, takes, type Slot, type Task } from "./slot.ts";
import { Waiting } from "./waiting.ts";

export interface ProcessesOptions {
  /** Processes for statements that read; as many again are started while all of them are at something long. */
  readonly processes?: number;
  readonly memoryBytes?: number;
  readonly world?: World;
  readonly start?: (limits: ChildLimits) => ChildProcess;
}

/** A process that one answer has for itself. */
export interface HeldProcess {
  run<T extends object>(job: QueryJob): Promise<T & { body: Buffer }>;
  /** `finished`: nothing of the answer is left in it, so that others may have it. */
  release(finished: boolean): void;
}

/** How often what runs is looked at. */
const LOOK_MS = 20;
/** A process beyond those there always are ends after so long without work; all of them after the second. */
const SPARE_IDLE_MS = 10_000;
const IDLE_MS = 60_000;

/**
 * Processes that run statements of others. They start when they are needed and are cheap to lose: one that overruns
 * the time of what it is at is killed and replaced, and only that job fails. Jobs of several principals are taken in
 * turns. Statements that were quick before go to a process several at a time; one that was not seen before, or takes
 * its time, has a process to itself.
 */
export class QueryProcesses {
  readonly #options: Required<Omit<ProcessesOptions, "start">> & {
    start: (limits: ChildLimits) => ChildProcess;
  };
  readonly #slots: Slot[] = [];
  readonly #waiting = { reads: new Waiting<Task>(), writes: new Waiting<Task>() };
  readonly #endings = new Set<Promise<void>>();
  readonly #atWork = new Map<string, number>();
  readonly #quick = new Quickness();
  #ids = 0;
  #flushing = false;
  #stopLooking: (() => void) | undefined;
  #restarts = 0;
  #closed = false;

  constructor(options: ProcessesOptions = {}) {
    this.#options = {
      processes: options.processes ?? 2,
      memoryBytes: options.memoryBytes ?? LIMITS.sql.memoryBytes.value,
      world: options.world ?? realWorld,
      start: options.start ?? startChild,
    };
  }

  /**
   * Runs a job; gives what its work gives, with `body` when it has bytes. Throws QUERY_BUSY, QUERY_LIMIT, UNAVAILABLE
   * when the service ends, and what the work throws. When `signal` aborts, the work is given up.
   */
  async run<T extends object>(
    job: QueryJob,
    bounds: Bounds,
    signal?: AbortSignal,
  ): Promise<T & { body: Buffer }> {
    return answerOf<T>(await this.#enqueue(job, bounds, signal));
  }

  /**
   * A process for one answer alone, which is read page by page. `bounds.ms` is for all its work together. Throws
   * QUERY_BUSY when there are as many as there may be.
   */
  hold(bounds: Bounds, signal?: AbortSignal): HeldProcess {
    if (this.#closed) throw closed();
    const { value: most } = LIMITS.sql.streams;
    if (this.#slots.filter((slot) => slot.held).length >= most)
      throw new SkaldError("QUERY_BUSY", `There are ${most} long answers under way already.`);
    const slot = this.#spare() ?? this.#newSlot(false);
    slot.held = true;
    let left = bounds.ms;
    return {
      run: async <T extends object>(job: QueryJob) => {
        const began = this.#options.world.monotonic();
        const frame = await new Promise<Frame>((resolve, reject) => {
          if (this.#closed || !this.#slots.includes(slot)) return reject(closed());
          if (signal?.aborted) return reject(gone());
          const task = this.#task(job, { ...bounds, ms: Math.max(1, left) }, resolve, reject);
          const abandon = (): void => this.#settle(task, () => reject(gone()));
          signal?.addEventListener("abort", abandon, { once: true });
          task.deafen = () => signal?.removeEventListener("abort", abandon);
          this.#give(slot, task);
          this.#soon();
        });
        left -= this.#options.world.monotonic() - began;
        return answerOf<T>(frame);
      },
      release: (finished) => {
        slot.held = false;
        // What is not read to its end keeps its state from being tidied up.
        if (!this.#slots.includes(slot)) return;
        if (!finished || slot.sent.length > 0) this.#replace(slot);
        else this.#rest(slot, this.#options.world.monotonic());
      },
    };
  }

  /** One that is not needed: those that are always there are for all. */
  #spare(): Slot | undefined {
    const reading = this.#slots.filter((slot) => !slot.writes && !slot.held);
    return reading.length > this.#options.processes
      ? reading.find((slot) => slot.sent.length === 0)
      : undefined;
  }

  #newSlot(writes: boolean): Slot {
    const idleSince = this.#options.world.monotonic();
    const slot = newSlot(writes, idleSince);
    this.#slots.push(slot);
    return slot;
  }

  #task(job: QueryJob, bounds: Bounds, resolve: Task["resolve"], reject: Task["reject"]): Task {
    const id = (this.#ids = (this.#ids % 0xffff_fff0) + 1);
    return {
      id,
      job,
      bounds,
      quick: this.#quick.of(sqlOf(job)),
      settled: false,
      deafen: undefined,
      resolve,
      reject,
    };
  }

  stats(): { processes: number; running: number; waiting: number; restarts: number } {
    const there = this.#slots.filter((slot) => slot.child !== undefined);
    return {
      processes: there.length,
      running: there.reduce((sum, slot) => sum + slot.sent.length, 0),
      waiting: this.#waiting.reads.size + this.#waiting.writes.size,
      restarts: this.#restarts,
    };
  }

  /** Ends all of them; what waits or runs is refused with UNAVAILABLE. Resolves when they are gone. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#stopLooking?.();
    for (const slot of this.#slots.slice()) {
      const { sent } = slot;
      slot.sent = [];
      this.#end(slot);
      for (const task of sent) this.#settle(task, () => task.reject(closed()));
    }
    for (const queue of [this.#waiting.reads, this.#waiting.writes])
      for (const task of queue.drain()) this.#settle(task, () => task.reject(closed()));
    await Promise.all(this.#endings);
  }

  #enqueue(job: QueryJob, bounds: Bounds, signal: AbortSignal | undefined): Promise<Frame> {
    return new Promise<Frame>((resolve, reject) => {
      if (this.#closed) return reject(closed());
      if (signal?.aborted) return reject(gone());
      const queue = JOB_KINDS[job.kind].writes ? this.#waiting.writes : this.#waiting.reads;
      const { waiting, waitingPerToken } = LIMITS.sql;
      if (queue.size >= waiting.value || queue.of(job.principal) >= waitingPerToken.value)
        return reject(new SkaldError("QUERY_BUSY", "Too many statements wait for a process."));
      const task = this.#task(job, bounds, resolve, reject);
      if (signal) {
        const abandon = (): void => {
          if (task.settled) return;
          queue.remove(task.job.principal, task);
          this.#settle(task, () => reject(gone()));
        };
        signal.addEventListener("abort", abandon, { once: true });
        task.deafen = () => signal.removeEventListener("abort", abandon);
      }
      queue.add(job.principal, task);
      this.#soon();
    });
  }

  /** Everything that comes in within one turn of the event loop goes out in one write to each process. */
  #soon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    this.#options.world.soon(() => {
      this.#flushing = false;
      if (!this.#closed) this.#deal();
    });
  }

  #deal(): void {
    this.#dealTo(false, this.#waiting.reads);
    this.#dealTo(true, this.#waiting.writes);
    for (const slot of this.#slots) {
      if (slot.lines === "") continue;
      slot.child?.stdin?.write(slot.lines);
      slot.lines = "";
    }
    if (this.#slots.some((slot) => slot.child !== undefined)) this.#look();
  }

  #dealTo(writes: boolean, queue: Waiting<Task>): void {
    const most = LIMITS.sql.atOnce.value;
    const free = (principal: string): boolean => (this.#atWork.get(principal) ?? 0) < most;
    for (;;) {
      const task = queue.peek(free);
      if (task === undefined) return;
      const slot = this.#slotFor(task, writes);
      if (slot === undefined) return;
      queue.take(task.job.principal);
      this.#give(slot, task);
    }
  }

  /** The process that can take it now with least before it; a new one when all there are have something long. */
  #slotFor(task: Task, writes: boolean): Slot | undefined {
    let best: Slot | undefined;
    let there = 0;
    let long = 0;
    const now = this.#options.world.monotonic();
    for (const slot of this.#slots) {
      if (slot.writes !== writes || slot.held) continue;
      there += 1;
      const first = slot.sent[0];
      if (first !== undefined && now - slot.began > LONG_MS) long += 1;
      if (!takes(slot, task, now)) continue;
      if (best === undefined || slot.sent.length < best.sent.length) best = slot;
    }
    if (best?.sent.length === 0) return best;
    const { processes } = this.#options;
    if (there < (writes ? 1 : processes) || (there < 2 * processes && long === there)) {
      return this.#newSlot(writes);
    }
    return best;
  }

  #give(slot: Slot, task: Task): void {
    if (slot.child === undefined) this.#start(slot);
    if (slot.sent.length === 0) {
      slot.began = this.#options.world.monotonic();
      ref(slot.child, true);
    }
    slot.sent.push(task);
    slot.lines += lineOf(task.id, task.job, task.bounds);
    this.#atWork.set(task.job.principal, (this.#atWork.get(task.job.principal) ?? 0) + 1);
  }

  #start(slot: Slot): void {
    const { start, memoryBytes } = this.#options;
    const child = start({ memoryBytes, writes: slot.writes });
    slot.child = child;
    slot.ready = false;
    slot.frames = new Frames();
    child.stdout?.on("data", (piece: Buffer) => {
      if (slot.child !== child) return;
      try {
        for (const frame of slot.frames.take(piece)) this.#hear(slot, frame);
      } catch (error) {
        this.#died(slot, error);
      }
      this.#soon();
    });
    // Told of by its `exit`, too.
    child.stdin?.on("error", () => {});
    child.on("error", (error) => {
      if (slot.child === child) this.#died(slot, error);
    });
    child.on("exit", (code, signal) => {
      if (slot.child === child) this.#died(slot, new Error(`It ended with ${signal ?? code}.`));
    });
  }

  #hear(slot: Slot, frame: Frame): void {
    const now = this.#options.world.monotonic();
    if (frame.kind === "ready") {
      slot.ready = true;
      slot.began = now;
      if (slot.child) lowerPriority(slot.child);
      return;
    }
    const at = slot.sent.findIndex((task) => task.id === frame.id);
    // Given to another process meanwhile.
    if (at < 0) return;
    const [task] = slot.sent.splice(at, 1) as [Task];
    this.#learn(task, frame);
    slot.began = now;
    if (slot.sent.length === 0) this.#rest(slot, now);
    this.#left(task);
    this.#settle(task, () => task.resolve(frame));
  }

  #learn(task: Task, frame: Frame): void {
    if (task.job.kind === "read") this.#quick.learn(sqlOf(task.job), frame);
  }

  #rest(slot: Slot, now: number): void {
    slot.idleSince = now;
    if (!slot.held) ref(slot.child, false);
  }

  #settle(task: Task, how: () => void): void {
    if (task.settled) return;
    task.settled = true;
    task.deafen?.();
    how();
  }

  #left(task: Task): void {
    const { principal } = task.job;
    const rest = (this.#atWork.get(principal) ?? 1) - 1;
    if (rest > 0) this.#atWork.set(principal, rest);
    else this.#atWork.delete(principal);
  }

  /** One timer for all: what is over its time ends, nobody waits behind what is long, what idles goes. */
  #look(): void {
    this.#stopLooking ??= this.#options.world.timer(LOOK_MS, () => {
      this.#stopLooking = undefined;
      if (this.#closed) return;
      const now = this.#options.world.monotonic();
      for (const slot of this.#slots.slice()) this.#lookAt(slot, now);
      this.#tidy(now);
      this.#deal();
    });
  }

  #lookAt(slot: Slot, now: number): void {
    const [first] = slot.sent;
    if (first === undefined) return;
    const ms = now - slot.began;
    if (!slot.ready) {
      if (ms > STARTING_MS) this.#died(slot, new Error("A query process did not start."));
      return;
    }
    if (ms > first.bounds.ms) return this.#overrun(slot, first);
    if (ms <= LONG_MS) return;
    // Nobody wants its answer any more.
    if (first.settled) return this.#replace(slot);
    const behind = slot.sent.splice(1);
    for (const task of behind.toReversed()) this.#again(task);
  }

  #overrun(slot: Slot, task: Task): void {
    const { ms } = task.bounds;
    this.#settle(task, () =>
      task.reject(
        new SkaldError("QUERY_LIMIT", `The statement took longer than ${ms} ms.`, {
          details: { limit: "time", max: ms },
        }),
      ),
    );
    this.#learn(task, FAILED);
    this.#replace(slot);
  }

  /** It ended by itself: of memory, as far as anybody knows, which V8 does not survive where SQLite does. */
  #died(slot: Slot, cause: unknown): void {
    const [task] = slot.sent;
    if (task !== undefined) {
      this.#learn(task, FAILED);
      this.#settle(task, () =>
        task.reject(
          slot.ready
            ? memoryLimit(cause)
            : new SkaldError("UNAVAILABLE", "No query process can be started.", { cause }),
        ),
      );
    }
    this.#replace(slot);
  }

  /** The first of its jobs is done with; the others are for the next. */
  #replace(slot: Slot): void {
    this.#restarts += 1;
    const [first, ...behind] = slot.sent;
    slot.sent = [];
    if (first !== undefined) this.#left(first);
    this.#end(slot);
    for (const task of behind.toReversed()) this.#again(task);
    this.#soon();
  }

  #again(task: Task): void {
    this.#left(task);
    if (task.settled) return;
    const queue = JOB_KINDS[task.job.kind].writes ? this.#waiting.writes : this.#waiting.reads;
    queue.addFirst(task.job.principal, task);
  }

  #tidy(now: number): void {
    const { processes } = this.#options;
    for (const slot of this.#slots.slice()) {
      if (slot.sent.length > 0 || slot.held) continue;
      const reading = this.#slots.filter((other) => !other.writes && !other.held).length;
      const idle = now - slot.idleSince;
      if (idle > IDLE_MS || (!slot.writes && reading > processes && idle > SPARE_IDLE_MS)) this.#end(slot);
    }
  }

  #end(slot: Slot): void {
    this.#slots.splice(this.#slots.indexOf(slot), 1);
    const { child } = slot;
    slot.child = undefined;
    slot.lines = "";
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    ref(child, true);
    const ending = new Promise<void>((resolve) => {
      child.once("exit", () => resolve());
      child.once("error", () => resolve());
    }).finally(() => this.#endings.delete(ending));
    this.#endings.add(ending);
    child.kill("SIGKILL");
    child.stdin?.destroy();
    child.stdout?.destroy();
  }
}

/** A process that does not come up in this time will not. */
const STARTING_MS = 20_000;

const FAILED: Frame = { id: 0, kind: "failed", micros: 0, value: "{}", body: Buffer.alloc(0) };

function answerOf<T extends object>(frame: Frame): T & { body: Buffer } {
  if (frame.kind === "done") return { ...(JSON.parse(frame.value) as T), body: frame.body };
  const { code, message, hint, details } = JSON.parse(frame.value) as Failure;
  throw new SkaldError(code as ErrorCode, message, {
    ...(hint === undefined ? {} : { hint }),
    ...(details === undefined ? {} : { details }),
  });
}

const closed = (): SkaldError => new SkaldError("UNAVAILABLE", "The query processes are closed.");
const gone = (): SkaldError => new SkaldError("UNAVAILABLE", "Nobody waits for the statement any more.");
