import type { ChildProcess } from "node:child_process";
import type { Socket } from "node:net";
import { LIMITS } from "../limits.ts";
import { Frames, type Bounds, type Frame, type QueryJob } from "./job.ts";

/** A job that waits or runs. */
export interface Task {
  readonly id: number;
  readonly job: QueryJob;
  readonly bounds: Bounds;
  /** What runs in one process together: `quick` behind others, the rest alone. */
  readonly quick: boolean;
  settled: boolean;
  /** Ends listening for its caller's going away. */
  deafen: (() => void) | undefined;
  readonly resolve: (frame: Frame) => void;
  readonly reject: (error: unknown) => void;
}

/** The place of a process, and what was sent to it. */
export interface Slot {
  readonly writes: boolean;
  child: ChildProcess | undefined;
  ready: boolean;
  frames: Frames;
  /** Sent and not answered, in order: the process is at the first. */
  sent: Task[];
  lines: string;
  /** When the first of `sent` began, on the monotonic clock. */
  began: number;
  /** Since when it has had nothing to do. */
  idleSince: number;
  /** Belongs to one answer that is read page by page. */
  held: boolean;
}

/** From here on a statement is taken for a long one: nobody waits behind it. */
export const LONG_MS = 20;
/** Quick statements that are sent to a process ahead of their turn. */
const AHEAD = LIMITS.sql.atOnce.value;

export function newSlot(writes: boolean, idleSince: number): Slot {
  return {
    writes,
    child: undefined,
    ready: false,
    frames: new Frames(),
    sent: [],
    lines: "",
    began: 0,
    idleSince,
    held: false,
  };
}

/** Whether a process can have it now: one without work any, one with quick ones another. */
export function takes(slot: Slot, task: Task, now: number): boolean {
  const [first] = slot.sent;
  if (first === undefined) return true;
  return (
    task.quick &&
    slot.ready &&
    slot.sent.length < AHEAD &&
    now - slot.began < LONG_MS &&
    slot.sent.every((other) => other.quick)
  );
}

/** A process that has nothing to do keeps nobody alive. */
export function ref(child: ChildProcess | undefined, wanted: boolean): void {
  if (child === undefined) return;
  for (const held of [child, child.stdin as Socket | null, child.stdout as Socket | null]) {
    if (wanted) held?.ref();
    else held?.unref();
  }
}

/** What a quick statement is known by; "" for other jobs. */
export function sqlOf(job: QueryJob): string {
  const { sql } = job.request as { sql?: unknown };
  return job.kind === "read" && typeof sql === "string" ? sql : "";
}
