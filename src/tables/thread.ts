import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { ERROR_CODES, SkaldError, type ErrorCode } from "../errors.ts";
import type { Answer, Request, Step, StepError, StepResults } from "./steps.ts";

/** Threads run compiled code, also when this module itself was loaded from `src` by the tests. */
const WORKER_FILE = fileURLToPath(new URL("../../dist/tables/worker.js", import.meta.url));

/** What writes files of tables: steps of one file are done in the order in which they were asked for. */
export interface StepRunner {
  run<S extends Step>(file: string, step: S): Promise<StepResults[S["kind"]]>;
  close(): Promise<void>;
}

interface Waiting {
  readonly resolve: (result: StepResults[keyof StepResults]) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The thread that writes files of tables: what SQLite does there takes seconds for large ones, and nobody else is to
 * wait for it. Starts on first use and keeps the process alive only while it works. When it ends by itself, every file
 * has to be opened anew.
 */
export class TablesThread implements StepRunner {
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | undefined;
  #last = 0;
  #closed = false;

  run<S extends Step>(file: string, step: S): Promise<StepResults[S["kind"]]> {
    if (this.#closed) return Promise.reject(new SkaldError("UNAVAILABLE", "The server is closing."));
    return new Promise<StepResults[keyof StepResults]>((resolve, reject) => {
      const worker = (this.#worker ??= this.#start());
      const id = (this.#last += 1);
      this.#waiting.set(id, { resolve, reject });
      worker.ref();
      worker.postMessage({ id, file, step } satisfies Request);
    }) as Promise<StepResults[S["kind"]]>;
  }

  async close(): Promise<void> {
    this.#closed = true;
    const worker = this.#worker;
    this.#end(new SkaldError("UNAVAILABLE", "The server is closing."));
    await worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(WORKER_FILE, { name: "skald-tables" });
    worker.on("message", (answer: Answer) => {
      const waiting = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      if (this.#waiting.size === 0) worker.unref();
      if ("error" in answer) waiting?.reject(skaldErrorOf(answer.error));
      else waiting?.resolve(answer.result);
    });
    let cause: unknown;
    worker.on("error", (error) => (cause = error));
    worker.on("exit", () => {
      if (this.#worker === worker)
        this.#end(new SkaldError("UNAVAILABLE", "The thread of the tables ended.", { cause }));
    });
    return worker;
  }

  #end(error: SkaldError): void {
    this.#worker = undefined;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(error);
  }
}

function skaldErrorOf({ code, message, hint, details = {} }: StepError): Error {
  if (code === undefined || !(code in ERROR_CODES)) return new Error(message);
  return new SkaldError(code as ErrorCode, message, { details, ...(hint === undefined ? {} : { hint }) });
}
