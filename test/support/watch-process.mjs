// Loaded first into a process of the tests (`--import`): says on stderr, as lines that `watchedIn` of
// harness-checks.ts reads, what a process must not leave behind. SKALD_WATCH_DIR names its data directory.
import { readdirSync, readlinkSync, writeSync } from "node:fs";
import { isMainThread } from "node:worker_threads";

const say = (what, where) => writeSync(2, `watched: ${JSON.stringify({ what, where })}\n`);

process.on("unhandledRejection", (reason) => say("rejection", String(reason?.stack ?? reason)));

/** What is open or waited for, once the work is through and everything was closed. */
process.on("exit", () => {
  if (!isMainThread) return;
  const dir = process.env.SKALD_WATCH_DIR;
  if (dir !== undefined) {
    for (const fd of readdirSync("/proc/self/fd")) {
      let target = "";
      try {
        target = readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        // The listing's own descriptor.
      }
      if (target.startsWith(dir)) say("descriptor", target);
    }
  }
  // What a process that is told to end still waits for. Its standard streams do not count.
  const own = new Set(["PipeWrap", "TTYWrap", "FSReqCallback", "Immediate", "TickObject", "SignalWrap"]);
  for (const kind of process.getActiveResourcesInfo()) if (!own.has(kind)) say("handle", kind);
});
