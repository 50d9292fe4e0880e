/** What is known of an assertion: three values, as Kleene has them. */

/** In the order in which a conjunction takes the least of them. */
export const NO = 0;
export const MAYBE = 1;
export const YES = 2;
export type Truth = typeof NO | typeof MAYBE | typeof YES;

export type Operator = "all" | "any" | "one" | "not";

/** What has to hold of some assertions together, and how many of them are what. */
export interface Group {
  readonly operator: Operator;
  readonly counts: [number, number, number];
}

export function truthOf({ operator, counts: [no, maybe, yes] }: Group): Truth {
  switch (operator) {
    case "all":
      return no > 0 ? NO : maybe > 0 ? MAYBE : YES;
    case "any":
      return yes > 0 ? YES : maybe > 0 ? MAYBE : NO;
    case "not":
      return yes > 0 ? NO : maybe > 0 ? MAYBE : YES;
    case "one":
      if (yes > 1) return NO;
      return maybe > 0 ? MAYBE : yes === 1 ? YES : NO;
  }
}
