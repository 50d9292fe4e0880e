import { itemTexts, memberTexts } from "../protocol/json-source.ts";
import { printable } from "./failure.ts";

/** A row as the texts of its values, so that no number is read and written again. */
export type RowTexts = readonly string[];

export interface AnswerTexts {
  readonly columns: readonly string[];
  readonly rows: readonly RowTexts[];
}

/** The columns and rows of an answer; undefined when it has none. */
export function answerTexts(text: string): AnswerTexts | undefined {
  const members = memberTexts(text);
  const columns = members.get("columns");
  const rows = members.get("rows");
  if (columns === undefined || rows === undefined) return undefined;
  return { columns: JSON.parse(columns) as string[], rows: itemTexts(rows).map((row) => itemTexts(row)) };
}

/** A row as the text of a JSON object; of columns with one name the later ones are `name_2`, `name_3`. */
export function objectText(names: readonly string[], row: RowTexts): string {
  return `{${row.map((value, i) => `${JSON.stringify(names[i])}:${value}`).join()}}`;
}

export function distinctNames(columns: readonly string[]): string[] {
  const used = new Set<string>();
  return columns.map((column) => {
    let name = column;
    for (let n = 2; used.has(name); n += 1) name = `${column}_${n}`;
    used.add(name);
    return name;
  });
}

/**
 * Rows for people: columns aligned, numbers to the right, a rule below the names. In `width` columns (of a
 * terminal) what does not fit is cut off and ends with `…`.
 */
export function sqlTable({ columns, rows }: AnswerTexts, width = Infinity): string {
  const cells = rows.map((row) => row.map(cellOf));
  const names = columns.map(printable);
  const numeric = names.map((_, i) => rows.every((row) => /^(?:-?\d|null)/.test(row[i] ?? "null")));
  const wanted = names.map((name, i) => Math.max(1, name.length, ...cells.map((row) => row[i]?.length ?? 0)));
  const widths = fitted(wanted, width - GAP.length * (names.length - 1));
  const line = (row: readonly string[]): string =>
    `${row
      .map((cell, i) => {
        const most = widths[i] as number;
        const shown = cell.length > most ? `${cell.slice(0, most - 1)}…` : cell;
        return numeric[i] ? shown.padStart(most) : shown.padEnd(most);
      })
      .join(GAP)
      .trimEnd()}\n`;
  return line(names) + line(widths.map((most) => "-".repeat(most))) + cells.map(line).join("");
}

const GAP = "  ";

/** Takes from the widest column as long as they do not fit. */
function fitted(wanted: readonly number[], most: number): number[] {
  const widths = [...wanted];
  for (let over = widths.reduce((sum, width) => sum + width, 0) - most; over > 0;) {
    const widest = Math.max(...widths);
    if (widest <= LEAST_WIDTH) break;
    const at = widths.indexOf(widest);
    const second = Math.max(LEAST_WIDTH, ...widths.filter((_, i) => i !== at));
    const cut = Math.min(over, Math.max(1, widest - second));
    widths[at] = widest - cut;
    over -= cut;
  }
  return widths;
}

const LEAST_WIDTH = 8;

function cellOf(text: string): string {
  if (text === "null") return "NULL";
  return printable(text.startsWith('"') ? (JSON.parse(text) as string) : text);
}
