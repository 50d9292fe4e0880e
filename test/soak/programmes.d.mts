export const PROGRAMMES: Readonly<
  Record<
    string,
    {
      readonly tests: readonly string[];
      readonly env: Readonly<Record<string, string>>;
      readonly draws?: boolean;
    }
  >
>;
export function environmentOf(
  name: string,
  seed: string | undefined,
  own?: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string>>;
