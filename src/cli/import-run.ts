import type * as z from "zod";
import type { Receipt } from "../protocol/wire.ts";
import { docPath } from "./client-command.ts";
import { CONNECTIONS, readText, type Connection } from "./connection.ts";
import { CliError, asCliError } from "./failure.ts";
import type { ImportItem, ImportSource } from "./import-source.ts";

/** What became of an import's documents. Counts are of what the server acknowledged as durable. */
export interface Tally {
  documents: number;
  new: number;
  changed: number;
  unchanged: number;
  failed: number;
  /** The newest commit among the receipts. */
  seq: number;
}

export interface ImportRun {
  readonly tally: Tally;
  /** What ended it early; undefined when everything was read. */
  readonly ended: CliError | undefined;
}

export interface ImportHooks {
  readonly onProgress: (tally: Tally) => void;
  readonly onFailure: (label: string, doc: string | undefined, failure: CliError) => void;
}

/** Codes that say one record is wrong; with any other the rest would fail too. */
const OF_ONE_RECORD: ReadonlySet<string> = new Set([
  "BAD_JSON",
  "NAME_INVALID",
  "VALUE_INVALID",
  "TOO_LARGE",
  "DOC_TOO_LARGE",
  "DOC_UNREADABLE",
  "IMPORT_INVALID",
  "WORK_TIMEOUT",
  "WORK_FAILED",
]);
const BUSY: ReadonlySet<string> = new Set(["WORK_BUSY", "RATE_LIMITED"]);
const BUSY_TRIES = 8;

/**
 * Sends what a source gives, several at once; each document is one atomic write. Stopping the source
 * lets what is under way finish.
 */
export async function runImport(
  connection: Connection,
  db: string,
  source: ImportSource,
  hooks: ImportHooks,
): Promise<ImportRun> {
  const tally: Tally = { documents: 0, new: 0, changed: 0, unchanged: 0, failed: 0, seq: 0 };
  let ended: CliError | undefined;
  const running = new Set<Promise<void>>();
  /** Two records of one document are written in the order of the file. */
  const turns = new Map<string, Promise<void>>();
  const fail = (label: string, doc: string | undefined, failure: CliError): void => {
    tally.documents += 1;
    tally.failed += 1;
    hooks.onFailure(label, doc, failure);
  };
  const write = async (item: Exclude<ImportItem, { failure: unknown }>): Promise<void> => {
    try {
      const { outcome, seq } = await sendItem(connection, db, item);
      tally.documents += 1;
      tally[outcome] += 1;
      tally.seq = Math.max(tally.seq, seq);
    } catch (error) {
      const failure = asCliError(error);
      if (OF_ONE_RECORD.has(failure.code) || failure.code.startsWith("CHANGE_"))
        fail(item.label, item.doc, failure);
      else {
        ended ??= failure;
        source.stop();
      }
    }
    hooks.onProgress(tally);
  };
  try {
    for await (const item of source.items) {
      if (ended) break;
      if ("failure" in item) {
        fail(item.label, undefined, item.failure);
        continue;
      }
      while (running.size >= CONNECTIONS) await Promise.race(running);
      const { doc } = item;
      const work = (turns.get(doc) ?? Promise.resolve()).then(() => write(item));
      const turn = work.finally(() => {
        running.delete(turn);
        if (turns.get(doc) === turn) turns.delete(doc);
      });
      running.add(turn);
      turns.set(doc, turn);
    }
  } catch (error) {
    ended ??= asCliError(error);
  }
  await Promise.all(running);
  return { tally, ended };
}

async function sendItem(
  connection: Connection,
  db: string,
  item: Exclude<ImportItem, { failure: unknown }>,
): Promise<{ outcome: "new" | "changed" | "unchanged"; seq: number }> {
  const path = docPath(db, item.doc);
  for (let tries = 1; ; tries += 1) {
    try {
      const reply = await connection.send(
        "json" in item
          ? { method: "PUT", path, headers: { "content-type": "application/json" }, body: item.json }
          : {
              method: "POST",
              path: `${path}/import`,
              headers: { "content-type": "application/automerge" },
              body: item.automerge,
            },
      );
      const { duplicate, seq } = JSON.parse(await readText(reply)) as z.infer<typeof Receipt>;
      return { outcome: duplicate ? "unchanged" : reply.statusCode === 201 ? "new" : "changed", seq };
    } catch (error) {
      if (!(error instanceof CliError) || !BUSY.has(error.code) || tries === BUSY_TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100 * 2 ** tries));
    }
  }
}
