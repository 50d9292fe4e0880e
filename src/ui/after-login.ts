/** Where to go once signed in: a place of the dashboard, whatever an address that somebody sent says. */
export function afterLogin(next: string | undefined): string {
  return next !== undefined && next.startsWith("#/") && !next.startsWith("#/login") ? next : "#/";
}
