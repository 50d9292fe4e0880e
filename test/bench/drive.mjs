import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";

const running = new Set();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** Starts a client process (see `peers/driver.mjs`); `call(name, args)` has it do something. */
export async function startClients(file, { execArgv = [] } = {}) {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), {
    execArgv,
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    serialization: "advanced",
  });
  running.add(child);
  const waiting = new Map();
  let next = 1;
  let ready;
  const started = new Promise((resolve, reject) => {
    ready = resolve;
    child.once("error", reject);
    child.once("exit", (code, signal) => reject(new Error(`${file} ended with ${code ?? signal}`)));
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.on("message", ({ id, value, error, ready: isReady }) => {
    if (isReady) return ready();
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(value);
    else reject(new Error(error));
  });
  child.once("exit", (code, signal) => {
    running.delete(child);
    for (const { reject } of waiting.values())
      reject(new Error(`${file} ended with ${code ?? signal} while it was asked`));
    waiting.clear();
  });
  await started;
  return {
    pid: child.pid,
    call: (name, args) =>
      new Promise((resolve, reject) => {
        const id = next++;
        waiting.set(id, { resolve, reject });
        child.send({ id, name, args });
      }),
    stop: async () => {
      if (child.connected) child.disconnect();
      const timer = setTimeout(() => child.kill("SIGKILL"), 5000);
      await ended;
      clearTimeout(timer);
    },
  };
}
