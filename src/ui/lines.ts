/** How far long work is, 0 to 1; undefined when the line does not say. */
export function shareOf(line: Readonly<Record<string, unknown>>): number | undefined {
  const done = line["done"] ?? line["checked"];
  const { of } = line;
  if (typeof done !== "number" || typeof of !== "number") return undefined;
  return of <= 0 ? 1 : Math.min(1, Math.max(0, done / of));
}
