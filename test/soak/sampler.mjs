import { appendFileSync } from "node:fs";
import path from "node:path";
import { HttpClient } from "./http-client.mjs";

const WANTED = {
  nodejs_heap_size_used_bytes: "heap",
  nodejs_external_memory_bytes: "external",
  nodejs_eventloop_lag_p99_seconds: "lag",
  process_cpu_seconds_total: "cpuTotal",
  skald_failures_total: "failures",
  skald_dbs_open: "dbsOpen",
  skald_document_worker_restarts: "workerRestarts",
};

/** Looks at the server every few seconds, and keeps what it saw: all of it in a file, a thinned copy in memory. */
export class Sampler {
  samples = [];
  quiets = [];
  marks = [];
  #parts;
  #file;
  #timer;
  #last;
  #keepEvery = 1;
  #seen = 0;

  constructor(parts) {
    this.#parts = parts;
    this.#file = path.join(parts.out, "samples.ndjson");
  }

  start(everyMs) {
    const look = async () => {
      await this.take().catch(() => {});
      this.#timer = setTimeout(look, everyMs);
    };
    this.#timer = setTimeout(look, 500);
  }

  stop() {
    clearTimeout(this.#timer);
  }

  mark(kind, text = "") {
    const mark = { t: Date.now(), kind, text };
    if (this.marks.length < 20_000) this.marks.push(mark);
    appendFileSync(this.#file, `${JSON.stringify({ mark: kind, ...mark })}\n`);
  }

  async take() {
    const { server, disk, tally } = this.#parts;
    const t = Date.now();
    const { life, startedAt } = server;
    const { requests, commits, p50, p99 } = tally.take();
    const seconds = this.#last ? (t - this.#last.t) / 1000 : undefined;
    const { total, wal } = disk.sizes();
    const sample = {
      t,
      life,
      age: (t - startedAt) / 1000,
      rss: server.running ? server.rss() : undefined,
      fds: server.running ? server.descriptors() : undefined,
      wal,
      dir: total,
      requests: seconds ? requests / seconds : undefined,
      commits: seconds ? commits / seconds : undefined,
      p50,
      p99,
      own: process.memoryUsage.rss() / 2 ** 20,
    };
    if (server.running) {
      const client = new HttpClient(() => server);
      const answer = await client.send({ path: "/metrics", timeoutMs: 20_000 }).catch(() => undefined);
      client.reset();
      for (const [, name, value] of answer?.body
        .toString("utf8")
        .matchAll(/^(\w+)(?:\{[^}]*\})? ([\d.e+-]+)$/gm) ?? []) {
        const as = WANTED[name];
        if (as) sample[as] = Number(value);
      }
      for (const name of ["heap", "external"]) if (sample[name]) sample[name] /= 2 ** 20;
      if (sample.lag) sample.lag *= 1000;
      if (this.#last?.life === life && sample.cpuTotal !== undefined && this.#last.cpuTotal !== undefined)
        sample.cpu = (100 * (sample.cpuTotal - this.#last.cpuTotal)) / seconds;
    }
    // A pause or a death between the looks at one process would mix two lives.
    if (server.life !== life) return;
    this.#last = sample;
    appendFileSync(this.#file, `${JSON.stringify(sample)}\n`);
    this.#seen += 1;
    if (this.#seen % this.#keepEvery === 0) this.samples.push(sample);
    if (this.samples.length > 20_000) {
      this.samples = this.samples.filter((_, i) => i % 2 === 0);
      this.#keepEvery *= 2;
    }
  }

  /** Once nobody asks for anything. */
  quiet(base) {
    const { server } = this.#parts;
    const quiet = { t: Date.now(), life: server.life, fds: server.descriptors(), rss: server.rss(), base };
    this.quiets.push(quiet);
    appendFileSync(this.#file, `${JSON.stringify({ quiet })}\n`);
    return quiet;
  }
}
