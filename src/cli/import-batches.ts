import type { ImportItem, ImportSource } from "./import-source.ts";

type Record = Exclude<ImportItem, { readonly failure: unknown }>;

/** Documents and characters of JSON that go into one commit. */
const DOCUMENTS = 200;
const CHARACTERS = 512 * 1024;
/** Batches on their way at once: one is written while the next is sent, and a server's threads have work. */
const AT_ONCE = 4;

export interface BatchHooks {
  /** Sends records of different documents; never rejects. */
  readonly send: (records: readonly Record[]) => Promise<void>;
  readonly failed: (item: Extract<ImportItem, { readonly failure: unknown }>) => void;
  /** Whether nothing more is to be sent. */
  readonly over: () => boolean;
}

/**
 * Gives what a source has to `send` in batches: full ones while it gives faster than they are taken, and whatever
 * there is when nothing is under way, so that a source which gives a record now and then does not wait for others.
 * Records of one document are sent in their order, in batches of their own. Rejects as the source does, after what was
 * under way.
 */
export async function inBatches(source: ImportSource, hooks: BatchHooks): Promise<void> {
  const running = new Set<Promise<void>>();
  const turns = new Map<string, Promise<void>>();
  let next: Record[] = [];
  let docs = new Set<string>();
  let characters = 0;

  const flush = (): void => {
    if (next.length === 0) return;
    const records = next;
    [next, docs, characters] = [[], new Set(), 0];
    const before = [...new Set(records.flatMap(({ doc }) => turns.get(doc) ?? []))];
    const work = Promise.all(before).then(() => hooks.send(records));
    const turn = work.finally(() => {
      running.delete(turn);
      for (const { doc } of records) if (turns.get(doc) === turn) turns.delete(doc);
      if (running.size === 0) flush();
    });
    running.add(turn);
    for (const { doc } of records) turns.set(doc, turn);
  };

  try {
    for await (const item of source.items) {
      if (hooks.over()) break;
      if ("failure" in item) {
        hooks.failed(item);
        continue;
      }
      const length = "json" in item ? item.json.length : CHARACTERS;
      if (docs.has(item.doc) || characters + length > CHARACTERS) flush();
      next.push(item);
      docs.add(item.doc);
      characters += length;
      if (running.size === 0 || next.length === DOCUMENTS) flush();
      while (running.size >= AT_ONCE) await Promise.race(running);
    }
  } finally {
    if (!hooks.over()) flush();
    while (running.size > 0) await Promise.all(running);
  }
}
