import { getHeapStatistics } from "node:v8";
import { parentPort, workerData } from "node:worker_threads";
import { realWorld } from "../world.ts";
import type { Batch, Reply, ThreadOptions } from "./messages.ts";
import { DocumentThread } from "./thread.ts";

// Entry of a document thread.

// Automerge materialises maps by plain assignment, where this accessor would swallow the key `__proto__`.
Reflect.deleteProperty(Object.prototype, "__proto__");

const port = parentPort;
if (port === null) throw new Error("This file runs as a worker thread only.");
const thread = new DocumentThread(workerData as ThreadOptions, {
  world: realWorld,
  memory: () => getHeapStatistics().external_memory,
  send: (reply, buffers) => port.postMessage(reply, buffers),
});

port.on("message", (batch: Batch) => {
  const steps = thread.work(batch);
  while (steps.next().done !== true);
});
port.postMessage({ type: "ready" } satisfies Reply);
