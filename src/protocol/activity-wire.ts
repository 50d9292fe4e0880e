import * as z from "zod";
import { Time } from "./wire.ts";

export const ActivitySpan = z.enum(["hour", "day", "week", "month"]);

/** How many commits a db had in each of equal steps of time. */
export const Activity = z
  .object({
    from: Time,
    to: Time,
    step_ms: z.int(),
    commits: z
      .array(z.int())
      .meta({ description: "Of each step, oldest first; merges and branches included." }),
    seq: z.int(),
  })
  .meta({ id: "Activity" });
