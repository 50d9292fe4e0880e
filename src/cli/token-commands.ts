import type { Command } from "commander";
import type * as z from "zod";
import type { TokenList, TokenMade } from "../protocol/token-wire.ts";
import { clientCommand, type ClientFlags } from "./client-command.ts";
import { askJson, withConnection } from "./connection.ts";
import { usageError } from "./failure.ts";
import { note, print, printJson, table } from "./output.ts";

const PATH = "/api/v1/admin/tokens";
const SPAN = /^([1-9]\d{0,5})([mhd])$/;
const UNITS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

interface CreateFlags extends ClientFlags {
  readonly label: string;
  readonly scope: string[];
  readonly subject?: string;
  readonly expires?: string;
}

interface RotateFlags extends ClientFlags {
  readonly overlap: string;
  readonly expires?: string;
}

export function addToken(program: Command): void {
  const token = program.command("token").description("make, list, rotate and revoke tokens");

  clientCommand(
    token
      .command("create")
      .description("make a token; it is printed this once")
      .requiredOption("--label <text>", "what it is for")
      .requiredOption(
        "--scope <scope>",
        "db:action[:prefix]; repeat for more",
        (scope: string, before: string[] | undefined) => [...(before ?? []), scope],
      )
      .option("--subject <name>", "author of what is written with it (default: its id)")
      .option("--expires <when>", "30d, 12h, 90m or an RFC 3339 time (default: never)"),
    [
      "skald token create --label reporter --scope shop:doc.read --expires 30d",
      "skald token create --label admin --scope '*:*'",
    ],
  ).action((flags: CreateFlags) => {
    const { label, scope: scopes, subject } = flags;
    const body = {
      label,
      scopes,
      ...(subject === undefined ? {} : { subject }),
      ...(flags.expires === undefined ? {} : { expires: expiryOf(flags.expires, Date.now()) }),
    };
    return withConnection(
      flags,
      async (connection) => {
        const made = await askJson<z.infer<typeof TokenMade>>(connection, {
          method: "POST",
          path: PATH,
          headers: { "content-type": "application/json" },
          body: JSON.stringify(body),
        });
        if (flags.json) return printJson(made);
        note(`${made.id} for ${made.subject}: ${made.scopes.join(" ")}; expires ${made.expires ?? "never"}`);
        return print(`${made.token}\n`);
      },
      true,
    );
  });

  clientCommand(token.command("list").description("list tokens, revoked ones included"), [
    "skald token list",
  ]).action((flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const { tokens } = await askJson<z.infer<typeof TokenList>>(connection, { method: "GET", path: PATH });
      if (flags.json) {
        for (const entry of tokens) await printJson(entry);
        return;
      }
      const rows = tokens.map((entry) => [
        entry.id,
        entry.revoked === null ? `expires ${entry.expires ?? "never"}` : `revoked ${entry.revoked}`,
        entry.last_used === null ? "never used" : `used ${entry.last_used}`,
        entry.label,
        entry.scopes.join(" "),
        entry.made_by === null ? "" : `by ${entry.made_by.subject}`,
        entry.successor === null ? "" : `replaced by ${entry.successor}`,
      ]);
      await print(table(rows));
    }),
  );

  clientCommand(
    token
      .command("rotate <id>")
      .description("make the successor of a token; it is printed this once")
      .requiredOption("--overlap <time>", "how long the token itself still holds: 0, 90m, 12h, 7d")
      .option(
        "--expires <when>",
        "of the successor; never, 30d, 12h, 90m or an RFC 3339 time (default: the token's)",
      ),
    ["skald token rotate tok_0123456789abcdef0123 --overlap 24h"],
  ).action((id: string, flags: RotateFlags) => {
    const body = {
      overlap_seconds: overlapOf(flags.overlap),
      ...(flags.expires === undefined
        ? {}
        : { expires: flags.expires === "never" ? null : expiryOf(flags.expires, Date.now()) }),
    };
    return withConnection(
      flags,
      async (connection) => {
        const made = await askJson<z.infer<typeof TokenMade>>(connection, {
          method: "POST",
          path: `${PATH}/${encodeURIComponent(id)}/rotate`,
          headers: { "content-type": "application/json" },
          body: JSON.stringify(body),
        });
        if (flags.json) return printJson(made);
        note(`${made.id} takes the place of ${id}, which holds for ${flags.overlap} more at most`);
        return print(`${made.token}\n`);
      },
      true,
    );
  });

  clientCommand(token.command("revoke <id>").description("revoke a token, at once and for ever"), [
    "skald token revoke tok_0123456789abcdef0123",
  ]).action((id: string, flags: ClientFlags) =>
    withConnection(flags, async (connection) => {
      const reply = await connection.send({ method: "DELETE", path: `${PATH}/${encodeURIComponent(id)}` });
      reply.resume();
      if (flags.json) await printJson({ id, revoked: true });
      else note(`${id} is revoked.`);
    }),
  );
}

/** Whole seconds. Throws USAGE. */
export function overlapOf(text: string): number {
  if (text === "0") return 0;
  const span = SPAN.exec(text);
  if (!span) throw usageError(`--overlap takes 0, 90m, 12h or 7d, not "${text}".`);
  return (Number(span[1]) * (UNITS[span[2] as string] as number)) / 1000;
}

/** RFC 3339 from a length of time or a time. Throws USAGE. */
export function expiryOf(text: string, now: number): string {
  const span = SPAN.exec(text);
  if (span) return new Date(now + Number(span[1]) * (UNITS[span[2] as string] as number)).toISOString();
  if (/^\d{4}-\d\d-\d\dT/.test(text) && !Number.isNaN(Date.parse(text))) return text;
  throw usageError(`--expires takes 30d, 12h, 90m or an RFC 3339 time, not "${text}".`);
}
