import type * as z from "zod";
import { formatScope, mayMint, parseScope } from "../auth/policy.ts";
import type { TokenRecord } from "../auth/tokens.ts";
import { parseTime } from "../db/point.ts";
import { SkaldError } from "../errors.ts";
import { TokenList, TokenMade, TokenRequest, type TokenInfo } from "../protocol/wire.ts";
import { entryOf, noted } from "./noted.ts";
import { iso } from "./point.ts";
import { json, type Route } from "./route.ts";

const tag = "tokens";

export const tokenRoutes: readonly Route[] = [
  {
    method: "POST",
    path: "/admin/tokens",
    summary: "Make a token",
    description: "The token is in this answer and nowhere else: only its hash is kept.",
    tag,
    access: "admin.token",
    body: { types: { "application/json": TokenRequest } },
    answers: { 201: { description: "Made.", types: { "application/json": TokenMade } } },
    handle: async (call) => {
      const { services, principal, body } = call;
      const wanted = body.value as z.infer<typeof TokenRequest>;
      const scopes = wanted.scopes.map(parseScope);
      if (!mayMint(principal, scopes)) {
        throw new SkaldError("FORBIDDEN", "A token can only give what its maker has.", {
          details: { scopes: wanted.scopes },
        });
      }
      const { token, record } = services.tokens.create({
        label: wanted.label,
        scopes,
        ...(wanted.subject === undefined ? {} : { subject: wanted.subject }),
        ...(wanted.expires === undefined ? {} : { expires: expiry(wanted.expires) }),
      });
      try {
        await services.audit.must(entryOf(call, "token.create", { detail: detailOf(record) }));
      } catch (error) {
        services.tokens.revoke(record.id);
        throw error;
      }
      return json(201, { ...tokenInfo(record), token }, { "cache-control": "no-store" });
    },
  },
  {
    method: "GET",
    path: "/admin/tokens",
    summary: "List tokens",
    tag,
    access: "admin.token",
    answers: { 200: { description: "All of them.", types: { "application/json": TokenList } } },
    handle: ({ services }) =>
      json(200, { tokens: services.tokens.list().map(tokenInfo) }, { "cache-control": "no-store" }),
  },
  {
    method: "DELETE",
    path: "/admin/tokens/:id",
    summary: "Revoke a token, at once",
    tag,
    access: "admin.token",
    answers: { 204: { description: "Revoked." } },
    handle: async (call) => {
      const id = call.params["id"] as string;
      call.services.tokens.revoke(id);
      await noted(call, "token.revoke", { detail: id });
      return { status: 204 };
    },
  },
];

function expiry(text: string): number {
  const time = parseTime(text);
  if (time === undefined) throw new SkaldError("BAD_REQUEST", "`expires` is an RFC 3339 time.");
  return time;
}

/** What it is and what it may, as far as one line has room. */
function detailOf({ id, label, scopes }: TokenRecord): string {
  return `${id} "${label}" ${scopes.map(formatScope).join(" ")}`;
}

function tokenInfo(record: TokenRecord): z.infer<typeof TokenInfo> {
  const time = (ms: number | null): string | null => (ms === null ? null : iso(ms));
  return {
    id: record.id,
    label: record.label,
    subject: record.subject,
    scopes: record.scopes.map(formatScope),
    created: iso(record.created),
    expires: time(record.expires),
    revoked: time(record.revoked),
    last_used: time(record.lastUsed),
  };
}
