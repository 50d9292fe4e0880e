import { createReadStream } from "node:fs";
import type { Command } from "commander";
import type * as z from "zod";
import type { HeldReceiptLine, VerifyLine } from "../protocol/wire.ts";
import { LIMITS } from "../limits.ts";
import type { Checkpoint } from "../ids/checkpoint.ts";
import { cidToString } from "../ids/cid.ts";
import { checkSigner, compareCheckpoint, readCheckpoint, type AgainstFlags } from "./against.ts";
import { clientCommand, dbPath, query, type ClientFlags } from "./client-command.ts";
import { withConnection, type Connection, type Send } from "./connection.ts";
import { listDbs } from "./db-commands.ts";
import { CliError, EXIT, asCliError, failureText, printable, usageError } from "./failure.ts";
import { jsonLines } from "./json-lines.ts";
import { splitLines } from "./line-splitter.ts";
import { print, printJson } from "./output.ts";
import { startProgress } from "./progress.ts";

type Line = z.infer<typeof VerifyLine>;

interface VerifyFlags extends ClientFlags, AgainstFlags {
  readonly all?: true;
  readonly logOnly?: true;
  readonly receipts?: string;
}

/** Receipts sent at once: some 10 MB. */
const BATCH = 100_000;

export function addVerify(program: Command): void {
  clientCommand(
    program
      .command("verify [db]")
      .description(
        "check every byte of a db's log and everything derived of it; ends with 1 when something is wrong",
      )
      .option("--all", "check every db")
      .option("--log-only", "check the log and nothing that is derived of it")
      .option("--receipts <file>", "also prove that these acknowledged writes are still there; - for stdin")
      .option(
        "--against <checkpoint>",
        "also prove that the db goes on from this: a file, - for stdin, or a URL",
      )
      .option("--against-token <token>", "token for that URL")
      .option("--signer <did>", "insist that this key signed the checkpoint, or one that follows it"),
    [
      "skald verify shop",
      "skald verify --all",
      "skald verify shop --against shop.checkpoint --signer did:key:z6Mk…",
      'skald verify shop --receipts receipts.ndjson   # lines of {"seq":…,"commit":"…"}',
    ],
  ).action((db: string | undefined, flags: VerifyFlags) => {
    if ((db === undefined) !== (flags.all === true)) throw usageError("Name one db, or give --all.");
    if (flags.receipts !== undefined && db === undefined)
      throw usageError("--receipts goes with one db: its lines are that db's.");
    if (flags.against !== undefined && db === undefined)
      throw usageError("--against goes with one db: a checkpoint is of one.");
    if (flags.against === undefined && (flags.signer !== undefined || flags.againstToken !== undefined))
      throw usageError("--signer and --against-token go with --against.");
    if (flags.against === "-" && flags.receipts === "-") throw usageError("stdin can only be read once.");
    return withConnection(flags, async (connection) => {
      const names = db === undefined ? await allDbs(connection) : [db];
      for (const name of names) {
        if (!(await verifyOne(connection, name, flags, names.length > 1))) process.exitCode = EXIT.refused;
      }
    });
  });
}

async function allDbs(connection: Connection): Promise<string[]> {
  const names: string[] = [];
  for await (const { db } of listDbs(connection, true)) names.push(db);
  return names;
}

/** Whether the db is sound. One that cannot be checked at all counts as damaged when others follow. */
async function verifyOne(
  connection: Connection,
  db: string,
  flags: VerifyFlags,
  goOn: boolean,
): Promise<boolean> {
  let verdict: Line | undefined;
  let checkpoint: Checkpoint | undefined;
  try {
    if (flags.against !== undefined) {
      checkpoint = await readCheckpoint(flags);
      await compareCheckpoint(connection, db, checkpoint);
    }
    for await (const request of requestsFor(db, flags)) {
      const next = await verdictOf(connection, request);
      verdict = verdict ? joined(verdict, next) : next;
    }
    if (!verdict) throw new CliError("FAILED", `The check of ${db} ended without a verdict.`);
    if (checkpoint && flags.signer !== undefined) checkSigner(checkpoint, flags.signer, verdict);
  } catch (error) {
    if (!goOn) throw error;
    const failure = asCliError(error);
    if (flags.json)
      await printJson({ db, verdict: "unreadable", code: failure.code, detail: failure.message });
    else await print(`${db}: unreadable: ${failureText(failure, false)}\n`);
    return false;
  }
  if (flags.json)
    await printJson({ db, ...verdict, ...(checkpoint ? { against: plainOf(checkpoint) } : {}) });
  else await print(textOf(db, verdict, flags, checkpoint));
  return verdict.verdict === "sound";
}

function plainOf({ seq, commit, signed }: Checkpoint): Record<string, unknown> {
  return { seq, commit: commit ? cidToString(commit) : null, signer: signed?.signer ?? null };
}

function textOf(db: string, verdict: Line, flags: VerifyFlags, checkpoint?: Checkpoint): string {
  const { checked, commit, receipts, signatures, problems = [] } = verdict;
  const compared = flags.receipts === undefined ? "" : `, ${receipts ?? 0} receipts compared`;
  const lines = [`${db}: ${verdict.verdict}, ${checked} commits, head ${commit ?? "none"}${compared}`];
  if (signatures)
    lines.push(`  ${signatures.commits} signed, by ${signatures.signers.map(printable).join(", ")}`);
  if (checkpoint && verdict.verdict === "sound") {
    const at = checkpoint.commit ? cidToString(checkpoint.commit) : "none";
    const by = checkpoint.signed ? `signed by ${checkpoint.signed.signer}` : "not signed";
    lines.push(`  goes on from commit ${checkpoint.seq} (${at}), ${by}`);
  }
  for (const { what, where } of problems) lines.push(`  ${what}: ${printable(where)}`);
  if (problems.length > 0 && problems.every(({ heals }) => heals === "rebuild"))
    lines.push(`  Only derived data is wrong: \`skald rebuild ${db}\` makes it anew from the log.`);
  return `${lines.join("\n")}\n`;
}

/** What is asked for: one request, or one for each batch of receipts; the first one checks everything. */
async function* requestsFor(db: string, flags: VerifyFlags): AsyncGenerator<Send> {
  const path = (only?: "log"): string => `${dbPath(db)}/verify${query({ only })}`;
  const only = flags.logOnly ? "log" : undefined;
  if (flags.receipts === undefined) {
    yield { method: "GET", path: path(only) };
    return;
  }
  let first = true;
  for await (const body of receiptBatches(flags.receipts, db)) {
    const headers = { "content-type": "application/x-ndjson" };
    yield { method: "POST", path: path(first ? only : "log"), headers, body };
    first = false;
  }
}

/** The receipts of a file for this db, as the route takes them; one batch at least. Throws BAD_RECEIPT. */
async function* receiptBatches(file: string, db: string): AsyncGenerator<string> {
  let batch: string[] = [];
  let sent = false;
  let line = 0;
  const bytes = file === "-" ? process.stdin : createReadStream(file);
  for await (const text of splitLines(bytes, LIMITS.cli.recordBytes.value)) {
    line += 1;
    const receipt = parsed(text.toString("utf8"));
    if (!isReceipt(receipt)) {
      throw new CliError("BAD_RECEIPT", `Receipt ${line} of ${file} is none.`, {
        hint: 'Each line is a receipt as a write was answered, or {"seq":…,"commit":"…"} of it.',
      });
    }
    if (receipt.db !== undefined && receipt.db !== db) continue;
    batch.push(JSON.stringify({ seq: receipt.seq, commit: receipt.commit }));
    if (batch.length < BATCH) continue;
    yield batch.join("\n");
    sent = true;
    batch = [];
  }
  if (batch.length > 0 || !sent) yield batch.join("\n");
}

/** By hand: loading the schemas takes longer than most commands. The server checks the rest. */
function isReceipt(value: unknown): value is z.infer<typeof HeldReceiptLine> {
  const { seq, commit } = (value ?? {}) as { seq?: unknown; commit?: unknown };
  return Number.isSafeInteger(seq) && typeof commit === "string";
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const STAGES: Readonly<Record<NonNullable<Line["stage"]>, string>> = {
  log: "commits",
  feed: "commits read again",
  catalog: "documents in the catalog",
  documents: "documents replayed",
  routes: "documents read in three ways",
};

async function verdictOf(connection: Connection, request: Send): Promise<Line> {
  let stage: Line["stage"];
  let progress = startProgress(STAGES.log, false);
  try {
    for await (const line of jsonLines<Line>(connection, request)) {
      if (line.verdict !== undefined) return line;
      if (line.stage !== undefined && line.stage !== stage) {
        progress.end();
        stage = line.stage;
        progress = startProgress(STAGES[stage], false);
      }
      progress.update(line.checked, line.of === 0 ? undefined : line.checked / line.of);
    }
  } finally {
    progress.end();
  }
  throw new CliError("FAILED", "The check ended without a verdict.", { hint: "The server's log says why." });
}

/** What two batches of receipts came to. */
function joined(first: Line, next: Line): Line {
  const problems = new Map<string, NonNullable<Line["problems"]>[number]>();
  for (const problem of [...(first.problems ?? []), ...(next.problems ?? [])])
    problems.set(`${problem.what} ${problem.where}`, problem);
  return {
    ...first,
    verdict: problems.size === 0 ? "sound" : "damaged",
    receipts: (first.receipts ?? 0) + (next.receipts ?? 0),
    problems: [...problems.values()],
  };
}
