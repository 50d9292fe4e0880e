import { isSkaldError } from "../errors.ts";
import { copyTables, differingTables, makeTables, openTables, writingError } from "../store/sqlite-tables.ts";
import type { Answer, OpenedTables, Request, Step, StepError, StepResults } from "./steps.ts";
import { TablesWriter } from "./writer.ts";

/** The files that a thread writes: one step after the other, whichever file it is of. */
export class TablesDesk {
  readonly #open = new Map<string, OpenFile>();

  answer({ id, file, step }: Request): Answer {
    try {
      return { id, result: this.#run(file, step) };
    } catch (error) {
      return { id, error: errorOf(writingError(error, file)) };
    }
  }

  #run(file: string, step: Step): StepResults[keyof StepResults] {
    if (step.kind === "open") return this.#opened(file, step);
    if (step.kind === "make") {
      this.#close(file);
      const made = makeTables(file, step.owner, step.life);
      this.#open.set(file, { writer: new TablesWriter(made), unfinished: step.owner });
      return undefined;
    }
    if (step.kind === "close") return this.#close(file);
    if (step.kind === "copy") {
      copyTables(file, step.to);
      return undefined;
    }
    const open = this.#open.get(file);
    if (!open) throw new Error(`${file} is not open`);
    const { writer } = open;
    switch (step.kind) {
      case "begin":
        writer.begin(step.wanted);
        return undefined;
      case "feed":
        writer.feed(step.part);
        return undefined;
      case "abort":
        writer.abort();
        // What it knows of the schema may be of what was undone.
        this.#open.set(file, { ...open, writer: new TablesWriter(writer.file) });
        return undefined;
      case "compare":
        return differingTables(file, step.other);
      case "tidy":
        return writer.file.tidy();
      case "end": {
        const applied = writer.end(step.head);
        if (!open.unfinished) return applied;
        writer.file.finish();
        this.#open.delete(file);
        this.#opened(file, { owner: open.unfinished });
        return applied;
      }
    }
  }

  #opened(file: string, { owner }: Pick<Extract<Step, { kind: "open" }>, "owner">): OpenedTables {
    this.#close(file);
    const tables = openTables(file, owner);
    const [head, { life = "" }] = [tables.head(), tables.meta()];
    if (!head) throw new Error(`${file} was opened without a head`);
    this.#open.set(file, { writer: new TablesWriter(tables) });
    return { head, life };
  }

  #close(file: string): undefined {
    const open = this.#open.get(file);
    this.#open.delete(file);
    open?.writer.abort();
    open?.writer.file.close();
  }

  close(): void {
    for (const file of this.#open.keys()) this.#close(file);
  }
}

interface OpenFile {
  readonly writer: TablesWriter;
  /** Set for one that is being made. */
  readonly unfinished?: Extract<Step, { kind: "make" }>["owner"];
}

function errorOf(error: unknown): StepError {
  const message = error instanceof Error ? error.message : String(error);
  if (isSkaldError(error)) {
    const { code, hint, details } = error;
    return { code, message, hint, details };
  }
  return { message: error instanceof Error ? (error.stack ?? message) : message };
}
