import { readSync, writeSync } from "node:fs";
import { isSkaldError } from "../errors.ts";
import { failureOf } from "./failure.ts";
import { frameOf, type Bounds, type JobAnswer, type JobKind, type Line } from "./job.ts";
import { namesJob } from "./names-job.ts";
import { readJob } from "./read-job.ts";
import { rowsJob } from "./rows-job.ts";
import { schemaJob } from "./schema-job.ts";
import { watchJob } from "./watch-job.ts";
import { realWorld } from "../world.ts";
import { startWatchdog } from "./watchdog.ts";
import { writeJob } from "./write-job.ts";

// Entry of a query process. It reads jobs from its standard input and answers on its standard output, one after
// the other, and ends when nobody is there to give it any.

const JOBS: Readonly<Record<JobKind, (request: never, bounds: Bounds) => JobAnswer>> = {
  read: readJob,
  rows: rowsJob,
  watch: watchJob,
  names: namesJob,
  write: writeJob,
  schema: schemaJob,
};

const watchdog = startWatchdog();
const piece = Buffer.allocUnsafe(64 * 1024);
let held = Buffer.alloc(0);

/** Jobs after which the event loop has a turn: the collector ends statements that nobody has any more in it. */
const TURN_JOBS = 500;

function send(frame: Buffer): void {
  for (let at = 0; at < frame.byteLength;) at += writeSync(1, frame, at);
}

function work(line: string): void {
  const [id, kind, ms, rows, bytes, request] = JSON.parse(line) as Line;
  watchdog.begin(ms);
  const before = process.cpuUsage();
  const micros = (): number => {
    const { user, system } = process.cpuUsage(before);
    return user + system;
  };
  let frame: Buffer;
  try {
    const { value, body } = JOBS[kind](request as never, { ms, rows, bytes });
    frame = frameOf(id, "done", micros(), JSON.stringify(value), body);
  } catch (error) {
    frame = frameOf(
      id,
      "failed",
      micros(),
      JSON.stringify(isSkaldError(error) ? taken(error) : failureOf(error)),
    );
  }
  watchdog.end();
  send(frame);
}

const taken = ({ code, message, hint, details }: ReturnType<typeof failureOf>): object => ({
  code,
  message,
  hint,
  details,
});

/** Waits inside of the read: an event loop around it costs more than a small job. */
function serve(): void {
  for (let jobs = 0; jobs < TURN_JOBS;) {
    const read = readSync(0, piece);
    if (read === 0) process.exit(0);
    held =
      held.byteLength === 0
        ? Buffer.from(piece.subarray(0, read))
        : Buffer.concat([held, piece.subarray(0, read)]);
    for (let end = held.indexOf(10); end >= 0; end = held.indexOf(10)) {
      const line = held.toString("utf8", 0, end);
      held = held.subarray(end + 1);
      work(line);
      jobs += 1;
    }
  }
  realWorld.soon(serve);
}

send(frameOf(0, "ready", 0, "{}"));
serve();
