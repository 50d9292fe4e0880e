import { readFile } from "node:fs/promises";
import { buffer } from "node:stream/consumers";
import type { Command } from "commander";
import type * as z from "zod";
import type { DiffAnswer, HistoryList, Receipt } from "../protocol/wire.ts";
import { clientCommand, docPath, query, type ClientFlags } from "./client-command.ts";
import { askJson, readBytes, readText, withConnection } from "./connection.ts";
import { listDocs } from "./doc-list.ts";
import { usageError } from "./failure.ts";
import { note, openSink, print, printJson, table } from "./output.ts";

const AUTOMERGE = "application/automerge";
const BRANCH = ["--branch <name>", "on another branch than main"] as const;

type OnBranch = ClientFlags & { readonly branch?: string };

type Written = z.infer<typeof Receipt>;
type History = z.infer<typeof HistoryList>;

export function addDoc(program: Command): void {
  const doc = program.command("doc").description("read and write documents, named collection/key");
  addReads(doc);
  addWrites(doc);
}

function addReads(doc: Command): void {
  clientCommand(
    doc
      .command("get <db> <doc>")
      .description("print a document's JSON, or save its Automerge bytes")
      .option(...BRANCH)
      .option("--at <point>", "as it was at a seq, a commit or a time")
      .option("--automerge", "Automerge bytes with the history, not JSON")
      .option("-o, --output <file>", "file to write"),
    ["skald doc get shop items/42", "skald doc get shop items/42 --automerge -o 42.automerge"],
  ).action((db: string, name: string, flags: OnBranch & { at?: string; automerge?: true; output?: string }) =>
    withConnection(flags, async (connection) => {
      if (flags.automerge && flags.output === undefined && process.stdout.isTTY) {
        throw usageError("Automerge bytes are not for a terminal: give -o a file.");
      }
      const reply = await connection.send({
        method: "GET",
        path: `${docPath(db, name)}${query({ at: flags.at, branch: flags.branch })}`,
        headers: { accept: flags.automerge ? AUTOMERGE : "application/json" },
      });
      const bytes = await readBytes(reply);
      const sink = await openSink(flags.output);
      await sink.write(bytes);
      if (!flags.automerge) await sink.write("\n");
      await sink.finish();
    }),
  );

  clientCommand(
    doc
      .command("list <db>")
      .description("list documents by name")
      .option(...BRANCH)
      .option("--collection <name>", "only those of one collection")
      .option("--prefix <text>", "only keys that start so; needs --collection")
      .option("--at <point>", "as they were at a seq, a commit or a time")
      .option("--values", "with each document's JSON"),
    ["skald doc list shop --collection items --prefix 4"],
  ).action(
    (db: string, flags: OnBranch & { collection?: string; prefix?: string; at?: string; values?: true }) =>
      withConnection(flags, async (connection) => {
        if (flags.prefix !== undefined && flags.collection === undefined) {
          throw usageError("--prefix is of a key, so it needs --collection.");
        }
        for await (const page of listDocs(connection, db, flags)) {
          if (flags.json) {
            for (const entry of page.docs) await printJson(entry);
          } else if (flags.values) {
            for (const entry of page.docs) await print(`${entry.doc}\t${JSON.stringify(entry.value)}\n`);
          } else {
            await print(table(page.docs.map((entry) => [entry.doc, `seq ${entry.seq}`])));
          }
        }
      }),
  );

  clientCommand(
    doc
      .command("history <db> <doc>")
      .description("list the commits that touched a document, newest first")
      .option(...BRANCH)
      .option("--at <point>", "those up to a seq, a commit or a time")
      .option("--limit <number>", "at most so many"),
    ["skald doc history shop items/42 --limit 10"],
  ).action((db: string, name: string, flags: OnBranch & { at?: string; limit?: string }) =>
    withConnection(flags, async (connection) => {
      let left = flags.limit === undefined ? Infinity : wholeNumber(flags.limit, "--limit");
      let cursor: string | undefined;
      do {
        const page: History = await askJson<History>(connection, {
          method: "GET",
          path: `${docPath(db, name)}/history${query({ at: flags.at, branch: flags.branch, limit: Math.min(left, 1000), cursor })}`,
        });
        left -= page.history.length;
        if (flags.json) for (const entry of page.history) await printJson(entry);
        else {
          const rows = page.history.map((entry) => [
            `seq ${entry.seq}`,
            entry.time,
            entry.deleted ? "deleted" : `${entry.changes} change${entry.changes === 1 ? "" : "s"}`,
            entry.author,
            entry.message ?? "",
          ]);
          await print(table(rows).replaceAll(/ +$/gm, ""));
        }
        cursor = page.cursor ?? undefined;
      } while (cursor !== undefined && left > 0);
    }),
  );

  clientCommand(
    doc
      .command("diff <db> <doc>")
      .description("print the JSON patch between two points")
      .option(...BRANCH)
      .requiredOption("--from <point>", "a seq, a commit or a time")
      .option("--to <point>", "the head when left out"),
    ["skald doc diff shop items/42 --from 10 --to 20"],
  ).action((db: string, name: string, flags: OnBranch & { from: string; to?: string }) =>
    withConnection(flags, async (connection) => {
      const path = `${docPath(db, name)}/diff${query({ from: flags.from, to: flags.to, branch: flags.branch })}`;
      const text = await readText(await connection.send({ method: "GET", path }));
      if (flags.json) return print(`${text}\n`);
      const { patch } = JSON.parse(text) as z.infer<typeof DiffAnswer>;
      return print(patch.map((operation) => `${JSON.stringify(operation)}\n`).join(""));
    }),
  );
}

function addWrites(doc: Command): void {
  const write = async (
    method: "PUT" | "PATCH" | "DELETE",
    db: string,
    name: string,
    flags: OnBranch,
    content?: { readonly type: string; readonly file: string | undefined },
  ): Promise<void> => {
    const path = `${docPath(db, name)}${query({ branch: flags.branch })}`;
    const body = content && (await readInput(content.file));
    await withConnection(flags, async (connection) => {
      const receipt = await askJson<Written>(connection, {
        method,
        path,
        ...(content && body ? { headers: { "content-type": content.type }, body } : {}),
      });
      if (flags.json) await printJson(receipt);
      else note(`${name} ${receipt.duplicate ? "unchanged since" : "written at"} seq ${receipt.seq}`);
    });
  };

  clientCommand(
    doc
      .command("put <db> <doc> [file]")
      .description("replace a document, or make it, with JSON (stdin, or -)")
      .option(...BRANCH),
    ["skald doc put shop items/42 42.json", `echo '{"price":9}' | skald doc put shop items/42`],
  ).action((db: string, name: string, file: string | undefined, flags: OnBranch) =>
    write("PUT", db, name, flags, { type: "application/json", file }),
  );

  clientCommand(
    doc
      .command("patch <db> <doc> [file]")
      .description("change a document by a merge patch (stdin, or -)")
      .option(...BRANCH)
      .option("--json-patch", "the patch is an RFC 6902 JSON patch"),
    [`echo '{"price":10}' | skald doc patch shop items/42`],
  ).action((db: string, name: string, file: string | undefined, flags: OnBranch & { jsonPatch?: true }) =>
    write("PATCH", db, name, flags, {
      type: flags.jsonPatch ? "application/json-patch+json" : "application/merge-patch+json",
      file,
    }),
  );

  clientCommand(
    doc
      .command("delete <db> <doc>")
      .description("delete a document; its history stays")
      .option(...BRANCH),
    ["skald doc delete shop items/42"],
  ).action((db: string, name: string, flags: OnBranch) => write("DELETE", db, name, flags));
}

function readInput(file: string | undefined): Promise<Buffer> {
  return file === undefined || file === "-" ? buffer(process.stdin) : readFile(file);
}

function wholeNumber(text: string, option: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text))
    throw usageError(`${option} takes a whole number from 1 on, not "${text}".`);
  return Number(text);
}
