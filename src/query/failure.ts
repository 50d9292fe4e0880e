import { SkaldError } from "../errors.ts";

/** The error of a statement, from what SQLite and better-sqlite3 throw. `sql`: the statement, for `offset`. */
export function failureOf(error: unknown, sql = ""): SkaldError {
  if (error instanceof SkaldError) return error;
  const { name, message, code = name } = error as Error & { code?: string };
  if (code === "SQLITE_NOMEM") return memoryLimit();
  if (code === "SQLITE_TOOBIG")
    return new SkaldError("QUERY_LIMIT", "A text or a blob of the statement became too long.", {
      details: { limit: "memory" },
    });
  if (code.startsWith("SQLITE_BUSY")) return new SkaldError("QUERY_BUSY", "The tables are being written.");
  if (code.startsWith("SQLITE_READONLY") || code === "SQLITE_AUTH")
    return new SkaldError("SQL_NOT_ALLOWED", `The statement may not do that: ${message}.`);
  if (code.startsWith("SQLITE_CONSTRAINT")) return new SkaldError("SQL_CONSTRAINT", `${message}.`);
  if (DAMAGED.test(code))
    return new SkaldError("DERIVED_DAMAGED", `The tables cannot be read: ${message} (${code}).`);
  if (code.startsWith("SQLITE_") || BINDING.has(name)) {
    const offset = offsetOf(message, sql);
    return new SkaldError("SQL_ERROR", message, { details: offset === undefined ? {} : { offset } });
  }
  return new SkaldError("INTERNAL", `A query process failed: ${message}`, { cause: error });
}

export function memoryLimit(cause?: unknown): SkaldError {
  return new SkaldError("QUERY_LIMIT", "The statement needed more memory than one may take.", {
    details: { limit: "memory" },
    cause,
  });
}

const DAMAGED = /^SQLITE_(?:CORRUPT|NOTADB|CANTOPEN|IOERR|FULL)/;
/** What better-sqlite3 throws for arguments that do not fit, and for several statements in one text. */
const BINDING: ReadonlySet<string> = new Set(["RangeError", "TypeError"]);

/** Where the token is that SQLite names, when there is only one such. */
function offsetOf(message: string, sql: string): number | undefined {
  const token = /^near "((?:[^"]|"")*)": /.exec(message)?.[1];
  if (token === undefined || token === "") return undefined;
  const at = sql.indexOf(token);
  return at < 0 || sql.includes(token, at + 1) ? undefined : at;
}
