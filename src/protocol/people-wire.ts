import * as z from "zod";
import { LIMITS } from "../limits.ts";
import { Time } from "./wire.ts";

/** Shapes of people, their roles and invitations. */

const { person, invitation } = LIMITS;

export const RoleName = z.enum(["viewer", "editor", "owner"]).meta({
  id: "Role",
  description:
    "`viewer` reads; `editor` writes documents, by SQL, on branches and by sync as well; `owner` does all there is to do with the db, which includes deleting it and saying who else may.",
});

const PersonId = z
  .string()
  .meta({ description: "`per_` and 20 hex digits.", example: "per_0123456789abcdef0123" });
const common = {
  id: PersonId,
  subject: z
    .string()
    .meta({ description: "The author name in commits; never changes.", example: "ada#3f9a1c0d" }),
  name: z
    .string()
    .meta({ description: "For reading only: the provider's or one set here, verified by nobody." }),
  email: z.string().nullable().meta({ description: "One that the provider has verified." }),
  disabled: z.boolean(),
};

export const PersonInfo = z
  .object({
    ...common,
    issuer: z.string().meta({ description: "With `sub`, who the person is to the provider." }),
    sub: z.string(),
    admin: z.boolean(),
    admin_by: z.enum(["configuration", "provider", "admin"]).nullable().meta({
      description:
        "What decides it: the server's settings, the provider's claim (which may say no), or an administrator here. Only the last can be changed here.",
    }),
    created: Time,
    last_seen: Time.nullable().meta({ description: "The last login." }),
    roles: z.array(z.object({ db_id: z.string(), role: RoleName })),
  })
  .meta({ id: "PersonInfo" });
export const PersonList = z.object({ people: z.array(PersonInfo) });

export const PersonChange = z
  .strictObject({
    admin: z.boolean().optional(),
    disabled: z
      .boolean()
      .optional()
      .meta({ description: "Ends all that the person has open, and lets it in no more." }),
    name: z
      .string()
      .max(4 * person.nameCharacters.value)
      .nullable()
      .optional()
      .meta({ description: "The name that is shown; null for the provider's." }),
  })
  .meta({ id: "PersonChange", description: "What is left out stays as it is." });

export const RoleRequest = z.strictObject({ role: RoleName }).meta({ id: "RoleRequest" });
export const MemberInfo = z
  .object({
    ...common,
    role: RoleName,
    given: Time,
    giver: z.string().meta({ description: "Id of the principal who gave the role." }),
  })
  .meta({ id: "MemberInfo" });
export const MemberList = z.object({ people: z.array(MemberInfo) });

export const InvitationRequest = z
  .strictObject({
    role: RoleName,
    expires_in: z.int().min(1).max(invitation.expiresSeconds.value).optional().meta({
      description: "Seconds; a week when left out.",
    }),
    uses: z.int().min(1).max(invitation.uses.value).optional().meta({
      description: "How many people it is for; 1 when left out.",
    }),
    note: z
      .string()
      .optional()
      .meta({ description: "For whom or what; whoever administers the db sees it." }),
  })
  .meta({ id: "InvitationRequest" });
export const InvitationInfo = z
  .object({
    id: z.string(),
    role: RoleName,
    state: z.enum(["open", "used", "expired", "revoked", "maker"]).meta({
      description: "`maker`: whoever made it may not invite any more, so it does not hold.",
    }),
    maker: z.string().meta({ description: "Id of the principal who made it." }),
    note: z.string().nullable(),
    created: Time,
    expires: Time,
    uses: z.int(),
    used: z.int().meta({ description: "People who got a role by it." }),
  })
  .meta({ id: "InvitationInfo" });
export const InvitationMade = InvitationInfo.extend({
  url: z.string().meta({
    description:
      "Shown this once. The secret stands behind the `#`, so that no server is sent it. Without a host when the server does not know its own.",
  }),
}).meta({ id: "InvitationMade" });
export const InvitationList = z.object({ invitations: z.array(InvitationInfo) });
export const InvitationAccept = z.strictObject({ secret: z.string() }).meta({ id: "InvitationAccept" });
export const InvitationAccepted = z
  .object({
    db_id: z.string(),
    role: RoleName.meta({ description: "What the person is now." }),
    changed: z.boolean().meta({ description: "False for whoever had this role or a higher one." }),
  })
  .meta({ id: "InvitationAccepted" });
