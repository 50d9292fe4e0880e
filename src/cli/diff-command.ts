import type { Command } from "commander";
import type * as z from "zod";
import type { DbDiff } from "../protocol/wire.ts";
import { clientCommand, dbPath, query, type ClientFlags } from "./client-command.ts";
import { readText, withConnection } from "./connection.ts";
import { usageError } from "./failure.ts";
import { note, print } from "./output.ts";

type Page = z.infer<typeof DbDiff>;

const SIGNS = { added: "+", changed: "~", deleted: "-" } as const;

export function addDiff(program: Command): void {
  clientCommand(
    program
      .command("diff <db> <from> [to]")
      .description("print which documents differ between two points, with JSON patches")
      .option("--collection <name>", "only those of one collection")
      .option("--prefix <text>", "only keys that start so; needs --collection")
      .option("--names", "names alone, without patches"),
    ["skald diff shop main draft", "skald diff shop 10 20 --names", "skald diff shop draft@15 draft"],
  ).action(
    (
      db: string,
      from: string,
      to: string | undefined,
      flags: ClientFlags & { collection?: string; prefix?: string; names?: true },
    ) =>
      withConnection(flags, async (connection) => {
        const { collection, prefix } = flags;
        if (prefix !== undefined && collection === undefined)
          throw usageError("--prefix is of a key, so it needs --collection.");
        let cursor: string | undefined;
        do {
          const search = query({
            from,
            to,
            collection,
            prefix,
            cursor,
            limit: flags.names ? 1000 : 100,
            patches: flags.names ? "false" : undefined,
          });
          const text = await readText(
            await connection.send({ method: "GET", path: `${dbPath(db)}/diff${search}` }),
          );
          const page = JSON.parse(text) as Page;
          await print(flags.json ? `${text}\n` : linesOf(page));
          if (cursor === undefined && !flags.json) note(summaryOf(page));
          cursor = page.cursor ?? undefined;
        } while (cursor !== undefined);
      }),
  );
}

function linesOf({ docs }: Page): string {
  return docs
    .map(({ doc, change, patch, error }) => {
      const steps = patch?.map((operation) => `    ${JSON.stringify(operation)}\n`) ?? [];
      return `${SIGNS[change]} ${doc}\n${steps.join("")}${error === undefined ? "" : `    ${error}\n`}`;
    })
    .join("");
}

function summaryOf({ counts: { added, changed, deleted }, from, to }: Page): string {
  return `${added} added, ${changed} changed, ${deleted} deleted from ${from.branch}@${from.seq} to ${to.branch}@${to.seq}.`;
}
