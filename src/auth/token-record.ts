import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { rowSum } from "../store/row-sum.ts";
import { looksLikePerson } from "./person-record.ts";
import { formatScope, parseScope, type Scope } from "./policy.ts";

/** What is kept about tokens and what was done with them, and what a new token may say about itself. */

export interface NewToken {
  /** For people: 1 to 128 printable characters. */
  readonly label: string;
  /** Author name in commits: 1 to 128 printable characters; the token's id when absent. */
  readonly subject?: string;
  /** 1 to 256 of them. */
  readonly scopes: readonly Scope[];
  /** Milliseconds since 1970, in the future; absent: never. */
  readonly expires?: number;
  /** Who asks for it. */
  readonly maker?: Maker;
}

export interface Maker {
  /** Of the principal. */
  readonly id: string;
  readonly subject: string;
}

/** What is known about a token; times are milliseconds since 1970. */
export interface TokenRecord {
  readonly id: string;
  readonly label: string;
  readonly subject: string;
  readonly scopes: readonly Scope[];
  readonly created: number;
  readonly expires: number | null;
  readonly revoked: number | null;
  readonly lastUsed: number | null;
  /** Null for the first token, and for those of before this was kept. */
  readonly maker: Maker | null;
  /** Id of the token in whose place it came. */
  readonly predecessor: string | null;
  /** Id of the one that came in its place and was not revoked. */
  readonly successor: string | null;
}

export interface AuditEntry {
  /** Id of the token that acted. */
  readonly principal: string;
  readonly action: string;
  readonly db?: string;
  /** Free text; never a token. */
  readonly detail?: string;
}

export interface AuditRecord {
  readonly id: number;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly principal: string;
  readonly action: string;
  readonly db: string | null;
  readonly detail: string | null;
}

export interface TokenRow {
  id: string;
  label: string;
  subject: string;
  scopes: string;
  created: number;
  expires: number | null;
  revoked: number | null;
  last_used: number | null;
  maker: string | null;
  maker_subject: string | null;
  predecessor: string | null;
  /** Looked up with it; no column. */
  successor?: string | null;
}

/** As it is kept: with the hash of its text, and a sum over everything but its last use. */
export interface StoredToken extends TokenRow {
  hash: Uint8Array;
  sum: number | null;
}

export const sumOfToken = (row: Omit<StoredToken, "sum" | "last_used">): number => {
  const { id, label, subject, hash, scopes, created, expires, revoked, maker, maker_subject } = row;
  const whence = [maker, maker_subject, row.predecessor];
  // Without them it is the sum that rows had before there were any.
  const more = whence.every((cell) => cell === null) ? [] : whence;
  return rowSum([id, label, subject, hash, scopes, created, expires, revoked, ...more]);
};

const { labelCharacters, scopes: mostScopes } = LIMITS.token;

/** A new token as it is stored: `texts` are its scopes. Throws as `Tokens.create` does. */
export function checkNewToken(
  wanted: NewToken,
  id: string,
  now: number,
): { label: string; subject: string; texts: string[]; expires: number | null } {
  const label = checkLine("label", wanted.label);
  const subject = checkLine("subject", wanted.subject ?? id);
  // Whoever reads a history must not take what a token wrote for what a person did.
  if (looksLikePerson(subject)) {
    throw new SkaldError(
      "NAME_INVALID",
      "A subject that ends in # and eight characters is the author name of a person.",
      {
        hint: "Choose another; see specs/28-people.md.",
      },
    );
  }
  if (subject.startsWith("did:")) {
    throw new SkaldError("NAME_INVALID", "A subject that begins with did: is proven by its key.", {
      hint: "Use a capability; see specs/30-capabilities.md.",
    });
  }
  const texts = [...new Set(wanted.scopes.map(formatScope))];
  if (texts.length === 0 || texts.length > mostScopes.value) {
    throw new SkaldError("SCOPE_INVALID", `A token has 1 to ${mostScopes.value} scopes.`);
  }
  const expires = wanted.expires ?? null;
  if (expires !== null && !(Number.isSafeInteger(expires) && expires > now)) {
    throw new SkaldError("BAD_REQUEST", "`expires` is not a time in the future.", {
      hint: "Give whole milliseconds since 1970.",
      details: { expires, now },
    });
  }
  return { label, subject, texts, expires };
}

/** The record of a row. Throws DB_DAMAGED when its scopes do not parse. */
export function toRecord(row: TokenRow, lastUsed: number | null): TokenRecord {
  return {
    id: row.id,
    label: row.label,
    subject: row.subject,
    scopes: scopesOf(row),
    created: row.created,
    expires: row.expires,
    revoked: row.revoked,
    lastUsed,
    maker: row.maker === null ? null : { id: row.maker, subject: row.maker_subject ?? "" },
    predecessor: row.predecessor,
    successor: row.successor ?? null,
  };
}

export function scopesOf(row: TokenRow): readonly Scope[] {
  try {
    return Object.freeze((JSON.parse(row.scopes) as string[]).map((text) => Object.freeze(parseScope(text))));
  } catch (cause) {
    // Not SCOPE_INVALID: that would blame whoever presented the token.
    throw new SkaldError("DB_DAMAGED", `The scopes of token ${row.id} are damaged.`, { cause });
  }
}

// Letters, marks, digits, punctuation, symbols and the plain space: whatever is left out is invisible or
// changes how its neighbours are shown, and would let one author pass for another.
const LINE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]+$/u;

/** A line for people, as it is. Throws NAME_INVALID. */
export function checkLine(what: string, text: string, most: number = labelCharacters.value): string {
  if (!LINE.test(text) || Array.from(text).length > most || text !== text.trim()) {
    throw new SkaldError(
      "NAME_INVALID",
      `A ${what} is 1 to ${most} printable characters, no space at either end.`,
      {
        hint: "See specs/07-auth.md.",
      },
    );
  }
  return text;
}
