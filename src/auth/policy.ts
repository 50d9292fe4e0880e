import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { AUDIT_DB, checkDbId } from "../ids/names.ts";
import { isAction, isServerWide, type Action } from "./actions.ts";

/**
 * Who may do what: the only place that decides it, without state or I/O.
 * Invariants: scopes only ever add permission, so there is no order among them and no denial; what is
 * not granted is refused; a scope with a prefix never grants anything that is not one named resource; no
 * scope at all grants a write to the audit log.
 */

export interface Scope {
  /** A db id, or "*" for every db, those to come included. */
  readonly db: string;
  /** An action, or "*" for every action, those to come included. */
  readonly action: Action | "*";
  /** Start of the resource's name, such as "notes/" or "notes/todo-"; absent: the whole db. */
  readonly prefix?: string;
}

export interface Principal {
  /** `tok_…` of a token, `per_…` of a person, the did of a capability, `local` of the operator. */
  readonly id: string;
  /** Author name in commits. */
  readonly subject: string;
  readonly scopes: readonly Scope[];
}

const { prefixBytes } = LIMITS.token;

/**
 * Reads `db:action` or `db:action:prefix`. Neither a db id nor an action holds a colon, so the prefix
 * is all that follows the second one. Throws SCOPE_INVALID.
 */
export function parseScope(text: string): Scope {
  const first = text.indexOf(":");
  if (first < 0) throw invalid(text, "it has no action");
  const second = text.indexOf(":", first + 1);
  const db = text.slice(0, first);
  const action = text.slice(first + 1, second < 0 ? undefined : second);
  if (action !== "*" && !isAction(action)) throw invalid(text, "there is no such action");
  const scope: Scope = second < 0 ? { db, action } : { db, action, prefix: text.slice(second + 1) };
  check(scope, text);
  return scope;
}

/** A scope given in parts. Throws SCOPE_INVALID. */
export function checkScope(db: string, action: string, prefix?: string | null): Scope {
  // `formatScope` looks at all of it, the action as well.
  const scope = {
    db,
    action: action as Action,
    ...(prefix === undefined || prefix === null ? {} : { prefix }),
  };
  formatScope(scope);
  return scope;
}

/** The text `parseScope` reads. Throws SCOPE_INVALID for a scope that has none. */
export function formatScope(scope: Scope): string {
  const text = `${scope.db}:${scope.action}${scope.prefix === undefined ? "" : `:${scope.prefix}`}`;
  if (scope.action !== "*" && !isAction(scope.action)) throw invalid(text, "there is no such action");
  check(scope, text);
  return text;
}

function check({ db, action, prefix }: Scope, text: string): void {
  if (db !== "*") {
    try {
      checkDbId(db);
    } catch {
      throw invalid(text, `"*" or a db id comes first`);
    }
    if (db === AUDIT_DB) throw invalid(text, "the audit log is read with *:admin.audit");
  }
  // Such a scope would never grant anything; whoever writes one expects that it does.
  if (isServerWide(action) && (db !== "*" || prefix !== undefined)) {
    throw invalid(text, `${action} is for the whole server and is written *:${action}`);
  }
  if (prefix === undefined) return;
  if (prefix === "") throw invalid(text, "its prefix is empty; leave out the last colon for the whole db");
  if (Buffer.byteLength(prefix) > prefixBytes.value || /\p{Cc}/u.test(prefix) || !prefix.isWellFormed()) {
    throw invalid(text, `a prefix is at most ${prefixBytes.value} bytes of UTF-8 without control characters`);
  }
}

function invalid(text: string, why: string): SkaldError {
  return new SkaldError("SCOPE_INVALID", `"${text.slice(0, 200)}" is not a scope: ${why}.`);
}

/**
 * Whether `principal` may do `action` on `resource` of `db`. Without a resource the question is about
 * the whole db; without a db, about every db (or the server, for what is server-wide). `resource` is the name
 * as it is stored: decode what came in a URL first, since prefixes are compared character by character.
 */
export function allows(
  principal: Principal,
  action: Action,
  db: string | undefined,
  resource?: string,
): boolean {
  for (const scope of scopesAbout(principal, db)) {
    if (!reaches(scope, action, db)) continue;
    if (scope.prefix === undefined || resource?.startsWith(scope.prefix) === true) return true;
  }
  return false;
}

/**
 * What of `db` a list made under `action` may show: all of it, nothing, or what starts with one of
 * these prefixes. They are in ascending order and none starts with another, so nothing is listed twice.
 */
export function prefixesFor(principal: Principal, action: Action, db: string): string[] | "all" | "none" {
  const found: string[] = [];
  for (const scope of scopesAbout(principal, db)) {
    if (!reaches(scope, action, db)) continue;
    if (scope.prefix === undefined) return "all";
    found.push(scope.prefix);
  }
  if (found.length === 0) return "none";
  const kept: string[] = [];
  // In this order, what a prefix covers follows it directly.
  for (const prefix of found.toSorted()) {
    const last = kept.at(-1);
    if (last === undefined || !prefix.startsWith(last)) kept.push(prefix);
  }
  return kept;
}

/** Scopes by db, each list with those of every db: somebody with a role in a thousand dbs has ten thousand scopes. */
const byDb = new WeakMap<readonly Scope[], ReadonlyMap<string | undefined, readonly Scope[]>>();
/** Fewer are gone through sooner than they are looked up. */
const FEW_SCOPES = 32;

/** Those that can have to do with `db`; undefined: with all of them. */
function scopesAbout({ scopes }: Principal, db: string | undefined): readonly Scope[] {
  if (scopes.length <= FEW_SCOPES) return scopes;
  let index = byDb.get(scopes);
  if (!index) {
    const everywhere = scopes.filter((scope) => scope.db === "*");
    const made = new Map<string | undefined, Scope[]>([[undefined, everywhere]]);
    for (const scope of scopes) {
      if (scope.db === "*") continue;
      const known = made.get(scope.db);
      if (known) known.push(scope);
      else made.set(scope.db, [...everywhere, scope]);
    }
    byDb.set(scopes, (index = made));
  }
  return index.get(db) ?? index.get(undefined) ?? scopes;
}
/** What reads a db and writes nothing of it. */
const READS: ReadonlySet<Action> = new Set<Action>(["doc.read", "query.read", "query.run", "snapshot.read"]);

function reaches(scope: Scope, action: Action, db: string | undefined): boolean {
  // The audit log: only admin.audit reads it, and nobody does anything else to it.
  if (db === AUDIT_DB) return READS.has(action) && reaches(scope, "admin.audit", undefined);
  if (scope.action !== "*" && scope.action !== action) return false;
  if (isServerWide(action)) return scope.db === "*" && scope.prefix === undefined;
  return scope.db === "*" || scope.db === db;
}

/**
 * Whether `principal` may make a token with `scopes`: for each of them it needs one scope of its own that covers it,
 * and either `admin.token` or `db.admin` of the db, each scope then naming one. Naming every action does not amount
 * to "*", which holds for later actions too.
 */
export function mayMint(principal: Principal, scopes: readonly Scope[]): boolean {
  return (
    mayManage(principal, scopes) &&
    scopes.every((wanted) => principal.scopes.some((own) => covers(own, wanted)))
  );
}

/** Whether `principal` may see and revoke a token with `scopes`: all that it concerns is in its hands. */
export function mayManage(principal: Principal, scopes: readonly Scope[]): boolean {
  if (allows(principal, "admin.token", undefined)) return true;
  return scopes.every(({ db, action }) => db !== "*" && !isServerWide(action) && ownsDb(principal, db));
}

/** Whether it may make, see and revoke tokens at all. */
export function managesTokens(principal: Principal): boolean {
  return (
    allows(principal, "admin.token", undefined) || principal.scopes.some(({ db }) => ownsDb(principal, db))
  );
}

function ownsDb(principal: Principal, db: string): boolean {
  return allows(principal, "db.admin", db === "*" ? undefined : db);
}

/** Whether `own` gives all that `wanted` gives. */
export function covers(own: Scope, wanted: Scope): boolean {
  if (own.db !== "*" && own.db !== wanted.db) return false;
  if (own.action !== "*" && own.action !== wanted.action) return false;
  return own.prefix === undefined || wanted.prefix?.startsWith(own.prefix) === true;
}
