/** Where to go once signed in: a place of the dashboard, whatever an address that somebody sent says. */
export function afterLogin(next: string | undefined): string {
  return next !== undefined && next.startsWith("#/") && !next.startsWith("#/login") ? next : "#/";
}

/** Where this tab wanted to be when it was sent to another server to sign in. */
const KEPT = "skald-wanted";

/** As much of a tab's storage as is used. */
interface Keeper {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/**
 * What another server, and ours, may be told of where to come back to. An invitation's address is a secret that no
 * server is to be sent: it stays in this tab.
 */
export function tellable(next: string, keeper: Keeper): string {
  if (!next.startsWith("#/invite/")) return next;
  keeper.setItem(KEPT, next);
  return "#/";
}

/** The place that was kept, once, for a tab that came back to no other. */
export function cameBackFor(hash: string, keeper: Keeper): string | undefined {
  const kept = keeper.getItem(KEPT);
  keeper.removeItem(KEPT);
  return kept !== null && (hash === "" || hash === "#" || hash === "#/") ? kept : undefined;
}
