import * as z from "zod";
import { Time } from "./wire.ts";

/** Shapes of signing in and of who somebody is. */

export const AuthInfo = z
  .strictObject({
    oidc: z
      .strictObject({ name: z.string() })
      .nullable()
      .meta({ description: "The identity provider; null when people cannot log in." }),
    dev: z
      .array(z.strictObject({ name: z.string(), hint: z.string() }))
      .nullable()
      .meta({ description: "People of a server that runs for development; null elsewhere." }),
    version: z.string(),
  })
  .meta({ id: "AuthInfo" });

export const Me = z
  .strictObject({
    kind: z.enum(["person", "token", "operator", "capability"]),
    id: z.string(),
    subject: z.string().meta({ description: "Author name in commits." }),
    name: z.string().meta({ description: "To show." }),
    admin: z.boolean(),
    dbs: z
      .array(
        z.strictObject({
          db_id: z.string().meta({ description: "`*`: every db." }),
          role: z.enum(["owner", "editor", "viewer"]).nullable(),
          actions: z.array(z.string()).meta({ description: "On the whole db; `*`: every action." }),
        }),
      )
      .meta({ description: "What the caller may on which db, as far as it needs no prefix." }),
    can: z.strictObject({
      create_db: z.boolean(),
      tokens: z.boolean(),
      people: z.boolean(),
      audit: z.boolean(),
    }),
    session: z
      .strictObject({ expires: Time })
      .nullable()
      .meta({ description: "Null for whoever sends a credential of its own." }),
  })
  .meta({ id: "Me" });

export const TokenLogin = z.strictObject({ token: z.string() }).meta({ id: "TokenLogin" });

export const Logout = z
  .strictObject({
    everywhere: z.boolean().optional().meta({ description: "End all sessions of the caller." }),
  })
  .meta({ id: "Logout" });

export const LoggedOut = z
  .strictObject({
    redirect: z
      .string()
      .nullable()
      .meta({ description: "Where the browser ends its session at the identity provider." }),
  })
  .meta({ id: "LoggedOut" });
