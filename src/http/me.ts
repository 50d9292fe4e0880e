import type * as z from "zod";
import type { Identity } from "../auth/identity.ts";
import { allows, type Principal } from "../auth/policy.ts";
import type { Me } from "../protocol/auth-wire.ts";
import { iso } from "./point.ts";
import type { Services } from "./route.ts";

type About = z.infer<typeof Me>;

/** Who somebody is and may, for a page that has to know what to offer. */
export function meOf(services: Services, { principal, by, session }: Identity): About {
  const { people, sessions } = services;
  const { id, subject } = principal;
  const person = id.startsWith("per_") ? people.get(id) : undefined;
  const expires = session === undefined ? undefined : sessions.live(session)?.expires;
  const can = (action: "db.admin" | "admin.token" | "admin.people"): boolean =>
    allows(principal, action, undefined);
  return {
    kind: person ? "person" : by === "operator" ? "operator" : by === "capability" ? "capability" : "token",
    id,
    subject,
    name: person?.name ?? subject,
    admin: principal.scopes.some(
      (scope) => scope.db === "*" && scope.action === "*" && scope.prefix === undefined,
    ),
    dbs: dbsOf(principal, person ? new Map(people.rolesOf(id).map(({ db, role }) => [db, role])) : new Map()),
    can: {
      create_db: can("db.admin"),
      tokens: can("admin.token"),
      people: can("admin.people"),
      audit: can("admin.people"),
    },
    session: expires === undefined ? null : { expires: iso(expires) },
  };
}

type Role = About["dbs"][number]["role"];

function dbsOf({ scopes }: Principal, roles: ReadonlyMap<string, Role>): About["dbs"] {
  const actions = new Map<string, Set<string>>([...roles.keys()].map((db) => [db, new Set()]));
  for (const { db, action, prefix } of scopes) {
    if (prefix !== undefined) continue;
    const known = actions.get(db) ?? new Set();
    actions.set(db, known.add(action));
  }
  return [...actions].map(([db, known]) => ({
    db_id: db,
    role: roles.get(db) ?? null,
    actions: [...known],
  }));
}
