import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Servers in processes of their own, with what they cost. Only those started here are ended. */
const SKALD = fileURLToPath(new URL("../../bin/skald", import.meta.url));
const running = new Set();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** Starts a program and waits until one of its streams holds what `ready` looks for. */
export async function startProgram(args, { ready, env, cwd } = {}) {
  const child = spawn(process.execPath, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
    ...(cwd ? { cwd } : {}),
  });
  running.add(child);
  const ended = new Promise((resolve) => {
    child.once("exit", (code, signal) => {
      running.delete(child);
      resolve({ code, signal });
    });
  });
  let said = "";
  const match = await new Promise((resolve, reject) => {
    const hear = (piece) => {
      if (said.length < 1e6) said += piece;
      const found = ready.exec(said);
      if (found) resolve(found);
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    void ended.then(({ code, signal }) =>
      reject(new Error(`ended with ${code ?? signal}: ${said.slice(-2000)}`)),
    );
  });
  return {
    pid: child.pid,
    match,
    said: () => said,
    cpuMs: () => cpuMs(child.pid),
    memory: () => memory(child.pid),
    /** Asks it to end, and ends it when it has not done so in `ms`. */
    stop: async (ms = 20_000) => {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), ms);
      await ended;
      clearTimeout(timer);
    },
  };
}

/** `token` is the one of an earlier start: only the first start of a directory tells one. */
export async function startSkald({ dir, token, flags = [], nodeFlags = [], profile, env = {} }) {
  const program = await startProgram(
    [
      ...nodeFlags,
      ...(profile ? ["--cpu-prof", `--cpu-prof-dir=${profile}`] : []),
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
    { ready: /(?:SKALD_TOKEN=(\S+)\s[^]*)?at (http:\/\/\S+)/, env },
  );
  const url = program.match[2];
  const bearer = program.match[1] ?? token;
  const port = Number(new URL(url).port);
  const authorization = { authorization: `Bearer ${bearer}` };
  return {
    ...program,
    url,
    port,
    token: bearer,
    fetch: async (path, { headers, ...init } = {}) => {
      const answer = await fetch(`${url}/api/v1${path}`, {
        ...init,
        headers: { ...authorization, ...headers },
      });
      if (!answer.ok)
        throw new Error(`${init.method ?? "GET"} ${path}: ${answer.status} ${await answer.text()}`);
      return answer;
    },
  };
}

/** Processor time of a process so far, in ms; undefined where there is no /proc. */
function cpuMs(pid) {
  const file = `/proc/${pid}/stat`;
  if (!existsSync(file)) return undefined;
  const text = readFileSync(file, "latin1");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** Resident memory in MiB: now and at most. */
function memory(pid) {
  const file = `/proc/${pid}/status`;
  if (!existsSync(file)) return undefined;
  const text = readFileSync(file, "latin1");
  const of = (name) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(text)?.[1] ?? 0) / 1024;
  return { now: of("VmRSS"), most: of("VmHWM") };
}

/** Resolves when a server has used next to no processor time for a while: its background work is done. */
export async function quiet(program, most = 60_000) {
  const until = Date.now() + most;
  let before = program.cpuMs();
  let calm = 0;
  while (before !== undefined && calm < 2 && Date.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    const now = program.cpuMs();
    calm = now - before <= 10 ? calm + 1 : 0;
    before = now;
  }
}
