import * as z from "zod";
import { CursorText, Time } from "./wire.ts";

/** Shapes of the audit log's route. */

export const AuditItem = z
  .strictObject({
    id: z
      .string()
      .meta({ description: "Key of its document in the collection `entries` of the db `_audit`." }),
    time: Time,
    who: z.string().meta({ description: "Id of a token or a person; `local`, `nobody` or `server`." }),
    subject: z.string().nullable().meta({ description: "Author name of `who`, when it has one." }),
    action: z.string().meta({ description: "What was done.", example: "token.create" }),
    db: z.string().nullable(),
    detail: z.string().nullable(),
    address: z.string().nullable().meta({ description: "Where it came from." }),
    request_id: z.string().nullable(),
    count: z.int().meta({ description: "How often, of what is summed up." }),
  })
  .meta({ id: "AuditEntry", description: "Something that was done on this server." });

export const AuditList = z
  .strictObject({ entries: z.array(AuditItem), cursor: CursorText.nullable() })
  .meta({ id: "AuditList", description: "Entries of the audit log, newest first." });
