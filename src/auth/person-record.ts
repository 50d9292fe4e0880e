import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { rowSum } from "../store/row-sum.ts";
import type { Role } from "./roles.ts";

/** What is kept of people, and what of a provider's claims becomes part of it. */

/** A person as shown; times are milliseconds since 1970. */
export interface Person {
  /** `per_` and 20 hex digits. */
  readonly id: string;
  /** With `sub`, who the person is to the provider. */
  readonly issuer: string;
  readonly sub: string;
  /** Author name in commits: see specs/28-people.md for its form. */
  readonly subject: string;
  /** For reading only: nobody vouches for it. */
  readonly name: string;
  /** Only one that the provider has verified. */
  readonly email: string | null;
  readonly admin: boolean;
  /** What makes the person an admin, or, when the provider decides, keeps it from being one. */
  readonly adminBy: "configuration" | "provider" | "admin" | null;
  readonly disabled: boolean;
  readonly created: number;
  /** The last login. */
  readonly lastSeen: number | null;
}

export interface PersonRow {
  id: string;
  issuer: string | null;
  provider_sub: string | null;
  subject: string;
  likeness: string | null;
  name: string;
  email: string | null;
  claimed_admin: number | null;
  given_admin: number;
  given_name: string | null;
  disabled: number;
  created: number;
  deleted: number | null;
  last_seen: number | null;
  sum: number;
}

/** Over everything but the last login. */
export const sumOfPerson = (row: Omit<PersonRow, "sum">): number =>
  rowSum([
    row.id,
    row.issuer,
    row.provider_sub,
    row.subject,
    row.likeness,
    row.name,
    row.email,
    row.claimed_admin,
    row.given_admin,
    row.given_name,
    row.disabled,
    row.created,
    row.deleted,
  ]);

export interface RoleRow {
  db_id: string;
  person: string;
  role: Role;
  given: number;
  giver: string;
  sum: number;
}

export const sumOfRole = (row: Omit<RoleRow, "sum">): number =>
  rowSum([row.db_id, row.person, row.role, row.given, row.giver]);

/** Whether a principal is a person, by its id. */
export function isPersonId(id: string): boolean {
  return /^per_[0-9a-f]{20}$/.test(id);
}

const { nameCharacters, emailCharacters, providerCharacters } = LIMITS.person;

/**
 * Who somebody is to the provider, as it is compared: character by character. Throws BAD_REQUEST for what cannot
 * be kept as it is, since two that are kept alike would be one person.
 */
export function checkProviderId(what: string, text: unknown): string {
  if (typeof text === "string" && text.length > 0 && text.length <= providerCharacters.value)
    if (text.isWellFormed() && !/\p{Cc}/u.test(text)) return text;
  throw new SkaldError(
    "BAD_REQUEST",
    `The ${what} of a login is not 1 to ${providerCharacters.value} characters.`,
  );
}

/** A line that can be shown: what is invisible or turns its neighbours around is left out. May be empty. */
export function shownLine(text: unknown): string {
  if (typeof text !== "string") return "";
  const line = text
    .slice(0, 4 * nameCharacters.value)
    .normalize("NFC")
    .replaceAll(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]+/gu, " ")
    .replaceAll(/ +/g, " ");
  return Array.from(line.trim()).slice(0, nameCharacters.value).join("").trim();
}

/** The address, when the provider says that it is the person's. */
export function verifiedEmail(claims: Readonly<Record<string, unknown>>): string | null {
  const { email, email_verified: verified } = claims;
  if (verified !== true || typeof email !== "string") return null;
  return email.length <= emailCharacters.value && /^[^\s\p{Cc}\p{Cf}@]+@[^\s\p{Cc}\p{Cf}@]+$/u.test(email)
    ? email
    : null;
}

/** Author names that others have, or that readers take for the server's own. */
const RESERVED: ReadonlySet<string> = new Set(
  [
    "admin",
    "administrator",
    "anonymous",
    "local",
    "operator",
    "person",
    "root",
    "server",
    "skald",
    "system",
  ].map(likenessOf),
);

/** What a person is called in the author name: from the login name, ASCII, 2 to 32 characters; "" when there is none. */
export function handleOf(claims: Readonly<Record<string, unknown>>): string {
  const login = claims["preferred_username"];
  if (typeof login !== "string") return "";
  const [front = ""] = login.slice(0, 256).normalize("NFKC").split("@");
  // Not stripped of what does not fit: "аdmin" with a Cyrillic letter would become a name that is not its own.
  if (!/^[A-Za-z0-9._-]*$/.test(front)) return "";
  const handle = front
    .toLowerCase()
    .slice(0, 32)
    .replaceAll(/^[._-]+|[._-]+$/g, "");
  return handle.length < 2 || RESERVED.has(likenessOf(handle)) ? "" : handle;
}

/** The same for handles that a reader may mix up. */
export function likenessOf(handle: string): string {
  return handle
    .toLowerCase()
    .replaceAll(/[._-]/g, "")
    .replaceAll("rn", "m")
    .replaceAll("vv", "w")
    .replaceAll("0", "o")
    .replaceAll(/[1i|]/g, "l")
    .replaceAll("5", "s");
}

/** The author name: what the person is called, and digits that the server draws. */
export function subjectOf(handle: string, digits: string): string {
  return `${handle === "" ? "person" : handle}#${digits}`;
}

/**
 * Whether a text has the form of people's author names, or looks as if it had: no token may have such a subject.
 */
export function looksLikePerson(subject: string): boolean {
  return /[#♯⌗]\s*\S{8}$/u.test(subject.normalize("NFKD").replaceAll(/\p{M}/gu, "").trimEnd());
}
