import { WatchMismatch } from "../protocol/watched-rows.ts";
import { ApiError, events, isAbort, path, send } from "./api.ts";
import { LiveResult, endOf, type LiveRow } from "./live-result.ts";
import { cellsOf, numberOf, sqlResultOf } from "./sql-cells.ts";
import { Course } from "./sql-chart.ts";
import { planOf, type PlanStep } from "./sql-statement.ts";

/** What is run: a statement, its arguments as JSON text, and where. */
export interface Run {
  readonly sql: string;
  readonly args: string | undefined;
  readonly branch: string;
  readonly at: string;
  readonly dryRun?: boolean;
}

export interface Shown {
  readonly columns: readonly string[];
  readonly types: readonly (string | null)[];
  readonly rows: readonly LiveRow[];
  readonly seq: number;
  /** Of a statement that writes. */
  readonly changed: number | undefined;
  readonly dryRun: boolean;
  /** Milliseconds until the answer was here; undefined of a watch. */
  readonly took: number | undefined;
}

/** A statement that runs or is watched, and what it gave. One at a time: what is begun ends what was before. */
export class SqlRunner {
  readonly #db: string;
  #over: AbortController | undefined;
  #live = new LiveResult();
  #quiet: ReturnType<typeof setTimeout> | undefined;

  doing = $state<"" | "running" | "watching">("");
  /** A watch that hears of the server. */
  connected = $state(false);
  shown = $state.raw<Shown | undefined>();
  plan = $state.raw<readonly PlanStep[] | undefined>();
  failed = $state.raw<unknown>();
  /** Rows that flash: the last update brought them. */
  fresh = $state.raw<ReadonlySet<LiveRow>>(new Set());
  updates = $state(0);
  /** The first number of a watched single row as it went. */
  course = $state.raw<Course | undefined>();

  constructor(db: string) {
    this.#db = db;
  }

  async run(run: Run): Promise<void> {
    const began = performance.now();
    await this.#alone(async (signal) => {
      const response = await this.#exec(run, signal, "application/json");
      const result = sqlResultOf(await response.text());
      this.shown = {
        ...result,
        rows: result.rows.map((text) => ({ text, row: cellsOf(text) })),
        dryRun: run.dryRun ?? false,
        took: performance.now() - began,
      };
    });
  }

  async explain(run: Run): Promise<void> {
    await this.#alone(async (signal) => {
      const plain = { ...run, sql: `EXPLAIN QUERY PLAN ${run.sql}` };
      const response = await this.#exec(plain, signal, "application/json");
      const { rows } = (await response.json()) as { rows: [number, number, unknown, string][] };
      this.plan = planOf(rows);
    });
  }

  /** Every row there is, as a file. `onBytes` is told how much has come. */
  async csv(run: Run, signal: AbortSignal, onBytes: (bytes: number) => void): Promise<Blob> {
    const response = await this.#exec(run, signal, "text/csv");
    const reader = response.body?.getReader();
    const parts: Uint8Array<ArrayBuffer>[] = [];
    let bytes = 0;
    for (;;) {
      const part = await reader?.read();
      if (!part || part.done) return new Blob(parts, { type: "text/csv" });
      parts.push(part.value);
      onBytes((bytes += part.value.length));
    }
  }

  async watch({ sql, args, branch }: Run): Promise<void> {
    await this.#alone(async (signal) => {
      this.doing = "watching";
      this.#live = new LiveResult();
      this.updates = 0;
      this.course = new Course();
      while (!signal.aborted) await this.#follow(bodyOf({ sql, args, branch, at: "" }), signal);
    });
  }

  stop(): void {
    this.#over?.abort();
  }

  /** Until it is ended, or what is here turns out not to be what the server has: then it begins anew. */
  async #follow(body: string, signal: AbortSignal): Promise<void> {
    const own = new AbortController();
    const end = (): void => own.abort();
    signal.addEventListener("abort", end);
    let problem: Readonly<Record<string, unknown>> | undefined;
    try {
      await events(`${path("db", this.#db)}/query/watch`, {
        method: "POST",
        type: "application/json",
        body: body.replace(/\}$/, ',"delta":true}'),
        signal: own.signal,
        onOpen: (open) => (this.connected = open),
        onEvent: ({ event, data }) => {
          problem = endOf(event, data);
          if (problem) return own.abort();
          try {
            this.#take(event, data);
          } catch (error) {
            if (!(error instanceof WatchMismatch)) throw error;
            this.#live.forget();
            own.abort();
          }
        },
      });
    } finally {
      signal.removeEventListener("abort", end);
      this.connected = false;
    }
    if (problem) throw new ApiError(Number(problem["status"] ?? 0), problem);
  }

  #take(event: string, data: string): void {
    const changed = this.#live.take(event, data);
    const { rows } = this.#live;
    if (!rows) return;
    if (!changed) {
      if (this.shown) this.shown = { ...this.shown, seq: rows.seq };
      return;
    }
    this.shown = { ...rows, changed: undefined, dryRun: false, took: undefined };
    this.updates = this.#live.updates;
    this.fresh = this.#live.fresh;
    const [only] = rows.rows;
    if (rows.rows.length === 1 && only)
      this.course?.note(
        Date.now(),
        only.row.map(numberOf).find((value) => value !== undefined),
      );
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => (this.fresh = new Set()), FLASH_MS);
  }

  async #alone(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.#over?.abort();
    const over = new AbortController();
    this.#over = over;
    this.doing = "running";
    this.failed = undefined;
    this.fresh = new Set();
    this.course = undefined;
    try {
      await work(over.signal);
    } catch (error) {
      if (this.#over === over && !isAbort(error)) {
        this.failed = error;
        this.shown = undefined;
      }
    } finally {
      if (this.#over === over) {
        this.doing = "";
        this.#over = undefined;
      }
    }
  }

  #exec(run: Run, signal: AbortSignal, accept: string): Promise<Response> {
    return send("POST", `${path("db", this.#db)}/query/exec`, {
      type: "application/json",
      body: bodyOf(run),
      headers: { accept },
      signal,
    });
  }
}

/** How long a row that changed is marked. */
const FLASH_MS = 1200;

/** Arguments are put in as they are written, so no digit is lost. */
function bodyOf({ sql, args, branch, at, dryRun }: Run): string {
  const members = [
    `"sql":${JSON.stringify(sql)}`,
    args === undefined ? "" : `"args":${args}`,
    branch === "" || branch === "main" ? "" : `"branch":${JSON.stringify(branch)}`,
    at.trim() === "" ? "" : `"at":${JSON.stringify(at.trim())}`,
    dryRun ? `"dry_run":true` : "",
  ];
  return `{${members.filter((member) => member !== "").join()}}`;
}
