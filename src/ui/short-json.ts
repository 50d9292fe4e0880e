/** A value as JSON of at most so many characters: in one line when it fits in one, else indented. */
export function shortJson(value: unknown, most: number): string {
  const line = JSON.stringify(value) ?? "";
  const text = line.length > 80 ? (JSON.stringify(value, undefined, 2) ?? "") : line;
  return text.length > most ? `${text.slice(0, most)}…` : text;
}
