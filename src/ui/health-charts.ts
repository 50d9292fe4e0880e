import type { Line } from "./readings.ts";

/** What the page of health draws: names of `strings/office.ts`, and where in the metrics the numbers stand. */
export type ChartName =
  | "requests"
  | "latency"
  | "refused"
  | "failures"
  | "commits"
  | "memory"
  | "cpu"
  | "lag"
  | "peers"
  | "watches"
  | "sql"
  | "behind";

const REQUESTS = "skald_http_requests_total";
const status =
  (...firsts: readonly string[]) =>
  (labels: Readonly<Record<string, string>>): boolean =>
    firsts.includes(labels["status"]?.[0] ?? "");
/** Streams stay open for as long as somebody listens: they would be the mean. */
const answered = (labels: Readonly<Record<string, string>>): boolean =>
  !/changes|watch|events|tx$|sync/.test(labels["route"] ?? "");

export const CHARTS: Readonly<Record<ChartName, Line>> = {
  requests: { metric: REQUESTS, rate: true },
  latency: { metric: "skald_http_request_seconds_total", per: REQUESTS, passes: answered, times: 1000 },
  refused: { metric: REQUESTS, rate: true, passes: status("4") },
  failures: { metric: REQUESTS, rate: true, passes: status("5") },
  commits: { metric: "skald_commits_total", rate: true },
  memory: { metric: "process_resident_memory_bytes", times: 1 / 2 ** 20 },
  cpu: { metric: "process_cpu_seconds_total", rate: true, times: 100 },
  lag: { metric: "nodejs_eventloop_lag_p99_seconds", times: 1000 },
  peers: { metric: "skald_sync_peers" },
  watches: { metric: "skald_watches" },
  sql: { metric: "skald_sql_statements_total", rate: true },
  behind: { metric: "skald_subscription_worst_lag" },
};

export const CHART_NAMES = Object.keys(CHARTS) as ChartName[];

/** Three digits are enough beside a chart. */
export function short(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  return value.toLocaleString("en", { maximumFractionDigits: size >= 100 ? 0 : size >= 10 ? 1 : 2 });
}
