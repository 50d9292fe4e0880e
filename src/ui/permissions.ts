/** What `GET /auth/me` answers. */
export interface Me {
  readonly kind: "person" | "token" | "operator";
  readonly id: string;
  readonly subject: string;
  readonly name: string;
  readonly admin: boolean;
  readonly dbs: readonly {
    readonly db_id: string;
    readonly role: string | null;
    readonly actions: readonly string[];
  }[];
  readonly can: {
    readonly create_db: boolean;
    readonly tokens: boolean;
    readonly people: boolean;
    readonly audit: boolean;
  };
  readonly session: { readonly expires: string } | null;
}

/** Whether to offer it. Where the answer does not say, it is offered: the server refuses what may not be. */
export function mayOn(me: Me, action: string, db: string): boolean {
  if (me.admin || me.kind === "operator") return true;
  const listed = me.dbs.filter(({ db_id }) => db_id === db || db_id === "*");
  if (listed.length === 0) return me.kind === "token";
  return listed.some(({ actions }) => actions.includes(action) || actions.includes("*"));
}
