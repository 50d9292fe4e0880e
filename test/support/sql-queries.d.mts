import type Database from "better-sqlite3";

export interface ListedQuery {
  readonly name: string;
  readonly sql: string;
  readonly args?: readonly unknown[] | Readonly<Record<string, unknown>>;
}
export interface Edited {
  readonly name: string;
  /** Undefined: deleted. */
  readonly value?: object;
}
export const SCHEMA: readonly string[];
export const QUERIES: readonly ListedQuery[];
export function canonical(value: unknown): string;
export function oracleOf(documents: ReadonlyMap<string, object>): Database.Database;
export function answerOf(db: Database.Database, query: ListedQuery): { columns: string[]; rows: unknown[][] };
export function madeDocuments(random: () => number, films?: number, lands?: number): Map<string, object>;
export function madeMovie(random: () => number): Record<string, unknown>;
export function madeCountry(
  random: () => number,
  id: string,
  ids: readonly string[],
): Record<string, unknown>;
export function edited(documents: Map<string, object>, random: () => number, share?: number): Edited[];
