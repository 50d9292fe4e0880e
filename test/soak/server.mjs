import { spawn } from "node:child_process";
import { appendFileSync, readFileSync, readdirSync } from "node:fs";
import { availableParallelism, loadavg } from "node:os";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { wait } from "./random.mjs";

const SKALD = fileURLToPath(new URL("../../bin/skald", import.meta.url));
/** What a stop may take: specs/05-http.md. */
const STOP_MS = 10_000;
/** The more a machine has to do, the later everything is. */
const slackMs = () => 1500 + 2500 * Math.min(4, Math.max(0, loadavg()[0] / availableParallelism() - 1));
const START_MS = 60_000;

/**
 * The server in its lives. Each start is one; `life` counts them. Lines that it writes and nobody expects
 * go to `onLine`, its end without being asked for to `onEnd`.
 */
export class SkaldServer {
  life = 0;
  port;
  token;
  pid;
  startedAt = 0;
  #child;
  #ended;
  #leaving = false;
  #options;

  constructor(options) {
    this.#options = options;
  }

  get running() {
    return this.#child !== undefined && !this.#leaving;
  }

  async start() {
    const { dir, flags, env, logFile, onLine, onEnd } = this.#options;
    const child = spawn(
      process.execPath,
      [
        "--max-semi-space-size=32",
        SKALD,
        "serve",
        "--dir",
        dir,
        "--port",
        "0",
        "--log-level",
        "error",
        ...flags,
      ],
      { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } },
    );
    process.once("exit", () => child.kill("SIGKILL"));
    this.#leaving = false;
    const ended = new Promise((resolve) =>
      child.once("exit", (code, signal) => {
        resolve({ code, signal });
        if (this.#child === child) this.#child = undefined;
        if (!this.#leaving) onEnd({ code, signal });
      }),
    );
    this.#ended = ended;
    const started = performance.now();
    const url = await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`not started within ${START_MS / 1000} s`)), START_MS);
      let said = "";
      const hear = (line) => {
        appendFileSync(logFile, `${new Date().toISOString()} ${line}\n`);
        said = `${said}${line}\n`.slice(-4000);
        const token = /SKALD_TOKEN=(\S+)/.exec(line)?.[1];
        if (token) this.token = token;
        const at = /at (http:\/\/\S+)/.exec(line)?.[1];
        if (at) {
          clearTimeout(timer);
          resolve(at);
        } else if (!isBanner(line)) onLine(line);
      };
      createInterface({ input: child.stderr }).on("line", hear);
      createInterface({ input: child.stdout }).on("line", hear);
      void ended.then(({ code, signal }) => {
        clearTimeout(timer);
        reject(new Error(`ended with ${code ?? signal} while starting: ${said.slice(-1500)}`));
      });
      // Not an end nobody asked for: whoever starts it hears of it.
      this.#leaving = true;
    });
    this.#child = child;
    this.#leaving = false;
    this.pid = child.pid;
    this.port = Number(new URL(url).port);
    this.life += 1;
    this.startedAt = Date.now();
    return performance.now() - started;
  }

  /** SIGTERM. Gives how long it took and how it ended, and what is wrong with that. */
  async stop() {
    const child = this.#child;
    if (!child) return { ms: 0, wrong: undefined };
    this.#leaving = true;
    const from = performance.now();
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS * 3);
    const { code, signal } = await this.#ended;
    clearTimeout(timer);
    const ms = performance.now() - from;
    const wrong =
      code !== 0
        ? `ended with ${code ?? signal} after SIGTERM`
        : ms > STOP_MS + slackMs()
          ? `took ${(ms / 1000).toFixed(1)} s to end after SIGTERM`
          : undefined;
    return { ms, wrong };
  }

  async kill() {
    const child = this.#child;
    if (!child) return;
    this.#leaving = true;
    child.kill("SIGKILL");
    await this.#ended;
  }

  async pause(ms) {
    const child = this.#child;
    child?.kill("SIGSTOP");
    await wait(ms);
    child?.kill("SIGCONT");
  }

  /** Open descriptors; undefined where there is no /proc or no process. */
  descriptors() {
    try {
      return readdirSync(`/proc/${this.pid}/fd`).length;
    } catch {
      return undefined;
    }
  }

  /** Resident memory in MiB. */
  rss() {
    try {
      return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.pid}/status`, "latin1"))?.[1]) / 1024;
    } catch {
      return undefined;
    }
  }
}

function isBanner(line) {
  return (
    line.trim() === "" ||
    /^ {2}(Your admin token|export SKALD_TOKEN|Skald serves|reference |SIGTERM: finishing| {2}skald_)/.test(
      line,
    ) ||
    /^ {4}\S+$/.test(line)
  );
}
