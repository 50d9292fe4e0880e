import type { Command } from "commander";
import type * as z from "zod";
import type { MergeReceipt } from "../protocol/wire.ts";
import { clientCommand, dbPath, type ClientFlags } from "./client-command.ts";
import { askJson, withConnection } from "./connection.ts";
import { note, print, printJson } from "./output.ts";

type Receipt = z.infer<typeof MergeReceipt>;
type Side = Receipt["conflicts"][number]["into"];

/** `branch merge`, below the command that has what else is done with branches. */
export function addMerge(branch: Command): void {
  clientCommand(
    branch
      .command("merge <db> <branch>")
      .description("merge a branch into another, and print what both sides changed")
      .option("--into <branch>", "the branch that takes it in (default main)")
      .option("--dry-run", "say what would happen and keep nothing")
      .option("--close", "close the merged branch in the same step")
      .option("--message <text>", "message of the commit"),
    ["skald branch merge shop draft", "skald branch merge shop draft --dry-run"],
  ).action(
    (
      db: string,
      name: string,
      flags: ClientFlags & { into?: string; dryRun?: true; close?: true; message?: string },
    ) =>
      withConnection(flags, async (connection) => {
        const { into = "main", dryRun, close, message } = flags;
        const receipt = await askJson<Receipt>(connection, {
          method: "POST",
          path: `${dbPath(db)}/branches/${encodeURIComponent(name)}/merge`,
          headers: { "content-type": "application/json" },
          body: Buffer.from(JSON.stringify({ into, dry_run: dryRun, close, message })),
        });
        if (flags.json) return printJson(receipt);
        for (const { doc, path, winner, into: a, from: b } of receipt.conflicts)
          await print(
            `${doc} ${path}\t${sideText(into, a, winner === "into")}\t${sideText(name, b, winner === "from")}\n`,
          );
        note(summaryOf(receipt, name, into, dryRun === true));
      }),
  );
}

function sideText(branch: string, { value, author }: Side, shown: boolean): string {
  return `${branch}: ${value === undefined ? "nothing" : JSON.stringify(value)} (${author})${shown ? " *" : ""}`;
}

function summaryOf(receipt: Receipt, name: string, into: string, tried: boolean): string {
  if (receipt.duplicate) return `${into} has all of ${name} already.`;
  const { documents, conflicts, seq, fast_forward: fastForward, more_conflicts: more } = receipt;
  const how = `${documents} document${documents === 1 ? "" : "s"}${fastForward ? ", fast-forward" : ""}`;
  const found = `${conflicts.length}${more ? " or more" : ""} conflict${conflicts.length === 1 ? "" : "s"}`;
  return `${name} ${tried ? "would be" : "is"} merged into ${into}${tried ? "" : ` at seq ${seq}`}: ${how}, ${found}.`;
}
