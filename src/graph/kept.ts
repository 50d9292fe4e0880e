import { SkaldError } from "../errors.ts";

/** Places that watches keep between evaluations, against how many they may. */
export interface Kept {
  places: number;
  /** How often any of them was worked out, whole or in part. */
  evaluations: number;
  readonly most: number;
}

export function busy(most: number): SkaldError {
  return new SkaldError("QUERY_BUSY", `The graph watches of this server keep ${most} places already.`, {
    details: { limit: "watchedPlaces", max: most },
  });
}
