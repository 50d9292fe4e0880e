export const EXPECTED: Readonly<Record<string, readonly string[]>>;
export function isExpected(kind: string, answer: string, weather?: readonly string[]): boolean;
export function isExpectedFailure(
  line: { readonly msg?: string; readonly err?: { readonly code?: string } },
  weather?: readonly string[],
): boolean;
