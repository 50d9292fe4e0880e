import { SkaldError } from "../errors.ts";
import { sha256Hex } from "../ids/hash.ts";
import type { Call } from "./route.ts";

/**
 * A document's ETag is its heads: joined by dots, with the form of the answer behind a semicolon
 * because two forms of one state are not the same bytes (RFC 9110 section 8.8.3). Many heads are named by
 * the SHA-256 of that text: clients refuse an answer whose head is longer than some kilobytes.
 */
export function etagOf(heads: readonly string[], form: "json" | "automerge"): string {
  const joined = heads.join(".");
  const name = heads.length > JOINED_HEADS ? `${heads.length}.${sha256Hex(Buffer.from(joined))}` : joined;
  return `"${name}${form === "json" ? "" : ";automerge"}"`;
}

const JOINED_HEADS = 64;

export function notModified(ifNoneMatch: string | undefined, etag: string): boolean {
  return ifNoneMatch !== undefined && (ifNoneMatch.trim() === "*" || tags(ifNoneMatch).includes(etag));
}

/**
 * What If-Match and If-None-Match demand of a write, given the document's heads (undefined when it is
 * not there). Gives the heads that must still hold at the commit, or undefined when nothing is
 * demanded. Throws PRECONDITION_FAILED when it fails already.
 */
export function expectedHeads(
  call: Call,
  current: readonly string[] | undefined,
): readonly string[] | undefined {
  const match = call.header("if-match");
  const noneMatch = call.header("if-none-match");
  const forms = current ? [etagOf(current, "json"), etagOf(current, "automerge")] : [];
  if (match !== undefined) {
    const holds =
      match.trim() === "*" ? current !== undefined : tags(match).some((tag) => forms.includes(tag));
    if (!holds) throw failed(current);
  }
  if (noneMatch !== undefined) {
    const holds =
      noneMatch.trim() === "*" ? current === undefined : !tags(noneMatch).some((tag) => forms.includes(tag));
    if (!holds) throw failed(current);
  }
  return match === undefined && noneMatch === undefined ? undefined : (current ?? []);
}

function failed(current: readonly string[] | undefined): SkaldError {
  return new SkaldError(
    "PRECONDITION_FAILED",
    current ? "The document is not at the state that the request names." : "There is no such document.",
    { details: { current_heads: current ?? [] } },
  );
}

/** Strong tags of a header; weak ones compare like strong ones here, since heads name the state exactly. */
function tags(header: string): string[] {
  return [...header.matchAll(/(?:W\/)?("[^"]*")/g)].map((match) => match[1] as string);
}
