import { parentPort } from "node:worker_threads";
import { TablesDesk } from "./desk.ts";
import type { Request } from "./steps.ts";

// Entry of the thread that writes files of tables.

const port = parentPort;
if (port === null) throw new Error("This file runs as a worker thread only.");
const desk = new TablesDesk();
port.on("message", (request: Request) => port.postMessage(desk.answer(request)));
