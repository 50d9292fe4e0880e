import { isSkaldError } from "../errors.ts";

/** What the program ends with. */
export const EXIT = { ok: 0, refused: 1, usage: 2, interrupted: 130 } as const;

/** A command that cannot go on: a refusal of the server, or a reason of its own. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly code: string;
  readonly hint: string | undefined;
  readonly exit: number;
  /** The rest of the server's problem document. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: string,
    message: string,
    options: {
      hint?: string;
      exit?: number;
      details?: Readonly<Record<string, unknown>>;
      cause?: unknown;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.exit = options.exit ?? EXIT.refused;
    this.details = options.details ?? {};
  }
}

export function usageError(message: string, hint = "`skald <command> --help` shows how."): CliError {
  return new CliError("USAGE", message, { hint, exit: EXIT.usage });
}

/** Hints of the server speak of routes; who uses commands is told of commands. */
const HINTS: Readonly<Record<string, string>> = {
  DB_NOT_FOUND: "`skald db create <db>` makes it; `skald db list` shows those there are.",
  DOC_NOT_FOUND: "`skald doc put` makes it; `skald doc list` shows those there are.",
  UNAUTHENTICATED: "Give a token in SKALD_TOKEN, or use --dir on the server's own machine.",
  NAME_INVALID: "A document is named collection/key; `skald doc --help` shows examples.",
};

/** A problem document as an error. */
export function problemError(status: number, body: string): CliError {
  let problem: Record<string, unknown> = {};
  try {
    problem = JSON.parse(body) as Record<string, unknown>;
  } catch {
    // Something between here and the server answered in words of its own.
  }
  const {
    code,
    detail,
    hint,
    type: _type,
    title: _title,
    status: _status,
    request_id: _id,
    ...details
  } = problem;
  const name = typeof code === "string" ? code : `HTTP_${status}`;
  const said = HINTS[name] ?? (typeof hint === "string" ? hint : undefined);
  return new CliError(name, typeof detail === "string" ? detail : `The server answered ${status}.`, {
    details,
    ...(said === undefined ? {} : { hint: said }),
  });
}

/** Any thrown thing as an error with a code. */
export function asCliError(error: unknown): CliError {
  if (error instanceof CliError) return error;
  if (isSkaldError(error)) {
    return new CliError(error.code, error.message, {
      hint: HINTS[error.code] ?? error.hint,
      details: error.details,
      cause: error,
    });
  }
  const { code, message } = error as { code?: unknown; message?: unknown };
  return new CliError(typeof code === "string" ? code : "FAILED", String(message ?? error), { cause: error });
}

/** `code: detail`, what is wrong where, and the hint. */
export function failureText(error: CliError, withHint = true): string {
  const lines = [`${error.code}: ${error.message}`];
  const { errors } = error.details;
  if (Array.isArray(errors)) {
    for (const { pointer, message } of errors.slice(0, 20) as { pointer?: unknown; message?: unknown }[]) {
      lines.push(`  at ${JSON.stringify(pointer)}: ${String(message)}`);
    }
  }
  if (withHint && error.hint !== undefined) lines.push(error.hint);
  return lines.map(printable).join("\n");
}

/** Text from elsewhere must not steer the terminal it is shown on. */
export function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, "\uFFFD");
}
