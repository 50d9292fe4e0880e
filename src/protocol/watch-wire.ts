import * as z from "zod";
import { LIMITS } from "../limits.ts";
import { SqlArgs } from "./query-wire.ts";

const { query, feed } = LIMITS;

export const WatchRequest = z
  .strictObject({
    sql: z.string().meta({ description: "One SELECT, VALUES or WITH that reads." }),
    args: SqlArgs.optional(),
    branch: z
      .string()
      .max(query.pointCharacters.value)
      .optional()
      .meta({ description: "A branch; `main` when left out." }),
    delta: z.boolean().optional().meta({
      description: "An update says what leads from the rows before to those after, when that is shorter.",
    }),
    since: z.string().min(1).max(query.cursorCharacters.value).optional().meta({
      description: "The cursor of an event, to go on from it; or a place in the log whose result is known.",
    }),
    heartbeat: z.int().min(feed.heartbeatMsMin.value).max(feed.heartbeatMsMax.value).optional().meta({
      description: "Milliseconds of silence after which a sign of life is sent; 15000 when left out.",
    }),
  })
  .meta({ id: "WatchRequest" });
