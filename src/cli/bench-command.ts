import { randomBytes } from "node:crypto";
import type { Command } from "commander";
import { measure, type Measured } from "./bench-run.ts";
import { clientCommand, dbPath, docPath, query, type ClientFlags } from "./client-command.ts";
import { readBytes, withConnection, type Connection, type Send } from "./connection.ts";
import { createDb } from "./db-commands.ts";
import { EXIT, asCliError, failureText, usageError } from "./failure.ts";
import { note, print, printJson, table } from "./output.ts";
import { startProgress } from "./progress.ts";

type BenchFlags = ClientFlags & { readonly seconds: string; readonly connections: string };

interface Step {
  readonly step: string;
  readonly connections: number;
  /** The nth request of the step, counted from 0. */
  readonly request: (n: number) => Send;
}

const TX_DOCS = 2;

/** `skald bench`: what this server, machine and disk do; specs/09-cli.md says what it does not tell. */
export function addBench(program: Command): void {
  clientCommand(
    program
      .command("bench")
      .description("measure this machine and disk, in a db of its own that is deleted afterwards")
      .option("--seconds <number>", "length of each of the five steps", "3")
      .option("--connections <number>", "requests under way at once", "16"),
    ["skald bench", "skald bench --url http://127.0.0.1:7600 --connections 64 --json"],
  ).action((flags: BenchFlags) => {
    const seconds = numberIn(flags.seconds, "--seconds", 0.1, 600);
    const connections = numberIn(flags.connections, "--connections", 1, 512);
    if (!Number.isInteger(connections)) throw usageError("--connections takes a whole number.");
    const db = `bench-${randomBytes(8).toString("hex")}`;
    let stopped = false;
    const stop = (): void => {
      if (stopped) {
        note(leftover(db));
        process.exit(EXIT.interrupted);
      }
      stopped = true;
      note(`Deleting ${db}; once more to leave it and stop now.`);
    };
    const work = async (connection: Connection): Promise<void> => {
      process.on("SIGINT", stop).on("SIGTERM", stop);
      try {
        await createDb(connection, db);
        note(`Measuring ${connection.where}, in ${db}`);
        const steps = stepsIn(db, connections);
        // The first write starts threads; it is not counted.
        await readBytes(await connection.send(steps[0].request(0)));
        const rows = await runSteps(connection, steps, seconds, () => stopped, flags);
        if (stopped) process.exitCode = EXIT.interrupted;
        else if (!flags.json) await print(tableOf(rows));
      } finally {
        await deleteDb(connection, db);
        process.off("SIGINT", stop).off("SIGTERM", stop);
      }
    };
    return withConnection(flags, work, false, connections);
  });
}

type Row = Measured & { readonly step: string; readonly connections: number };

async function runSteps(
  connection: Connection,
  steps: readonly Step[],
  seconds: number,
  stopped: () => boolean,
  flags: BenchFlags,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (const { step, connections, request } of steps) {
    const progress = startProgress(`requests, ${step}`, false);
    let next = 0;
    const measured = await measure({
      connections,
      seconds,
      request: async () => {
        await readBytes(await connection.send(request(next++)));
      },
      stopped,
      onRequest: (count, share) => progress.update(count, share),
    }).finally(() => progress.end());
    if (stopped()) break;
    const row = { step, connections, ...measured };
    rows.push(row);
    if (flags.json) await printJson(row);
  }
  return rows;
}

/** Each step finds what the first one made: it counts how many documents there are. */
function stepsIn(db: string, connections: number): [Step, ...Step[]] {
  let made = 0;
  const nth = (n: number): string => docPath(db, `bench/${n % Math.max(made, 1)}`);
  const json = { "content-type": "application/json" };
  const create = (): Send => ({
    method: "PUT",
    path: docPath(db, `bench/${made++}`),
    headers: json,
    body: JSON.stringify({ name: `thing ${made}`, count: 0, tags: ["a", "b"], text: "x".repeat(120) }),
  });
  return [
    // First, since it needs nothing and is the wait for the disk alone.
    { step: "one write at a time", connections: 1, request: create },
    { step: "create", connections, request: create },
    {
      step: "change",
      connections,
      request: (n) => ({
        method: "PATCH",
        path: nth(n),
        headers: { "content-type": "application/merge-patch+json" },
        body: JSON.stringify({ count: n + 1 }),
      }),
    },
    { step: "read", connections, request: (n) => ({ method: "GET", path: nth(n) }) },
    {
      step: `transaction of ${TX_DOCS}`,
      connections,
      request: (n) => ({
        method: "POST",
        path: `${dbPath(db)}/branches/main/tx`,
        headers: json,
        body: JSON.stringify({
          writes: Array.from({ length: TX_DOCS }, (_, i) => ({
            doc: `bench/${(n * TX_DOCS + i) % Math.max(made, TX_DOCS)}`,
            patch: { moved: n },
          })),
        }),
      }),
    },
  ];
}

function tableOf(rows: readonly Row[]): string {
  const head = ["step", "connections", "requests", "per second", "p50 ms", "p99 ms"];
  const told = rows.map((row) => [
    row.step,
    String(row.connections),
    row.refused === 0 ? String(row.requests) : `${row.requests} (${row.refused} put off)`,
    String(row.per_second),
    row.p50_ms.toFixed(2),
    row.p99_ms.toFixed(2),
  ]);
  return table([head, ...told]);
}

/** Never throws, so that what made the measurement fail is what is told. */
async function deleteDb(connection: Connection, db: string): Promise<void> {
  try {
    const reply = await connection.send({ method: "DELETE", path: `${dbPath(db)}${query({ confirm: db })}` });
    await readBytes(reply);
  } catch (error) {
    const failure = asCliError(error);
    if (failure.code !== "DB_NOT_FOUND") note(`${failureText(failure, false)}\n${leftover(db)}`);
  }
}

function leftover(db: string): string {
  return `${db} may be left: \`skald db delete ${db} --yes\` deletes it.`;
}

function numberIn(text: string, flag: string, least: number, most: number): number {
  const value = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw usageError(`${flag} takes a number from ${least} to ${most}, not "${text}".`);
}
