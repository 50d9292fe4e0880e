/**
 * What a token may do, as the form that makes one holds it. The server decides what is a scope (`specs/07-auth.md`);
 * here a mistake is said beside its field, before anything is sent.
 */

export interface ScopeRow {
  /** A db id, or `*`. */
  readonly db: string;
  /** An action, or `*`. */
  readonly action: string;
  /** Start of a resource's name; empty: the whole db. */
  readonly prefix: string;
}

/** Actions that a route asks for, in the order of the form. */
export const ACTION_NAMES = [
  "doc.read",
  "doc.write",
  "sync",
  "query.read",
  "query.run",
  "query.write",
  "query.admin",
  "branch.write",
  "snapshot.read",
  "snapshot.write",
  "db.admin",
  "admin.token",
  "admin.people",
  "admin.audit",
] as const;

export type ActionName = (typeof ACTION_NAMES)[number];

const SERVER_WIDE: ReadonlySet<string> = new Set(["admin.token", "admin.people", "admin.audit"]);

/** Of the whole server and no db in particular. */
export function isServerWide(action: string): boolean {
  return SERVER_WIDE.has(action);
}

export const PRESETS = {
  read: ["doc.read", "query.read"],
  write: ["doc.read", "doc.write", "query.read"],
  automerge: ["sync", "doc.read", "doc.write"],
  backup: ["db.admin", "doc.read", "snapshot.read"],
  all: ["*"],
} as const satisfies Readonly<Record<string, readonly (ActionName | "*")[]>>;

export type Preset = keyof typeof PRESETS;

export function presetRows(preset: Preset, db: string): ScopeRow[] {
  return PRESETS[preset].map((action) => ({ db, action, prefix: "" }));
}

/** `db:action` or `db:action:prefix`, as the API takes it. */
export function scopeText({ db, action, prefix }: ScopeRow): string {
  const on = isServerWide(action) ? "*" : db;
  return prefix === "" || isServerWide(action) ? `${on}:${action}` : `${on}:${action}:${prefix}`;
}

/** The parts of a scope's text; a prefix may have further colons. */
export function scopeRow(text: string): ScopeRow {
  const [db = "", action = "", ...rest] = text.split(":");
  return { db, action, prefix: rest.join(":") };
}

export type ScopeFault = "no-db" | "bad-db" | "no-action" | "long-prefix" | "control";

/** As `ids/names.ts` has it, which a page would load with all limits; a test compares the two. */
const DB_ID = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,128}$/;
const PREFIX_BYTES = 1024;

/** What is wrong with a row, if anything is. */
export function faultOf({ db, action, prefix }: ScopeRow): ScopeFault | undefined {
  if (action === "") return "no-action";
  if (isServerWide(action)) return undefined;
  if (db === "") return "no-db";
  if (db !== "*" && !DB_ID.test(db)) return "bad-db";
  if (new TextEncoder().encode(prefix).length > PREFIX_BYTES) return "long-prefix";
  if (/\p{Cc}/u.test(prefix)) return "control";
  return undefined;
}

/** The scopes of rows, each once. */
export function scopeTexts(rows: readonly ScopeRow[]): string[] {
  return [...new Set(rows.map(scopeText))];
}

/**
 * A line for a shell that uses the new token once: something that its scopes let it do. The token stands in single
 * quotes and is of letters, digits, `_` and `-`, so no shell reads anything into it.
 */
export function curlLine(origin: string, token: string, scopes: readonly string[]): string {
  const rows = scopes.map(scopeRow);
  const auth = `-H 'Authorization: Bearer ${token}'`;
  const may = (action: string): ScopeRow | undefined =>
    rows.find((row) => (row.action === action || row.action === "*") && row.db !== "*");
  const reads = may("doc.read");
  if (reads) return `curl ${auth} ${origin}/api/v1/db/${reads.db}/docs`;
  const runs = may("query.read");
  if (runs) {
    const body = `-H 'Content-Type: application/json' -d '{"sql":"SELECT 1"}'`;
    return `curl ${auth} ${body} ${origin}/api/v1/db/${runs.db}/query/exec`;
  }
  return `curl ${auth} ${origin}/api/v1/db`;
}

/** When a token that is to last so many days runs out, for the API; undefined: never. */
export function expiryAfter(days: number | undefined, now: number): string | undefined {
  return days === undefined ? undefined : new Date(now + days * 86_400_000).toISOString();
}
