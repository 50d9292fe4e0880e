import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import type { EraseAnswer, ErasureList, RetentionApplied, RetentionList } from "../protocol/wire.ts";
import type * as z from "zod";
import { clientCommand, dbPath, docPath, query, type ClientFlags } from "./client-command.ts";
import { askJson, withConnection } from "./connection.ts";
import { usageError } from "./failure.ts";
import { print, printJson, table } from "./output.ts";

type Erased = z.infer<typeof EraseAnswer>;
type Erasures = z.infer<typeof ErasureList>;

export function addErase(program: Command): void {
  clientCommand(
    program
      .command("erase <db> <doc>")
      .description("erase a document for good: its bytes are removed everywhere on the server")
      .requiredOption("--yes", "that you mean it: nothing brings it back")
      .option("--reason <text>", "stands in the log for ever; nothing of the person's"),
    ["skald erase shop customers/42 --reason 'asked for in ticket 7' --yes"],
  ).action((db: string, doc: string, flags: ClientFlags & { reason?: string }) =>
    withConnection(flags, async (connection) => {
      const answer = await askJson<Erased>(connection, {
        method: "POST",
        path: `${docPath(db, doc)}/erase`,
        body: JSON.stringify(flags.reason === undefined ? {} : { reason: flags.reason }),
        headers: { "content-type": "application/json" },
      });
      if (flags.json) return printJson(answer);
      const rest = answer.removed ? "" : " Not all of it could be removed yet; the server goes on trying.";
      return print(
        `${doc}: erased by commit ${answer.seq}, ${answer.blocks} ${answer.blocks === 1 ? "change" : "changes"} of ${answer.bytes} bytes.${rest}\n${answer.stays}\n`,
      );
    }),
  );

  clientCommand(
    program
      .command("erasures <db>")
      .description("list what was erased, or erase what such a list of another copy says")
      .option("--apply <file>", "a list as --json prints it"),
    ["skald erasures shop --json > erased.json", "skald erasures shop --apply erased.json"],
  ).action((db: string, flags: ClientFlags & { apply?: string }) =>
    withConnection(flags, async (connection) => {
      if (flags.apply !== undefined) {
        const list = listIn(await readFile(flags.apply, "utf8"));
        let erased = 0;
        for (let at = 0; at < list.length; at += PAGE) {
          const body = JSON.stringify({ erasures: list.slice(at, at + PAGE) });
          const path = `${dbPath(db)}/erasures`;
          const headers = { "content-type": "application/json" };
          erased += (await askJson<{ erased: number }>(connection, { method: "POST", path, body, headers }))
            .erased;
        }
        return flags.json ? printJson({ db, erased }) : print(`${db}: ${erased} documents erased\n`);
      }
      const all: Erasures["erasures"] = [];
      for (let cursor: string | undefined; ;) {
        const path = `${dbPath(db)}/erasures${query({ limit: "1000", cursor })}`;
        const page = await askJson<Erasures>(connection, { method: "GET", path });
        all.push(...page.erasures);
        if (page.cursor === null) break;
        cursor = page.cursor;
      }
      if (flags.json) return printJson({ erasures: all });
      return print(
        table([["document", "seq", "time"], ...all.map(({ doc, seq, time }) => [doc, String(seq), time])]),
      );
    }),
  );

  addRetention(program);
}

const PAGE = 1000;

function listIn(text: string): { doc: string }[] {
  try {
    const { erasures } = JSON.parse(text) as { erasures?: unknown };
    if (Array.isArray(erasures)) return erasures as { doc: string }[];
  } catch {
    // As below.
  }
  throw usageError("The file is no list of erasures: `skald erasures <db> --json` prints one.");
}

function addRetention(program: Command): void {
  const retention = program.command("retention").description("how long collections keep what is deleted");
  clientCommand(retention.command("list <db>").description("list the rules"), [
    "skald retention list shop",
  ]).action((db: string, flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const path = `${dbPath(db)}/retention`;
      const { rules } = await askJson<z.infer<typeof RetentionList>>(connection, { method: "GET", path });
      if (flags.json) return printJson({ rules });
      return print(
        table([
          ["collection", "seconds", "expires"],
          ...rules.map(({ collection, max_age, expire }) => [
            collection,
            String(max_age),
            expire ? "yes" : "no",
          ]),
        ]),
      );
    }),
  );

  clientCommand(
    retention
      .command("set <db> <collection> <seconds>")
      .description("erase documents of a collection that were deleted so long ago")
      .option("--expire", "also those that are there and were not written for as long"),
    ["skald retention set shop sessions 86400 --expire"],
  ).action((db: string, collection: string, seconds: string, flags: ClientFlags & { expire?: true }) =>
    withConnection(flags, async (connection) => {
      const maxAge = Number(seconds);
      if (!Number.isSafeInteger(maxAge) || maxAge < 1)
        throw usageError("Seconds are a whole number from 1 on.");
      const answer = await askJson<{ seq: number }>(connection, {
        method: "PUT",
        path: rulePath(db, collection),
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ max_age: maxAge, ...(flags.expire ? { expire: true } : {}) }),
      });
      return flags.json ? printJson(answer) : print(`${collection}: set by commit ${answer.seq}\n`);
    }),
  );

  clientCommand(retention.command("remove <db> <collection>").description("take a rule away"), [
    "skald retention remove shop sessions",
  ]).action((db: string, collection: string, flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const answer = await askJson<{ seq: number }>(connection, {
        method: "DELETE",
        path: rulePath(db, collection),
      });
      return flags.json ? printJson(answer) : print(`${collection}: no rule from commit ${answer.seq} on\n`);
    }),
  );

  clientCommand(retention.command("apply <db>").description("apply the rules now"), [
    "skald retention apply shop",
  ]).action((db: string, flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const path = `${dbPath(db)}/retention/apply`;
      const applied = await askJson<z.infer<typeof RetentionApplied>>(connection, { method: "POST", path });
      return flags.json ? printJson(applied) : print(`${db}: ${applied.documents} documents erased\n`);
    }),
  );
}

function rulePath(db: string, collection: string): string {
  return `${dbPath(db)}/retention/${encodeURIComponent(collection)}`;
}
