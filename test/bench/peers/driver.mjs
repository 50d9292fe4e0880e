/**
 * The inside of a client process: it does what the benchmark asks for by name and answers. Clients
 * run in processes of their own, so that a server's processor time is the server's alone.
 */
export function serve(commands) {
  process.on("message", async ({ id, name, args }) => {
    try {
      process.send({ id, value: await commands[name](args ?? {}) });
    } catch (error) {
      process.send({ id, error: error.stack ?? String(error) });
    }
  });
  process.on("disconnect", () => process.exit(0));
  process.send({ ready: true });
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Milliseconds that all processes of the machine count alike. */
export const clock = () => Number(process.hrtime.bigint()) / 1e6;

/** Calls `step(i)` `count` times, `everyMs` apart, whatever time a step takes; resolves after the last. */
export function paced(count, everyMs, firstAfter, step) {
  return new Promise((resolve, reject) => {
    const started = performance.now() + firstAfter;
    let done = 0;
    const next = () => {
      try {
        while (done < count && started + done * everyMs <= performance.now()) step(done++);
      } catch (error) {
        return reject(error);
      }
      if (done === count) return resolve();
      setTimeout(next, Math.max(1, started + done * everyMs - performance.now()));
    };
    next();
  });
}
