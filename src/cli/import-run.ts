import { randomUUID } from "node:crypto";
import type * as z from "zod";
import type { Receipt, TxReceipt } from "../protocol/wire.ts";
import { docPath } from "./client-command.ts";
import { readText, type Connection } from "./connection.ts";
import { CliError, asCliError } from "./failure.ts";
import { inBatches } from "./import-batches.ts";
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
 * Sends what a source gives, several documents to a commit. When a commit is refused because of one of them, they are
 * sent one by one, so that each that can be written is. Stopping the source lets what is under way finish.
 */
export async function runImport(
  connection: Connection,
  db: string,
  source: ImportSource,
  hooks: ImportHooks,
): Promise<ImportRun> {
  const tally: Tally = { documents: 0, new: 0, changed: 0, unchanged: 0, failed: 0, seq: 0 };
  let ended: CliError | undefined;
  const fail = (label: string, doc: string | undefined, failure: CliError): void => {
    tally.documents += 1;
    tally.failed += 1;
    hooks.onFailure(label, doc, failure);
  };
  const end = (failure: CliError): void => {
    ended ??= failure;
    source.stop();
  };
  const sendOne = async (item: Sent): Promise<void> => {
    try {
      count(tally, await sendItem(connection, db, item));
    } catch (error) {
      const failure = asCliError(error);
      if (isOfOneRecord(failure)) fail(item.label, item.doc, failure);
      else end(failure);
    }
  };
  const send = async (items: readonly Sent[]): Promise<void> => {
    const documents = items.filter((item) => "json" in item);
    const refused =
      documents.length > 1
        ? await sendTogether(connection, db, documents).then(
            (written) => {
              for (const one of written) count(tally, one);
              return [];
            },
            (error: unknown) => {
              const failure = asCliError(error);
              if (isOfOneRecord(failure)) return documents;
              end(failure);
              return [];
            },
          )
        : documents;
    const rest = items.filter((item) => !("json" in item) || refused.includes(item));
    for (const item of rest) {
      if (ended) return;
      await sendOne(item);
      hooks.onProgress(tally);
    }
    hooks.onProgress(tally);
  };
  try {
    await inBatches(source, {
      send,
      failed: ({ label, failure }) => fail(label, undefined, failure),
      over: () => ended !== undefined,
    });
  } catch (error) {
    ended ??= asCliError(error);
  }
  return { tally, ended };
}

type Sent = Exclude<ImportItem, { readonly failure: unknown }>;
type SentJson = Extract<Sent, { readonly json: string }>;
interface Written {
  readonly outcome: "new" | "changed" | "unchanged";
  readonly seq: number;
}

function count(tally: Tally, { outcome, seq }: Written): void {
  tally.documents += 1;
  tally[outcome] += 1;
  tally.seq = Math.max(tally.seq, seq);
}

function isOfOneRecord({ code }: CliError): boolean {
  return OF_ONE_RECORD.has(code) || code.startsWith("CHANGE_");
}

/** All of them in one commit, or none. */
async function sendTogether(
  connection: Connection,
  db: string,
  items: readonly SentJson[],
): Promise<Written[]> {
  const writes = items.map(({ doc, json }) => `{"doc":${JSON.stringify(doc)},"value":${json}}`);
  const reply = await patiently(() =>
    connection.send({
      method: "POST",
      path: `/api/v1/db/${encodeURIComponent(db)}/branches/main/tx?outcomes=true`,
      headers: { "content-type": "application/json" },
      body: `{"client_tx_id":"import-${randomUUID()}","writes":[${writes.join()}]}`,
      repeatable: true,
    }),
  );
  const { outcomes, seq } = JSON.parse(await readText(reply)) as z.infer<typeof TxReceipt>;
  return items.map(({ doc }) => {
    const outcome = outcomes?.[doc] ?? "unchanged";
    return { outcome: outcome === "created" ? "new" : outcome === "changed" ? "changed" : "unchanged", seq };
  });
}

async function sendItem(connection: Connection, db: string, item: Sent): Promise<Written> {
  const path = docPath(db, item.doc);
  const reply = await patiently(() =>
    connection.send(
      "json" in item
        ? { method: "PUT", path, headers: { "content-type": "application/json" }, body: item.json }
        : {
            method: "POST",
            path: `${path}/import`,
            headers: { "content-type": "application/automerge" },
            body: item.automerge,
          },
    ),
  );
  const { duplicate, seq } = JSON.parse(await readText(reply)) as z.infer<typeof Receipt>;
  return { outcome: duplicate ? "unchanged" : reply.statusCode === 201 ? "new" : "changed", seq };
}

/** Asks again for a while when the server has too much to do. */
async function patiently<T>(ask: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof CliError) || !BUSY.has(error.code) || tries === BUSY_TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100 * 2 ** tries));
    }
  }
}
