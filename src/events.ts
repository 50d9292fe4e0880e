import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from "prom-client";
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
  committed(commits: number): void;
  started(details: Readonly<Record<string, unknown>>): void;
  stopping(signal: string): void;
  metrics(): Promise<{ type: string; text: string }>;
  /** Read when metrics are asked for. */
  gauge(name: string, help: string, read: () => number): void;
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
  const requests = new Counter({
    name: "skald_http_requests_total",
    help: "Requests answered.",
    labelNames: ["method", "route", "status"],
    registers: [registry],
  });
  const duration = new Histogram({
    name: "skald_http_request_seconds",
    help: "Time from a request's head to its answer's last byte.",
    labelNames: ["method", "route"],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30],
    registers: [registry],
  });
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
  // Looking a labelled child up costs 2 µs, so the ones in use are kept.
  const children = new Map<string, { count: { inc(): void }; time: { observe(seconds: number): void } }>();
  const logsRequests = log.isLevelEnabled("debug");
  return {
    request(line) {
      const status = `${Math.floor(line.status / 100)}xx`;
      const key = `${line.method} ${line.route} ${status}`;
      let child = children.get(key);
      if (!child) {
        const { method, route } = line;
        child = {
          count: requests.labels({ method, route, status }),
          time: duration.labels({ method, route }),
        };
        children.set(key, child);
      }
      child.count.inc();
      child.time.observe(line.ms / 1000);
      if (logsRequests) log.debug(line, "request");
    },
    failure(error, requestId) {
      failures.inc();
      log.error({ err: error, ...(requestId === undefined ? {} : { id: requestId }) }, "failure");
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
    close: () => registry.clear(),
  };
}
