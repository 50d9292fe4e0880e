import type { IncomingMessage } from "node:http";
import type { Answer } from "./route.ts";

/**
 * What lets pages of other origins use this server (the fetch standard's CORS protocol). Credentials are tokens
 * that a page must have and send itself, never what a browser adds by itself, so an origin that is allowed can
 * do what its tokens can and no more.
 */
export interface Cors {
  /** The answer with what the browser that asked has to be told. */
  onto(answer: Answer, req: IncomingMessage): Answer;
  /** The answer to a preflight: `allow` has the methods of the path. */
  preflight(answer: Answer, allow: string, req: IncomingMessage): Answer;
}

/** What pages may read of an answer beside its body. */
const EXPOSED =
  "automerge-url, etag, link, location, ratelimit, ratelimit-policy, retry-after, skald-commit, skald-cursor, skald-seq, x-request-id";
/** What pages may send. */
const ACCEPTED =
  "accept, authorization, content-type, fence, idempotency-key, if-match, if-none-match, last-event-id, range, ucans, x-request-id";
/** Two hours: browsers keep it no longer. */
const PREFLIGHT_SECONDS = "7200";

/** Undefined when no origin is allowed: then nothing is looked at. `*` is all of them. */
export function corsFor(origins: readonly string[]): Cors | undefined {
  if (origins.length === 0) return undefined;
  const all = origins.includes("*");
  const known = new Set(origins);
  const onto = (answer: Answer, req: IncomingMessage, more: Record<string, string>): Answer => {
    const { origin } = req.headers;
    const vary = answer.headers?.["vary"];
    const headers: Record<string, string> = {
      ...answer.headers,
      // An answer that is kept for one origin must not be given to another.
      ...(all ? {} : { vary: vary === undefined ? "origin" : `${vary}, origin` }),
    };
    if (origin !== undefined && (all || known.has(origin))) {
      headers["access-control-allow-origin"] = all ? "*" : origin;
      Object.assign(headers, more);
    }
    return { ...answer, headers };
  };
  return {
    onto: (answer, req) => onto(answer, req, { "access-control-expose-headers": EXPOSED }),
    preflight: (answer, allow, req) =>
      req.headers["access-control-request-method"] === undefined
        ? onto(answer, req, {})
        : onto(answer, req, {
            "access-control-allow-methods": allow,
            "access-control-allow-headers": ACCEPTED,
            "access-control-max-age": PREFLIGHT_SECONDS,
            ...(req.headers["access-control-request-private-network"] === "true"
              ? { "access-control-allow-private-network": "true" }
              : {}),
          }),
  };
}
