import type { ErrorCode } from "../errors.ts";

/** Codes that no server sends; specs/18-client.md says when. */
export type OwnCode = "OFFLINE" | "CLOSED" | "NOT_READY" | "BAD_ANSWER" | "NO_WEBSOCKET";

/** A refusal, as the server's problem document tells it, or one of the client's own. */
export class SkaldError extends Error {
  override readonly name = "SkaldError";
  /** Stable: the server's, one of `OwnCode`, or one that a newer server has. */
  readonly code: ErrorCode | OwnCode | (string & {});
  /** Of the answer; 0 when there was none. */
  readonly status: number;
  readonly hint: string;
  /** The other fields of the problem document, such as `current_heads`. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: string,
    message: string,
    options: {
      status?: number;
      hint?: string;
      details?: Readonly<Record<string, unknown>>;
      cause?: unknown;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status ?? 0;
    this.hint = options.hint ?? "";
    this.details = options.details ?? {};
  }
}

/** By its name: packages that are bundled twice have two classes. */
export function isSkaldError(error: unknown): error is SkaldError {
  return (error as { name?: unknown } | null)?.name === "SkaldError";
}

/** The refusal in an answer. `text` is its body, which may be anything when something else answered. */
export function problemIn(status: number, text: string): SkaldError {
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch {
    fields = undefined;
  }
  const { code, detail, hint, ...rest } = (typeof fields === "object" ? (fields ?? {}) : {}) as Record<
    string,
    unknown
  >;
  if (typeof code !== "string") {
    return new SkaldError("BAD_ANSWER", `The server answered with ${status} and no problem document.`, {
      status,
      hint: "Is the URL that of a Skald server, or does something stand between?",
    });
  }
  const details: Record<string, unknown> = { ...rest };
  for (const name of ["type", "title", "status"]) delete details[name];
  return new SkaldError(code, typeof detail === "string" ? detail : code, {
    status,
    hint: typeof hint === "string" ? hint : "",
    details,
  });
}
