import { SkaldError } from "../errors.ts";

/** A schema that this server does not take: where, which keyword, and what belongs there. */
export function invalid(at: string, keyword: string, wanted: string): SkaldError {
  const pointer = `#${at}/${keyword}`.slice(0, 500);
  return new SkaldError(
    "JSON_SCHEMA_INVALID",
    `At "${pointer}": \`${keyword.slice(0, 80)}\` takes ${wanted}.`,
    {
      details: { pointer, keyword: keyword.slice(0, 80) },
    },
  );
}

export function unsupported(at: string, keyword: string): SkaldError {
  const pointer = `#${at}/${keyword}`.slice(0, 500);
  return new SkaldError(
    "JSON_SCHEMA_INVALID",
    `At "${pointer}": \`${keyword.slice(0, 80)}\` is no keyword that this server knows.`,
    { details: { pointer, keyword: keyword.slice(0, 80) } },
  );
}

/** A bound of a query that was reached. */
export function beyond(limit: string, max: number, what: string): SkaldError {
  return new SkaldError("QUERY_LIMIT", `The query reached its limit of ${max} ${what}.`, {
    details: { limit, max },
  });
}
