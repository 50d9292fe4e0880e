import type { Command } from "commander";
import type * as z from "zod";
import type { HeadJson } from "../protocol/wire.ts";
import { clientCommand, dbPath, query, type ClientFlags } from "./client-command.ts";
import { askJson, withConnection } from "./connection.ts";
import { note, openSink, printJson } from "./output.ts";

interface CheckpointFlags extends ClientFlags {
  readonly branch?: string;
  readonly output?: string;
}

export function addCheckpoint(program: Command): void {
  clientCommand(
    program
      .command("checkpoint <db>")
      .description("write down where a db stands, signed: proof against a history that is changed later")
      .option("--branch <name>", "of this branch (default main)")
      .option("-o, --output <file>", "write to a file"),
    [
      "skald checkpoint shop -o shop.checkpoint",
      "skald verify shop --against shop.checkpoint   # months later, or on another copy",
    ],
  ).action((db: string, flags: CheckpointFlags) =>
    withConnection(flags, async (connection) => {
      const head = await askJson<z.infer<typeof HeadJson>>(connection, {
        method: "GET",
        path: `${dbPath(db)}/head${query({ branch: flags.branch })}`,
        headers: { accept: "application/json" },
      });
      if (!head.signed) note("not signed: this server has no key. `skald key create` makes one.");
      if (flags.json && flags.output === undefined) return printJson(head);
      const sink = await openSink(flags.output);
      try {
        await sink.write(head.checkpoint);
        await sink.finish();
      } catch (error) {
        await sink.discard();
        throw error;
      }
      if (flags.json) await printJson(head);
    }),
  );
}
