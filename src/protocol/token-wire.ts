import * as z from "zod";
import { LIMITS } from "../limits.ts";
import { Time } from "./wire.ts";

/** Tokens and capabilities as they travel. */

/** A scope in parts; as a text it is `db_id:action` or `db_id:action:resource_prefix`. */
export const ScopeParts = z
  .strictObject({
    db_id: z.string().min(1).meta({ description: "A db, or `*` for all of them." }),
    action: z.string().min(1).meta({ description: "An action, or `*` for all of them." }),
    resource_prefix: z
      .string()
      .nullable()
      .optional()
      .meta({ description: "Start of a resource's name, such as `notes/`; the whole db when left out." }),
  })
  .meta({ id: "Scope" });

export const TokenRequest = z
  .strictObject({
    label: z.string().min(1),
    subject: z.string().min(1).optional().meta({
      description: "Author of what is written with it; its id when left out. Needs `admin.token`.",
    }),
    scopes: z
      .array(z.union([z.string(), ScopeParts]))
      .min(1)
      .meta({ maxItems: LIMITS.token.scopes.value }),
    expires: z
      .string()
      .max(LIMITS.token.expiresCharacters.value)
      .optional()
      .meta({ description: "RFC 3339; never when left out." }),
  })
  .meta({ id: "TokenRequest" });

export const RotateRequest = z
  .strictObject({
    overlap_seconds: z
      .int()
      .min(0)
      .max(LIMITS.token.overlapSeconds.value)
      .meta({ description: "How long the token holds beside its successor; 0 ends it at once." }),
    expires: z.string().max(LIMITS.token.expiresCharacters.value).nullable().optional().meta({
      description: "Of the successor, RFC 3339 or null for never; that of the token when left out.",
    }),
  })
  .meta({ id: "RotateRequest" });

export const TokenInfo = z
  .object({
    id: z.string(),
    label: z.string(),
    subject: z.string(),
    scopes: z.array(z.string()),
    grants: z.array(ScopeParts).meta({ description: "The same scopes, in parts." }),
    created: Time,
    expires: Time.nullable(),
    revoked: Time.nullable(),
    last_used: Time.nullable(),
    made_by: z
      .object({ id: z.string(), subject: z.string() })
      .nullable()
      .meta({ description: "Who made it; null for the first one, and those of before this was kept." }),
    predecessor: z.string().nullable().meta({ description: "The token in whose place it came." }),
    successor: z.string().nullable().meta({ description: "The token that came in its place." }),
  })
  .meta({ id: "TokenInfo" });
export const TokenMade = TokenInfo.extend({
  token: z.string().meta({ description: "Shown this once." }),
}).meta({ id: "TokenMade" });
export const TokenList = z.object({ tokens: z.array(TokenInfo) });

const Did = z.string().meta({ description: "A did, such as `did:key:z6Mk…`." });
const UcanCid = z.string().meta({ description: "Canonical address of a UCAN: CIDv1, raw, SHA-256, base32." });

export const CapabilityServer = z
  .object({
    version: z.string().meta({ description: "Of the UCAN specification." }),
    did: Did,
    audiences: z.array(Did).meta({ description: "To whom a capability may be made out to hold here." }),
  })
  .meta({ id: "CapabilityServer" });

export const CapabilityOwnerRequest = z.strictObject({ did: Did }).meta({ id: "CapabilityOwnerRequest" });
export const CapabilityOwner = z
  .object({
    owner: z
      .object({ did: Did, time: Time, by: z.string() })
      .nullable()
      .meta({ description: "Null: no capability holds for the db." }),
    did: Did,
    audiences: z.array(Did),
  })
  .meta({ id: "CapabilityOwner" });

export const RevocationRequest = z.strictObject({ cid: UcanCid }).meta({ id: "RevocationRequest" });
export const Revocation = z.object({ cid: UcanCid, time: Time, by: z.string() }).meta({ id: "Revocation" });
export const RevocationList = z
  .object({ revocations: z.array(Revocation), cursor: z.string().nullable() })
  .meta({ id: "RevocationList" });
