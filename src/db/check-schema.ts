import { LIMITS } from "../limits.ts";
import { pastOf, type Branches } from "../log/branches.ts";
import { QUERY_SAVE } from "../log/schema-events.ts";
import type { SchemaStatement, SchemaStep } from "../log/schema-steps.ts";
import type { Checking } from "./checking.ts";

/**
 * Compares the schema of every branch, where it is and where others were made from it, and the stored statements with
 * what the log's commits say. The log folds steps forwards as they come; here each point looks backwards.
 */
export function compareSchema({ db, walk, catchUp }: Checking, report: (where: string) => void): void {
  catchUp();
  const { branches, schema, seq } = walk;
  const all = [0, ...branches.ids()].map((id) => branches.get(id) ?? branches.main);
  const backwards = new Backwards(schema, branches);
  for (const { id, name, deleted } of all) {
    if (deleted > 0) continue;
    const points = new Set([
      seq,
      ...all.filter((one) => one.id !== 0 && one.parent === id).map(({ fork }) => fork),
    ]);
    for (const at of points) {
      const wanted = backwards.at(id, at);
      if (textOf(wanted.map(({ statement }) => statement)) !== textOf(db.log.schemaAt(name, at)))
        report(`the schema of ${name} at commit ${at}`);
      if (db.log.schemaSeq(name, at) !== (wanted.at(-1)?.at ?? 0))
        report(`the commit that last changed the schema of ${name} before commit ${at}`);
    }
  }
  const saved = [...walk.statements.values()].flatMap(({ event, seq: at }) =>
    event.type === QUERY_SAVE
      ? [{ name: event.name, sql: event.sql, description: event.description, at }]
      : [],
  );
  const given = db.log
    .statements()
    .map(({ name, sql, description, seq: at }) => ({ name, sql, description, at }));
  saved.sort((a, b) => (a.name < b.name ? -1 : 1));
  if (JSON.stringify(saved) !== JSON.stringify(given)) report("the stored statements");
}

interface Found {
  readonly at: number;
  readonly id: string;
  readonly statement: SchemaStatement;
}

/** The schema at points, each worked out backwards, once. */
class Backwards {
  readonly #branches: Branches;
  readonly #steps = new Map<number, SchemaStep[]>();
  readonly #found = new Map<string, readonly Found[]>();

  constructor(steps: readonly SchemaStep[], branches: Branches) {
    this.#branches = branches;
    // Without a statement there is nothing for merges to bring.
    if (steps.every((step) => "from" in step)) return;
    for (const step of steps) {
      // What it brings is known before: so nothing here calls itself deeper than once.
      if ("from" in step) this.at(step.from, step.upTo);
      const own = this.#steps.get(step.branch);
      if (own) own.push(step);
      else this.#steps.set(step.branch, [step]);
    }
  }

  at(id: number, upTo: number): readonly Found[] {
    const key = `${id} ${upTo}`;
    const known = this.#found.get(key);
    if (known) return known;
    const found = new Map<string, Found>();
    for (const stretch of [...pastOf(this.#branches, id, upTo)].reverse()) {
      for (const step of this.#steps.get(stretch.id) ?? []) {
        const { seq } = step;
        if (seq > stretch.upTo) continue;
        const brought: readonly Found[] =
          "from" in step
            ? this.at(step.from, step.upTo)
            : [{ at: seq, id: step.id, statement: step.statement }];
        for (const { id: name, statement } of brought)
          if (!found.has(name)) found.set(name, { at: seq, id: name, statement });
      }
    }
    const all = [...found.values()].slice(0, LIMITS.schema.statements.value);
    this.#found.set(key, all);
    return all;
  }
}

function textOf(statements: readonly SchemaStatement[]): string {
  return JSON.stringify(statements.map(({ seq, index, sql }) => [seq, index, sql]));
}
