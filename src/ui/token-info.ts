/** A token as `GET /api/v1/admin/tokens` lists it. */
export interface TokenInfo {
  readonly id: string;
  readonly label: string;
  readonly subject: string;
  readonly scopes: readonly string[];
  readonly created: string;
  readonly expires: string | null;
  readonly revoked: string | null;
  readonly last_used: string | null;
  readonly predecessor?: string | null;
  readonly successor?: string | null;
}

export type TokenState = "active" | "revoked" | "expired";

export function stateOf(token: Pick<TokenInfo, "expires" | "revoked">, now: number): TokenState {
  if (token.revoked !== null && Date.parse(token.revoked) <= now) return "revoked";
  if (token.expires !== null && Date.parse(token.expires) <= now) return "expired";
  return "active";
}

/** Those that work first, and of these the newest. */
export function inOrder(tokens: readonly TokenInfo[], now: number): TokenInfo[] {
  const rank = (token: TokenInfo): number => (stateOf(token, now) === "active" ? 0 : 1);
  return tokens.toSorted((a, b) => rank(a) - rank(b) || Date.parse(b.created) - Date.parse(a.created));
}
