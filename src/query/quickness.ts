import type { Frame } from "./job.ts";

/** Which statements were quick, the last time that they ran. */
export class Quickness {
  readonly #quick = new Map<string, boolean>();

  of(sql: string): boolean {
    return this.#quick.get(sql) === true;
  }

  /** By the processor's time: how long an answer took to come is the machine's business, too. */
  learn(sql: string, { micros, kind }: Frame): void {
    const quick = micros < QUICK_MICROS && kind === "done";
    if (this.#quick.get(sql) === quick) return;
    this.#quick.delete(sql);
    this.#quick.set(sql, quick);
    if (this.#quick.size <= KNOWN) return;
    const [oldest] = this.#quick.keys();
    this.#quick.delete(oldest as string);
  }
}

/** Below this a statement is quick. */
const QUICK_MICROS = 3000;
/** Statements that are remembered. */
const KNOWN = 2000;
