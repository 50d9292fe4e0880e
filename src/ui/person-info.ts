export type Role = "owner" | "editor" | "viewer";

export interface PersonInfo {
  readonly id: string;
  readonly subject: string;
  readonly name: string;
  readonly email: string | null;
  readonly disabled: boolean;
  readonly issuer: string;
  readonly sub: string;
  readonly admin: boolean;
  readonly admin_by: "configuration" | "provider" | "admin" | null;
  readonly created: string;
  readonly last_seen: string | null;
  readonly roles: readonly { readonly db_id: string; readonly role: Role }[];
}

export interface MemberInfo {
  readonly id: string;
  readonly subject: string;
  readonly name: string;
  readonly email: string | null;
  readonly disabled: boolean;
  readonly role: Role;
  readonly given: string;
  readonly giver: string;
}

export interface InvitationInfo {
  readonly id: string;
  readonly role: Role;
  readonly state: "open" | "used" | "expired" | "revoked" | "maker";
  readonly note: string | null;
  readonly created: string;
  readonly expires: string;
  readonly uses: number;
  readonly used: number;
}

/**
 * Whether being an admin can be changed here: what the settings or the provider's claim say comes back with the next
 * login. A server that does not know who says so is believed to let it be changed.
 */
export function adminIsOurs(person: Pick<PersonInfo, "admin_by">): boolean {
  return person.admin_by === null || person.admin_by === "admin";
}

/** A link as it is sent to somebody: a server that does not know its own name leaves out the host. */
export function wholeUrl(url: string, origin: string): string {
  return url.startsWith("/") ? origin + url : url;
}
