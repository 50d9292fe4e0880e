import type { Command } from "commander";
import type * as z from "zod";
import type { BranchInfo, BranchList, Receipt } from "../protocol/wire.ts";
import { clientCommand, dbPath, query, type ClientFlags } from "./client-command.ts";
import { askJson, withConnection, type Connection } from "./connection.ts";
import { addMerge } from "./merge-command.ts";
import { note, print, printJson, table } from "./output.ts";

type Branch = z.infer<typeof BranchInfo>;

export function addBranch(program: Command): void {
  const branch = program
    .command("branch")
    .description("make, list, merge, close and delete branches of a db");
  addMerge(branch);

  clientCommand(
    branch
      .command("list <db>")
      .description("list the branches, main first and then in the order they were made"),
    ["skald branch list shop"],
  ).action((db: string, flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const rows: string[][] = [["branch", "state", "from", "at", "head", "made"]];
      for await (const one of listBranches(connection, db)) {
        if (flags.json) await printJson(one);
        else {
          const { from } = one;
          rows.push([
            one.name,
            one.state,
            from?.branch ?? "",
            String(from?.seq ?? ""),
            String(one.head.seq),
            one.time ?? "",
          ]);
        }
      }
      if (!flags.json) await print(table(rows));
    }),
  );

  clientCommand(
    branch
      .command("create <db> <branch>")
      .description("make a branch of the whole db; nothing is copied")
      .option("--from <branch>", "the branch it is made from; main when left out")
      .option("--at <point>", "a seq, a commit or a time of that branch; its head when left out")
      .option("--message <text>", "what it is for"),
    ["skald branch create shop draft", "skald branch create shop old --at 2026-01-31T12:00:00Z"],
  ).action(
    (db: string, name: string, flags: ClientFlags & { from?: string; at?: string; message?: string }) =>
      withConnection(flags, async (connection) => {
        const { from, at, message } = flags;
        const body = {
          name,
          from: { ...(from === undefined ? {} : { branch: from }), ...(at === undefined ? {} : { at }) },
          ...(message === undefined ? {} : { message }),
        };
        const made = await askJson<Branch>(connection, {
          method: "POST",
          path: `${dbPath(db)}/branches`,
          headers: { "content-type": "application/json" },
          body: JSON.stringify(body),
        });
        await (flags.json ? printJson(made) : print(`${made.name}\n`));
      }),
  );

  for (const [verb, said, description] of [
    ["close", "is closed", "close a branch: it is read on and takes no more writes"],
    ["delete", "is deleted", "delete a branch: its name is free, its commits stay in the log"],
  ] as const) {
    clientCommand(branch.command(`${verb} <db> <branch>`).description(description), [
      `skald branch ${verb} shop draft`,
    ]).action((db: string, name: string, flags: ClientFlags) =>
      withConnection(flags, async (connection) => {
        const path = `${dbPath(db)}/branches/${encodeURIComponent(name)}`;
        const receipt = await askJson<z.infer<typeof Receipt>>(
          connection,
          verb === "close" ? { method: "POST", path: `${path}/close` } : { method: "DELETE", path },
        );
        if (flags.json) await printJson(receipt);
        else note(`${name} ${said}.`);
      }),
    );
  }
}

async function* listBranches(connection: Connection, db: string): AsyncGenerator<Branch> {
  for (let cursor: string | undefined; ;) {
    const page: z.infer<typeof BranchList> = await askJson(connection, {
      method: "GET",
      path: `${dbPath(db)}/branches${query({ cursor })}`,
    });
    yield* page.branches;
    if (page.cursor === null) return;
    ({ cursor } = page as { cursor: string });
  }
}
