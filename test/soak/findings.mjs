import { appendFileSync } from "node:fs";
import path from "node:path";

const EXAMPLES = 5;

/** Checks made and what was found wrong, each kind of finding with its first examples. */
export class Findings {
  checks = 0;
  failed = 0;
  /** what → {count, first, last, examples}. */
  all = new Map();
  #file;
  #tell;

  constructor(out, tell) {
    this.#file = path.join(out, "findings.ndjson");
    this.#tell = tell;
  }

  /** A check that found what is in `wrong`. */
  judge(what, wrong) {
    this.checks += 1;
    if (wrong.length === 0) return;
    for (const each of wrong) this.found(`${what}: ${each}`, {}, false);
    this.failed += 1;
  }

  /** Something that must not be. */
  found(what, details = {}, counts = true) {
    if (counts) {
      this.checks += 1;
      this.failed += 1;
    }
    // Findings that differ in names and numbers only are one.
    const kind = what.replaceAll(/[0-9a-f]{16,}|\d+/g, "#").slice(0, 160);
    const t = new Date().toISOString();
    const known = this.all.get(kind);
    if (!known) this.#tell(`FOUND ${what} ${JSON.stringify(details)}`.slice(0, 800));
    const entry = known ?? { what, count: 0, first: t, examples: [] };
    entry.count += 1;
    entry.last = t;
    if (entry.examples.length < EXAMPLES) {
      entry.examples.push({ t, what, details });
      appendFileSync(this.#file, `${JSON.stringify({ t, what, details })}\n`);
    }
    if (!known && this.all.size < 500) this.all.set(kind, entry);
  }
}
