import { nextTurn, realWorld } from "../../src/world.ts";
import { LIMITS } from "../../src/limits.ts";
import { wireArgs } from "../../src/query/args.ts";
import type { Bounds } from "../../src/query/job.ts";
import { QueryProcesses } from "../../src/query/processes.ts";
import { boundsOf } from "../../src/query/queries.ts";
import { classify } from "../../src/query/statement.ts";
import { runsOf } from "../../src/query/writes.ts";
import { tablesFile } from "../query/tables-file.ts";
import { outcomeOf, type ProbeSpec } from "./probe.ts";

let made: { processes: QueryProcesses; file: string; close: () => void } | undefined;
function setting(): NonNullable<typeof made> {
  if (made === undefined) {
    const { file, sqlite } = tablesFile();
    const processes = new QueryProcesses({ processes: 1 });
    made = { processes, file, close: () => sqlite.close() };
  }
  return made;
}
afterAll(async () => {
  await made?.processes.close();
  made?.close();
});

const read = (
  sql: string,
  { args = [], bounds = {}, principal = "p", processes = setting().processes }: Read = {},
): Promise<unknown> =>
  processes.run({ kind: "read", principal, request: { file: setting().file, sql, args } }, boundsOf(bounds));
interface Read {
  args?: unknown[];
  bounds?: Partial<Bounds>;
  principal?: string;
  processes?: QueryProcesses;
}

const COUNT = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT ?) SELECT x FROM c";

/** Many at once, before any can have begun. */
async function queued(count: number, principalOf: (n: number) => string): Promise<string> {
  const processes = new QueryProcesses();
  const all = Promise.allSettled(
    Array.from({ length: count }, (_, n) => read("SELECT 1", { principal: principalOf(n), processes })),
  );
  await processes.close();
  const codes = (await all).map((one) => (one as { reason?: { code: string } }).reason?.code);
  return codes.find((code) => code !== "UNAVAILABLE") ?? "ok";
}

const STATEMENT_MS = 300;
const STREAM_BYTES = 100_000;
const STREAM_ROWS = 20_000;

/** Numbers one below the other, or one text of so many characters, page by page to the end. */
async function streamed(count: number, bounds: Partial<Bounds>, characters?: number): Promise<void> {
  const { processes, file } = setting();
  const { streamMs, streamRows, streamBytes } = LIMITS.sql;
  const all = { ms: streamMs.value, rows: streamRows.value, bytes: streamBytes.value, ...bounds };
  const held = processes.hold(all);
  let done = false;
  try {
    const sql = characters === undefined ? COUNT : "SELECT hex(zeroblob(?)) || ? AS x";
    const args = characters === undefined ? [count] : text(characters - HEAD_AND_ENDS).args;
    let request: object = { file, sql, args, format: "csv" };
    while (!done) {
      ({ done } = await held.run<{ done: boolean }>({ kind: "rows", principal: "p", request }));
      request = { next: true };
    }
  } finally {
    held.release(done);
  }
}

/** `x` and two line ends. */
const HEAD_AND_ENDS = 5;

export const sqlProbes: Readonly<Record<keyof (typeof LIMITS)["sql"], ProbeSpec>> = {
  statementBytes: { cheap: true, run: (n) => outcomeOf(() => classify(`SELECT 1${" ".repeat(n - 8)}`)) },
  batchStatements: { cheap: true, run: (n) => outcomeOf(() => runsOf(Array(n).fill({ sql: "SELECT 1" }))) },
  batchRuns: {
    cheap: true,
    run: (n) => outcomeOf(() => runsOf([{ sql: "SELECT 1", values: Array(n).fill([]) }])),
  },
  args: { cheap: true, run: (n) => outcomeOf(() => wireArgs(Array<number>(n).fill(1))) },
  ms: {
    made: STATEMENT_MS,
    run: (ms) =>
      outcomeOf(() =>
        read(ms > STATEMENT_MS ? `SELECT count(*) FROM (${COUNT})` : "SELECT 1", {
          args: ms > STATEMENT_MS ? [1e12] : [],
          bounds: { ms: STATEMENT_MS },
        }),
      ),
  },
  rows: { run: (n) => outcomeOf(() => read(COUNT, { args: [n] })) },
  bytes: { run: (n) => outcomeOf(() => read("SELECT hex(zeroblob(?)) || ?", text(n - 4))) },
  streamMs: {
    made: STATEMENT_MS,
    run: (ms) =>
      outcomeOf(() => streamed(ms > STATEMENT_MS ? 1e12 : 1, { ms: STATEMENT_MS, rows: 1e12, bytes: 1e15 })),
  },
  // A million of them take seconds.
  streamRows: { made: STREAM_ROWS, run: (n) => outcomeOf(() => streamed(n, { rows: STREAM_ROWS })) },
  streamBytes: {
    made: STREAM_BYTES,
    run: (n) => outcomeOf(() => streamed(1, { bytes: STREAM_BYTES }, n)),
  },
  // What the process itself has is not the statement's: nearly all of it, and twice as much.
  memoryBytes: {
    run: (n) =>
      outcomeOf(() =>
        read("SELECT length(hex(zeroblob(?)))", {
          args: [n > LIMITS.sql.memoryBytes.value ? n : Math.floor(n / 8)],
        }),
      ),
  },
  atOnce: {
    run: async (n) => {
      // What opens the file, or finds the machine busy, is not seen to be quick: then fewer are sent ahead.
      for (let tries = 0; tries < 20; tries++) {
        await read("SELECT 2");
        const all = Array.from({ length: n }, () => read("SELECT 2"));
        // They are dealt out together at the end of the turn.
        await nextTurn(realWorld);
        const { waiting } = setting().processes.stats();
        await Promise.all(all);
        if (waiting === 0) return "ok";
      }
      return "waits";
    },
  },
  streams: {
    run: (n) =>
      outcomeOf(() => {
        const { processes } = setting();
        const held: { release: (finished: boolean) => void }[] = [];
        try {
          for (let i = 0; i < n; i++) held.push(processes.hold(boundsOf()));
        } finally {
          for (const one of held) one.release(false);
        }
      }),
  },
  waiting: { run: (n) => queued(n, (i) => `p${i % 100}`) },
  waitingPerToken: { run: (n) => queued(n, () => "p") },
};

/** Arguments that make a text of so many characters. */
function text(characters: number): Read {
  return { args: [Math.floor(characters / 2), characters % 2 === 1 ? "x" : ""] };
}
