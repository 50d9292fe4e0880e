import type { Action } from "./actions.ts";
import type { Scope } from "./policy.ts";

/** What people may be in a db, and what that allows: data, without state or I/O. */

export const ROLES = ["viewer", "editor", "owner"] as const;
export type Role = (typeof ROLES)[number];

export function isRole(text: string): text is Role {
  return (ROLES as readonly string[]).includes(text);
}

/** Whether `a` allows all that `b` does. */
export function atLeast(a: Role, b: Role): boolean {
  return ROLES.indexOf(a) >= ROLES.indexOf(b);
}

// Reading that leaves everything as it is. `stream.read` takes what it reads away from others.
const VIEWER: readonly Action[] = [
  "doc.read",
  "query.read",
  "query.run",
  "snapshot.read",
  "sync",
  "pub.subscribe",
  "blob.read",
  "kv.read",
];

// What changes the contents of a db and can be seen in its history, or passes messages. Not what decides how the
// db is kept, who sees it, or what runs in it by itself.
const EDITOR: readonly Action[] = [
  ...VIEWER,
  "doc.write",
  "query.write",
  "branch.write",
  "snapshot.write",
  "pub.publish",
  "stream.read",
  "stream.write",
  "lease.acquire",
  "blob.upload",
  "blob.claim",
  "kv.write",
];

const ACTIONS_OF: Readonly<Record<Role, readonly (Action | "*")[]>> = {
  viewer: VIEWER,
  editor: EDITOR,
  // Those to come included. What is of the server and of no db is not among them: see `isServerWide`.
  owner: ["*"],
};

/** The scopes of a role in a db; always whole dbs, never `*`. */
export function scopesOfRole(db: string, role: Role): Scope[] {
  return ACTIONS_OF[role].map((action) => ({ db, action }));
}

/** An administrator of the server: everything. */
export const ADMIN_SCOPES: readonly Scope[] = Object.freeze([Object.freeze<Scope>({ db: "*", action: "*" })]);
