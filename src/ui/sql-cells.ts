import { itemTexts, memberTexts } from "../protocol/json-source.ts";

/** A value of a row as it is shown: an integer with all its digits, whatever a JavaScript number makes of them. */
export interface Cell {
  readonly kind: "null" | "integer" | "real" | "text" | "blob";
  /** What it is in full; of a blob its base64. */
  readonly text: string;
}

const NULL: Cell = { kind: "null", text: "" };

/** The cells of a row that is a JSON list. */
export function cellsOf(row: string): Cell[] {
  return itemTexts(row).map(cellOf);
}

function cellOf(text: string): Cell {
  const first = text[0];
  if (first === '"') return { kind: "text", text: JSON.parse(text) as string };
  if (first === "n") return NULL;
  if (first === "{")
    return { kind: "blob", text: (JSON.parse(text) as { "/": { bytes: string } })["/"].bytes };
  if (/[.eE]/.test(text)) return { kind: "real", text: realText(text) };
  return { kind: "integer", text };
}

/** A watch tells 2.0 from 2, an answer does not: both are shown alike. */
function realText(text: string): string {
  const value = Number(text);
  return Number.isFinite(value) ? String(value) : value > 0 ? "Infinity" : "-Infinity";
}

/** In a line of a table: whatever would break the line is a space, what is long ends early. */
export function shortText({ kind, text }: Cell, most = 300): string {
  if (kind === "null") return "NULL";
  if (kind === "blob") return `${Math.floor((text.length * 3) / 4)} bytes`;
  const line = text.slice(0, most + 1).replaceAll(/\s+/g, " ");
  return line.length > most ? `${line.slice(0, most)}…` : line;
}

/** As a number; undefined for what is none, and for what is too large to be drawn. */
export function numberOf({ kind, text }: Cell): number | undefined {
  if (kind !== "integer" && kind !== "real") return undefined;
  const value = Number(text);
  return Number.isFinite(value) ? value : undefined;
}

/** An answer of `query/exec`, of a statement that gives rows or of one that writes. */
export interface SqlResult {
  readonly columns: readonly string[];
  readonly types: readonly (string | null)[];
  readonly rows: readonly string[];
  readonly seq: number;
  readonly commit: string | null;
  readonly cursor: string;
  /** Of a statement that writes. */
  readonly changed: number | undefined;
  readonly duplicate: boolean;
}

/** @param text the answer as JSON. Rows stay texts until they are looked at. */
export function sqlResultOf(text: string): SqlResult {
  const members = memberTexts(text);
  const read = <T>(name: string, without: T): T => {
    const found = members.get(name);
    return found === undefined ? without : (JSON.parse(found) as T);
  };
  return {
    columns: read<string[]>("columns", []),
    types: read<(string | null)[]>("types", []),
    rows: itemTexts(members.get("rows") ?? "[]"),
    seq: read("seq", 0),
    commit: read<string | null>("commit", null),
    cursor: read("cursor", ""),
    changed: read<number | undefined>("rows_affected", undefined),
    duplicate: read("duplicate", false),
  };
}

/** How wide each column wants to be, in characters, by its name, its type and what is in it. */
export function columnWidths(
  columns: readonly string[],
  types: readonly (string | null)[],
  rows: readonly { readonly row: readonly Cell[] }[],
): number[] {
  return columns.map((name, i) => {
    const heads = name.length + (types[i]?.length ?? 0) * 0.8 + 2;
    const longest = rows.reduce((most, { row }) => {
      const cell = row[i];
      return cell ? Math.max(most, shortText(cell, WIDEST).length) : most;
    }, 0);
    return Math.round(Math.min(WIDEST, Math.max(NARROWEST, heads, longest + 1)));
  });
}

const NARROWEST = 7;
const WIDEST = 44;
