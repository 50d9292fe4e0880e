/**
 * Everything a token can be allowed to do. A name is stored in tokens, so it never changes its meaning;
 * actions without a route yet are named here so that a token made today holds for them later.
 */
export const ACTIONS = [
  "doc.read",
  "doc.write",
  "query.read",
  "query.write",
  "query.admin",
  "query.run",
  "branch.write",
  "snapshot.read",
  "snapshot.write",
  "sync",
  "pub.publish",
  "pub.subscribe",
  "stream.read",
  "stream.write",
  "webhook.ingest",
  "lease.acquire",
  "blob.upload",
  "blob.read",
  "blob.claim",
  "blob.publish",
  "kv.read",
  "kv.write",
  "trigger.manage",
  "db.admin",
  "admin.token",
  "admin.people",
  "admin.audit",
] as const;

export type Action = (typeof ACTIONS)[number];

const known: ReadonlySet<string> = new Set(ACTIONS);

export function isAction(text: string): text is Action {
  return known.has(text);
}

const SERVER_WIDE: ReadonlySet<string> = new Set<Action>(["admin.token", "admin.people", "admin.audit"]);

/** Whether the action concerns the server and no db in particular: only a scope on every db holds it. */
export function isServerWide(action: Action | "*"): boolean {
  return SERVER_WIDE.has(action);
}
