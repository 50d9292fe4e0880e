import { Counter, Gauge, Registry, collectDefaultMetrics } from "prom-client";
import { pino, type Logger } from "pino";

/**
 * One function for each operational event: its log line and its metric, together. Labels come from
 * fixed sets (routes, codes, classes of status), never from a db id, a document's key or a token.
 */
export interface Events {
  request(line: {
    id: string;
    method: string;
    route: string;
    status: number;
    ms: number;
    principal: string;
    code?: string;
  }): void;
  failure(error: unknown, requestId?: string): void;
  /** A change of a sync peer was refused. */
  refused(line: { code: string; message: string; db: string; doc: string; author: string }): void;
  committed(commits: number): void;
  started(details: Readonly<Record<string, unknown>>): void;
  stopping(signal: string): void;
  metrics(): Promise<{ type: string; text: string }>;
  /** Read when metrics are asked for. */
  gauge(name: string, help: string, read: () => number): void;
  /** The same with a label of a fixed set. */
  gauges<K extends string>(
    name: string,
    help: string,
    label: string,
    values: readonly K[],
    read: (value: K) => number,
  ): void;
  close(): void;
}

export interface EventOptions {
  readonly level: "silent" | "fatal" | "error" | "warn" | "info" | "debug";
  readonly now?: () => number;
}

export function createEvents(options: EventOptions): Events {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const log: Logger = pino(
    { level: options.level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: false }),
  );
  const tally = new RequestTally(registry);
  const failures = new Counter({
    name: "skald_failures_total",
    help: "Failures that are the server's.",
    registers: [registry],
  });
  const commits = new Counter({
    name: "skald_commits_total",
    help: "Durable commits.",
    registers: [registry],
  });
  const refusals = new Counter({
    name: "skald_sync_refusals_total",
    help: "Documents that are not synced any more on a socket, because a change was refused.",
    labelNames: ["code"],
    registers: [registry],
  });
  const logsRequests = log.isLevelEnabled("debug");
  return {
    request(line) {
      tally.add(line.method, line.route, line.status, line.ms);
      if (logsRequests) log.debug(line, "request");
    },
    failure(error, requestId) {
      failures.inc();
      log.error({ err: error, ...(requestId === undefined ? {} : { id: requestId }) }, "failure");
    },
    refused(line) {
      refusals.inc({ code: line.code });
      log.warn(line, "change of a sync peer refused");
    },
    committed: (count) => commits.inc(count),
    started: (details) => log.info(details, "started"),
    stopping: (signal) => log.info({ signal }, "stopping"),
    metrics: async () => ({ type: registry.contentType, text: await registry.metrics() }),
    gauge(name, help, read) {
      const gauge = new Gauge({
        name,
        help,
        registers: [registry],
        collect() {
          gauge.set(read());
        },
      });
    },
    gauges(name, help, label, values, read) {
      const gauge = new Gauge({
        name,
        help,
        labelNames: [label],
        registers: [registry],
        collect() {
          for (const value of values) gauge.set({ [label]: value }, read(value));
        },
      });
    },
    close: () => registry.clear(),
  };
}

const BUCKETS_MS = [1, 2.5, 5, 10, 25, 50, 100, 250, 1000, 5000, 30_000];

/**
 * Counts requests in plain numbers and hands them to Prometheus's client when somebody asks: its own
 * counter and histogram cost 5 µs a request, these cost a tenth of that.
 */
class RequestTally {
  readonly #cells = new Map<string, Cell>();

  constructor(registry: Registry) {
    const cells = this.#cells;
    const requests = new Counter({
      name: "skald_http_requests_total",
      help: "Requests answered.",
      labelNames: ["method", "route", "status"],
      registers: [registry],
      collect() {
        requests.reset();
        for (const { labels, counts } of cells.values())
          requests.inc(
            labels,
            counts.reduce((sum, n) => sum + n, 0),
          );
      },
    });
    const seconds = new Counter({
      name: "skald_http_request_seconds_total",
      help: "Time from requests' heads to their answers' last bytes, summed.",
      labelNames: ["method", "route", "status"],
      registers: [registry],
      collect() {
        seconds.reset();
        for (const { labels, ms } of cells.values()) seconds.inc(labels, ms / 1000);
      },
    });
    const under = new Counter({
      name: "skald_http_requests_under_seconds_total",
      help: "Requests answered within `le` seconds.",
      labelNames: ["method", "route", "status", "le"],
      registers: [registry],
      collect() {
        under.reset();
        for (const { labels, counts } of cells.values()) {
          let sum = 0;
          counts.forEach((count, i) => {
            sum += count;
            const bound = BUCKETS_MS[i];
            under.inc({ ...labels, le: bound === undefined ? "+Inf" : String(bound / 1000) }, sum);
          });
        }
      },
    });
  }

  add(method: string, route: string, status: number, ms: number): void {
    const key = `${method} ${route} ${status}`;
    let cell = this.#cells.get(key);
    if (!cell) {
      const labels = { method, route, status: String(status) };
      cell = { labels, ms: 0, counts: Array.from({ length: BUCKETS_MS.length + 1 }, () => 0) };
      this.#cells.set(key, cell);
    }
    cell.ms += ms;
    let bucket = 0;
    while (bucket < BUCKETS_MS.length && ms > (BUCKETS_MS[bucket] as number)) bucket += 1;
    cell.counts[bucket] = (cell.counts[bucket] ?? 0) + 1;
  }
}

interface Cell {
  readonly labels: { readonly method: string; readonly route: string; readonly status: string };
  ms: number;
  /** Requests by bucket, the last one for anything longer. */
  readonly counts: number[];
}
