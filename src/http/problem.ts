import { ERROR_CODES, SkaldError, isSkaldError } from "../errors.ts";
import type { Answer } from "./route.ts";

const TITLES: Readonly<Record<number, string>> = {
  400: "Bad request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not found",
  405: "Method not allowed",
  406: "Not acceptable",
  409: "Conflict",
  408: "Request timeout",
  410: "Gone",
  412: "Precondition failed",
  413: "Content too large",
  414: "URL too long",
  415: "Unsupported media type",
  416: "Range not satisfiable",
  422: "Unprocessable content",
  423: "Locked",
  429: "Too many requests",
  431: "Head too large",
  500: "Internal error",
  502: "Bad gateway",
  503: "Unavailable",
  507: "Insufficient storage",
};

/** Any thrown thing as problem details (RFC 9457). What is not a SkaldError says nothing of itself. */
export function problemOf(error: unknown, requestId: string): Answer {
  const known = isSkaldError(error)
    ? error
    : new SkaldError("INTERNAL", "Something went wrong on this server.");
  const { status } = ERROR_CODES[known.code];
  const details = known.status >= 500 ? withoutPaths(known.details) : known.details;
  const own = {
    type: `/docs#${known.code}`,
    title: TITLES[status] ?? "Error",
    status,
    code: known.code,
    detail: known.status >= 500 ? known.message.replaceAll(/(\/[\w.=-]+){2,}/g, "…") : known.message,
    hint: known.hint,
    request_id: requestId,
  };
  return {
    status,
    headers: {
      "content-type": "application/problem+json",
      "cache-control": "no-store",
      ...(status === 401 ? { "www-authenticate": 'Bearer realm="skald"' } : {}),
      ...(status === 503 || status === 429 ? { "retry-after": String(retryAfter(known)) } : {}),
      ...(typeof known.details["content_range"] === "string"
        ? { "content-range": known.details["content_range"] }
        : {}),
      ...(typeof known.details["allow"] === "string" ? { allow: known.details["allow"] } : {}),
    },
    // Twice: details come last for the reader, and none of them may pass for one of ours.
    body: JSON.stringify({ ...own, ...details, ...own }),
  };
}

function retryAfter(error: SkaldError): number {
  const seconds = error.details["retry_after"];
  return typeof seconds === "number" ? Math.max(1, Math.ceil(seconds)) : 1;
}

/** Where files lie is the operator's business: the log has it, clients do not. */
function withoutPaths(details: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(details).filter(([key]) => key !== "file" && key !== "dir" && key !== "owner"),
  );
}
