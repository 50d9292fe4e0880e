import { Option, type Command } from "commander";
import { clientCommand, dbPath, query, type ClientFlags } from "./client-command.ts";
import { withConnection, type Connection } from "./connection.ts";
import { CliError, asCliError } from "./failure.ts";
import { splitLines } from "./line-splitter.ts";
import { note, print } from "./output.ts";

type ChangesFlags = ClientFlags & {
  readonly since?: string;
  readonly at?: string;
  readonly follow?: true;
  readonly include: string;
  readonly collection?: string;
  readonly prefix?: string;
  readonly limit?: string;
  readonly branch?: string;
};

/** The record at the end of a feed: where it stands, and why it ended. */
interface End {
  readonly code?: string;
  readonly seq: number;
  readonly cursor: string;
}

/** An event may have the values of many documents. */
const LINE_BYTES = 256 * 1024 * 1024;
const AGAIN_MS = 1000;

export function addChanges(program: Command): void {
  clientCommand(
    program
      .command("changes <db>")
      .description("print the commits of a db in order, one JSON object a line")
      .option("--since <where>", "after a cursor, seq, commit, time or `now` (default: all)")
      .option("--at <point>", "up to a seq, commit or time (default: now)")
      .option("--follow", "go on as commits come, also after the server was away")
      .addOption(
        new Option("--include <what>", "what comes with each document")
          .choices(["none", "json", "patch", "changes"])
          .default("none"),
      )
      .option("--collection <name>", "only documents of one collection")
      .option("--prefix <start>", "start of the key; needs --collection")
      .option("--branch <name>", "of another branch than main; * for all of them")
      .option("--limit <n>", "at most so many, without --follow"),
    ["skald changes shop --include json", "skald changes shop --since now --follow"],
  ).action((db: string, flags: ChangesFlags) =>
    withConnection(flags, async (connection) => {
      const path = (since: string | undefined, feed: string): string =>
        `${dbPath(db)}/changes${query({
          since,
          at: flags.at,
          branch: flags.branch,
          feed,
          include: flags.include,
          collection: flags.collection,
          prefix: flags.prefix,
          limit: flags.limit,
        })}`;
      if (flags.follow) return follow(connection, (since) => path(since, "sse"), flags.since);
      return once(connection, path(flags.since, "normal"));
    }),
  );
}

async function once(connection: Connection, path: string): Promise<void> {
  const headers = { accept: "application/x-ndjson" };
  const reply = await connection.send({ method: "GET", path, headers });
  let end: End | undefined;
  for await (const line of splitLines(reply, LINE_BYTES)) {
    // The last line alone has no commit: it says how far the feed got.
    if (!line.includes('"commit":"')) end = JSON.parse(line.toString("utf8")) as End;
    else await print(Buffer.concat([line, NEWLINE]));
  }
  if (!end || end.code !== undefined) {
    throw new CliError(end?.code ?? "FAILED", "The server broke off the feed.", {
      hint: end ? `Go on with --since ${end.cursor}` : "Go on with --since and the last cursor.",
    });
  }
  note(`up to seq ${end.seq}; go on with --since ${end.cursor}`);
}

/** Follows until the reader goes or the server refuses. What breaks off is taken up where it was. */
async function follow(
  connection: Connection,
  path: (since: string | undefined) => string,
  since: string | undefined,
): Promise<void> {
  let last: string | undefined;
  for (;;) {
    try {
      // Where it began stands fast, so that nothing is missed when it breaks before the first event.
      const reply = await connection.send({
        method: "GET",
        path: path(since),
        headers: last === undefined ? {} : { "last-event-id": last },
      });
      let event = "";
      for await (const line of splitLines(reply, LINE_BYTES)) {
        const text = line.subarray(0, 8).toString("latin1");
        if (text.startsWith("id: ")) last = line.subarray(4).toString("latin1");
        else if (text.startsWith("event: ")) event = line.subarray(7).toString("latin1");
        else if (text.startsWith("data: ")) {
          const data = line.subarray(6);
          if (event === "change") await print(Buffer.concat([data, NEWLINE]));
          else refuse(JSON.parse(data.toString("utf8")) as End);
        }
      }
    } catch (error) {
      if (!isPassing(error)) throw error;
      note(`${asCliError(error).message}; trying again`);
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

/** Throws for an end after which coming back is no use. */
function refuse({ code = "FAILED", cursor }: End): void {
  if (code === "UNAVAILABLE" || code === "READER_SLOW") return;
  throw new CliError(code, "The server ended the feed.", { hint: `Go on with --since ${cursor}` });
}

/** Whether the server may well be there again in a moment. */
function isPassing(error: unknown): boolean {
  const code = String((error as { code?: unknown } | null)?.code);
  return code === "UNAVAILABLE" || code === "UNREACHABLE" || code === "ECONNRESET" || code === "ECONNREFUSED";
}

const NEWLINE = Buffer.from("\n");
