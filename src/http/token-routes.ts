import type * as z from "zod";
import type { Identity } from "../auth/identity.ts";
import {
  allows,
  checkScope,
  formatScope,
  managesTokens,
  mayManage,
  mayMint,
  parseScope,
} from "../auth/policy.ts";
import type { Scope } from "../auth/policy.ts";
import type { TokenRecord } from "../auth/tokens.ts";
import { parseTime } from "../db/point.ts";
import { SkaldError } from "../errors.ts";
import { RotateRequest, TokenList, TokenMade, TokenRequest, type TokenInfo } from "../protocol/token-wire.ts";
import { entryOf, noted } from "./noted.ts";
import { iso } from "./point.ts";
import { json, type Call, type Route } from "./route.ts";

const tag = "tokens";
const UNKEPT = { "cache-control": "no-store" };

export const tokenRoutes: readonly Route[] = [
  {
    method: "POST",
    path: "/admin/tokens",
    summary: "Make a token",
    description:
      "The token is in this answer and nowhere else: only its hash is kept. Needs `admin.token`, or `db.admin` of each db that its scopes name, and a scope of one's own that covers each of them.",
    tag,
    access: "any",
    body: { types: { "application/json": TokenRequest } },
    answers: { 201: { description: "Made.", types: { "application/json": TokenMade } } },
    handle: async (call) => {
      const { services, identity, principal, body } = call;
      const wanted = body.value as z.infer<typeof TokenRequest>;
      checkManages(identity);
      const scopes = wanted.scopes.map(scopeOf);
      checkMint(identity, scopes);
      const { subject, expires, label } = wanted;
      if (subject !== undefined && subject !== principal.subject && !isAdmin(identity)) {
        throw new SkaldError("FORBIDDEN", "Only `admin.token` chooses whose name a token writes under.", {
          details: { action: "admin.token" },
          hint: "Leave `subject` out, and the token writes under its own id.",
        });
      }
      const { token, record } = services.tokens.create({
        label,
        scopes,
        maker: { id: principal.id, subject: principal.subject },
        ...(subject === undefined ? {} : { subject }),
        ...(expires === undefined ? {} : { expires: expiry(expires) }),
      });
      await keptOrRevoked(call, "token.create", record);
      return json(201, { ...tokenInfo(record), token }, UNKEPT);
    },
  },
  {
    method: "GET",
    path: "/admin/tokens",
    summary: "List tokens",
    description: "All of them with `admin.token`; with `db.admin` those that concern no other db.",
    tag,
    access: "any",
    answers: { 200: { description: "Oldest first.", types: { "application/json": TokenList } } },
    handle: ({ services, identity, principal }) => {
      checkManages(identity);
      const seen = services.tokens.list().filter(({ scopes }) => mayManage(principal, scopes));
      return json(200, { tokens: seen.map(tokenInfo) }, UNKEPT);
    },
  },
  {
    method: "DELETE",
    path: "/admin/tokens/:id",
    summary: "Revoke a token, at once",
    description: "Whatever is open by it ends within a second.",
    tag,
    access: "any",
    answers: { 204: { description: "Revoked." } },
    handle: async (call) => {
      const id = call.params["id"] as string;
      checkManages(call.identity);
      // Whoever may revoke all of them may also revoke one whose record is damaged.
      if (!isAdmin(call.identity)) managed(call, id);
      call.services.tokens.revoke(id);
      await noted(call, "token.revoke", { detail: id });
      return { status: 204 };
    },
  },
  {
    method: "POST",
    path: "/admin/tokens/:id/rotate",
    summary: "Have another token take the place of one",
    description:
      "The successor has the same label, subject and scopes, and is in this answer and nowhere else. The token holds on for the overlap; then it ends, and with it its tickets and whatever is open by it. Needs what making such a token needs.",
    tag,
    access: "any",
    body: { types: { "application/json": RotateRequest } },
    answers: { 201: { description: "Made.", types: { "application/json": TokenMade } } },
    handle: async (call) => {
      const { services, identity, principal, params, body } = call;
      const { overlap_seconds, expires } = body.value as z.infer<typeof RotateRequest>;
      const id = params["id"] as string;
      checkManages(identity);
      checkMint(identity, managed(call, id).scopes);
      const { token, record } = services.tokens.rotate(id, {
        overlap: overlap_seconds * 1000,
        maker: { id: principal.id, subject: principal.subject },
        ...(expires === undefined ? {} : { expires: expires === null ? null : expiry(expires) }),
      });
      await keptOrRevoked(call, "token.rotate", record, `${id} to `);
      return json(201, { ...tokenInfo(record), token }, UNKEPT);
    },
  },
];

/** No token without its entry in the audit log. Throws what keeps the entry from being written. */
async function keptOrRevoked(call: Call, action: string, record: TokenRecord, before = ""): Promise<void> {
  try {
    await call.services.audit.must(entryOf(call, action, { detail: before + detailOf(record) }));
  } catch (error) {
    call.services.tokens.revoke(record.id);
    throw error;
  }
}

function scopeOf(given: z.infer<typeof TokenRequest>["scopes"][number]): Scope {
  if (typeof given === "string") return parseScope(given);
  return checkScope(given.db_id, given.action, given.resource_prefix);
}

function isAdmin({ principal }: Identity): boolean {
  return allows(principal, "admin.token", undefined);
}

/** Throws FORBIDDEN. */
function checkManages({ principal }: Identity): void {
  if (managesTokens(principal)) return;
  throw new SkaldError("FORBIDDEN", "This needs admin.token, or db.admin of a db.", {
    details: { action: "admin.token" },
  });
}

/** Of a token that it may see: another one is not there for it. Throws TOKEN_NOT_FOUND. */
function managed({ services, principal }: Call, id: string): TokenRecord {
  const record = services.tokens.get(id);
  if (!record || !mayManage(principal, record.scopes))
    throw new SkaldError("TOKEN_NOT_FOUND", "No token has this id.");
  return record;
}

/** Throws FORBIDDEN. */
function checkMint({ principal, by }: Identity, scopes: readonly Scope[]): void {
  // A token would outlast what it was made with, which is signed for a time and can be taken back by its signers.
  if (by === "capability" || by === "provider") {
    throw new SkaldError(
      "FORBIDDEN",
      "Tokens are made with a token, or by a person, and not by other means.",
    );
  }
  if (mayMint(principal, scopes)) return;
  throw new SkaldError("FORBIDDEN", "A token can only give what its maker has.", {
    details: { scopes: scopes.map(formatScope) },
  });
}

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
    grants: record.scopes.map(({ db, action, prefix }) => ({
      db_id: db,
      action,
      ...(prefix === undefined ? {} : { resource_prefix: prefix }),
    })),
    created: iso(record.created),
    expires: time(record.expires),
    revoked: time(record.revoked),
    last_used: time(record.lastUsed),
    made_by: record.maker,
    predecessor: record.predecessor,
    successor: record.successor,
  };
}
