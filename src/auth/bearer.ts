import { LIMITS } from "../limits.ts";

// One scheme, spaces, one token68 (RFC 9110 section 11.2, RFC 6750 section 2.1), and nothing else.
const BEARER = /^bearer +([A-Za-z0-9._~+/-]+=*)$/i;

/**
 * The token in the value of an `Authorization` header; undefined when the header is absent, of another
 * scheme or malformed. The scheme is read in any case, the token exactly.
 */
export function bearerToken(header: string | undefined): string | undefined {
  if (header === undefined || header.length > LIMITS.http.authorizationCharacters.value) return undefined;
  return BEARER.exec(header)?.[1];
}
