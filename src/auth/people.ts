import { SkaldError } from "../errors.ts";
import { toHex } from "../ids/hash.ts";
import { named, openSqlite, type Sqlite } from "../store/sqlite.ts";
import { WriteGate } from "../store/write-gate.ts";
import { realWorld, type World } from "../world.ts";
import { Invitations } from "./invitations.ts";
import {
  checkProviderId,
  handleOf,
  likenessOf,
  shownLine,
  subjectOf,
  sumOfPerson,
  sumOfRole,
  verifiedEmail,
  type Person,
  type PersonRow,
  type RoleRow,
} from "./person-record.ts";
import type { Principal, Scope } from "./policy.ts";
import { ADMIN_SCOPES, scopesOfRole, type Role } from "./roles.ts";

export type { Person } from "./person-record.ts";

/**
 * The people of a server and their roles, in its service file.
 * Invariants: a person is whom one issuer names by one `sub`, and nothing else makes two logins the same person; an
 * author name is given once and never changes; what is in memory of a person never outlives a change of the person
 * (one process owns the file, and this is its only writer of people); a role ends with the db it was given in.
 */
export interface PeopleOptions {
  readonly world?: World;
  /** Admins by the server's settings: what one issuer calls them. */
  readonly fixedAdmins?: { readonly issuer: string; readonly subs: readonly string[] } | undefined;
  /** Whether the settings name an admin claim: without one, what a provider said before is not asked. Default true. */
  readonly adminClaim?: boolean;
}

export interface Login {
  readonly issuer: string;
  readonly sub: string;
  /** `name`, `preferred_username`, `email` and `email_verified` are read. */
  readonly claims: Readonly<Record<string, unknown>>;
  /** What the provider's admin claim says; undefined: none is configured. */
  readonly admin?: boolean | undefined;
}

/** What somebody is in a db. */
export interface RoleOf {
  readonly person: Person;
  readonly role: Role;
  /** Milliseconds since 1970. */
  readonly given: number;
  /** Id of the principal who gave it. */
  readonly giver: string;
}

interface Known {
  principal: Principal;
  stale: boolean;
}

const KNOWN_MAX = 10_000;
const FOUND = "SELECT * FROM person WHERE id = ? AND deleted IS NULL";

export class People {
  readonly invitations: Invitations;
  readonly #file: string;
  readonly #sqlite: Sqlite;
  readonly #gate: WriteGate;
  readonly #world: World;
  readonly #fixed: PeopleOptions["fixedAdmins"];
  readonly #claimed: boolean;
  readonly #known = new Map<string, Known>();
  /** For an older principal of a person: the one that it was last compared with and found to agree with. */
  readonly #holds = new WeakMap<Principal, Principal>();
  readonly #listeners = new Set<(id: string) => void>();

  /** Opens the service file, new when it is missing. Throws as `openSqlite` does. */
  constructor(file: string, options: PeopleOptions = {}) {
    this.#file = file;
    this.#world = options.world ?? realWorld;
    this.#fixed = options.fixedAdmins;
    this.#claimed = options.adminClaim ?? true;
    this.#sqlite = openSqlite(file, { kind: "service", create: true });
    this.#gate = new WriteGate(this.#sqlite, file);
    this.invitations = new Invitations(this, this.#sqlite, this.#gate, file, this.#world);
  }

  /**
   * The person who logs in, made at the first login. Name, address and what the admin claim says are as they are now.
   * Throws PERSON_DISABLED, BAD_REQUEST (an issuer or `sub` that cannot be kept as it is).
   */
  seen({ issuer, sub, claims, admin }: Login): Person {
    checkProviderId("issuer", issuer);
    checkProviderId("sub", sub);
    const found = this.#row("SELECT * FROM person WHERE issuer = ? AND provider_sub = ?", issuer, sub);
    if (found?.disabled === 1) throw new SkaldError("PERSON_DISABLED", "This account is disabled here.");
    const now = this.#world.now();
    const row = found ?? this.#newRow(issuer, sub, claims, now);
    const next: PersonRow = {
      ...row,
      name: shownLine(claims["name"]) || shownLine(claims["preferred_username"]) || row.subject,
      email: verifiedEmail(claims),
      claimed_admin: admin === undefined ? null : Number(admin),
      last_seen: now,
    };
    this.#put(next);
    return this.#person(next);
  }

  get(id: string): Person | undefined {
    const row = this.#row(FOUND, id);
    return row && this.#person(row);
  }

  /**
   * Who the person is to what decides rights; undefined when there is none of this id, or it is disabled. Called for
   * each request: a known person costs one lookup in memory. The same object for as long as nothing of it changes.
   */
  principal(id: string): Principal | undefined {
    const known = this.#known.get(id);
    return known?.stale === false ? known.principal : this.#look(id, known);
  }

  /**
   * Whether a principal of a person is still what the person is, in the dbs that it had to do with: asked by whatever
   * stays open. More rights end it as fewer do, so that whoever comes again has them; a role in one more db does not.
   */
  holds(principal: Principal): boolean {
    const now = this.principal(principal.id);
    if (now === principal) return true;
    if (!now || now.subject !== principal.subject) return false;
    if (this.#holds.get(principal) === now) return true;
    const dbs = new Set(principal.scopes.map(({ db }) => db));
    const still = now.scopes.filter(({ db }) => dbs.has(db) || db === "*");
    if (JSON.stringify(still) !== JSON.stringify(principal.scopes)) return false;
    this.#holds.set(principal, now);
    return true;
  }

  /** Everybody who has ever logged in and was not deleted, oldest first. */
  list(): Person[] {
    const rows = this.#all("SELECT * FROM person WHERE deleted IS NULL ORDER BY rowid") as PersonRow[];
    return rows.map((row) => this.#person(this.#sound(row)));
  }

  /** Who has a role in a db, highest role first, then in the order of their names. */
  roles(db: string): RoleOf[] {
    const rows = this.#all("SELECT * FROM role WHERE db_id = ?", db) as RoleRow[];
    return rows
      .flatMap((row) => {
        this.#soundRole(row);
        const person = this.get(row.person);
        return person ? [{ person, role: row.role, given: row.given, giver: row.giver }] : [];
      })
      .toSorted((a, b) => ORDER[a.role] - ORDER[b.role] || (a.person.name < b.person.name ? -1 : 1));
  }

  /** The roles of a person, in the order of the dbs. */
  rolesOf(id: string): { readonly db: string; readonly role: Role }[] {
    const rows = this.#all("SELECT * FROM role WHERE person = ? ORDER BY db_id", id) as RoleRow[];
    return rows.map((row) => ({ db: this.#soundRole(row).db_id, role: row.role }));
  }

  /**
   * Gives a person a role in a db, or takes it away with null. Throws PERSON_NOT_FOUND, DB_NOT_FOUND, STORAGE_FULL,
   * STORAGE_FAILED. `giver` is the id of the principal who does it.
   */
  set(db: string, id: string, role: Role | null, giver: string): void {
    if (!this.#row(FOUND, id)) throw noPerson();
    // The db may be on its way out: then its roles are gone before anybody asks for them.
    if (this.#all("SELECT 1 FROM db WHERE db_id = ? AND state = 'ready'", db).length === 0)
      throw new SkaldError("DB_NOT_FOUND", `There is no db ${db}.`, { details: { db } });
    this.#write(id, () => this.putRole(db, id, role, giver));
  }

  /** For what is part of a larger write; whoever calls it says `changed` afterwards. */
  putRole(db: string, id: string, role: Role | null, giver: string): void {
    if (role === null) {
      this.#sqlite.prepare("DELETE FROM role WHERE db_id = ? AND person = ?").run(db, id);
      return;
    }
    const row = { db_id: db, person: id, role, given: this.#world.now(), giver };
    this.#sqlite
      .prepare(
        "INSERT OR REPLACE INTO role (db_id, person, role, given, giver, sum) VALUES (?, ?, ?, ?, ?, ?)",
      )
      .run(db, id, role, row.given, giver, sumOfRole(row));
  }

  /**
   * Makes somebody an admin or no admin, disables or enables, or gives another display name (null: the provider's).
   * Throws PERSON_NOT_FOUND, ADMIN_FIXED (settings or the provider decide), LAST_ADMIN.
   */
  change(
    id: string,
    wanted: {
      readonly admin?: boolean | undefined;
      readonly disabled?: boolean | undefined;
      readonly name?: string | null | undefined;
    },
  ): Person {
    const row = this.#row(FOUND, id);
    if (!row) throw noPerson();
    const before = this.#person(row);
    if (wanted.admin !== undefined && wanted.admin !== before.admin && isFixed(before)) throw fixed(before);
    if (wanted.disabled === true && before.adminBy === "configuration") throw fixed(before);
    const next: PersonRow = {
      ...row,
      given_admin: wanted.admin === undefined || isFixed(before) ? row.given_admin : Number(wanted.admin),
      disabled: wanted.disabled === undefined ? row.disabled : Number(wanted.disabled),
      given_name:
        wanted.name === undefined ? row.given_name : wanted.name && (shownLine(wanted.name) || null),
    };
    const after = this.#person(next);
    if (acts(before) && !acts(after)) this.#checkLast(id);
    this.#put(next);
    return after;
  }

  /**
   * Forgets a person but for the id and the author name; the roles go. Whoever logs in again as this person is
   * somebody new. Throws PERSON_NOT_FOUND, LAST_ADMIN.
   */
  remove(id: string): void {
    const row = this.#row(FOUND, id);
    if (!row) throw noPerson();
    if (acts(this.#person(row))) this.#checkLast(id);
    const gone = { ...BLANK, id, subject: row.subject, likeness: row.likeness, created: row.created };
    this.#write(id, () => {
      this.#sqlite.prepare("DELETE FROM role WHERE person = ?").run(id);
      this.#putRow({ ...gone, deleted: this.#world.now() });
    });
  }

  /** A db is gone, and with it the roles in it: the list of dbs takes them out together with it. */
  dbGone(): void {
    for (const id of this.#known.keys()) this.changed(id);
  }

  /** Calls `listener` with the id of whoever's rights may have changed. Gives what ends it. */
  onChange(listener: (id: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What is in memory of a person is not asked any more. */
  changed(id: string): void {
    const known = this.#known.get(id);
    if (known) known.stale = true;
    for (const listener of this.#listeners) listener(id);
  }

  close(): void {
    this.#known.clear();
    if (this.#sqlite.open) this.#gate.close();
  }

  #look(id: string, before: Known | undefined): Principal | undefined {
    const row = this.#row(FOUND, id);
    if (!row || row.disabled === 1) {
      this.#known.delete(id);
      return undefined;
    }
    const scopes: readonly Scope[] = this.#person(row).admin
      ? ADMIN_SCOPES
      : Object.freeze(this.rolesOf(id).flatMap(({ db, role }) => scopesOfRole(db, role)));
    const same =
      before?.principal.subject === row.subject &&
      JSON.stringify(before.principal.scopes) === JSON.stringify(scopes);
    const principal = same ? before.principal : Object.freeze({ id, subject: row.subject, scopes });
    if (this.#known.size >= KNOWN_MAX) this.#known.clear();
    this.#known.set(id, { principal, stale: false });
    return principal;
  }

  #newRow(issuer: string, sub: string, claims: Login["claims"], now: number): PersonRow {
    const wanted = handleOf(claims);
    const likeness = wanted === "" ? null : likenessOf(wanted);
    const taken =
      likeness !== null && this.#all("SELECT 1 FROM person WHERE likeness = ?", likeness).length > 0;
    const handle = taken ? "" : wanted;
    const author = (): string => subjectOf(handle, toHex(this.#world.random(4)));
    const used = (name: string): boolean =>
      this.#all(
        "SELECT 1 FROM person WHERE subject = ? UNION ALL SELECT 1 FROM token WHERE subject = ?",
        name,
        name,
      ).length > 0;
    let subject = author();
    while (used(subject)) subject = author();
    return {
      ...BLANK,
      id: `per_${toHex(this.#world.random(10))}`,
      issuer,
      provider_sub: sub,
      subject,
      likeness: handle === "" ? null : likeness,
      created: now,
    };
  }

  #person(row: PersonRow): Person {
    const issuer = row.issuer ?? "";
    const sub = row.provider_sub ?? "";
    const configured = this.#fixed?.issuer === issuer && this.#fixed.subs.includes(sub);
    const claimed = this.#claimed ? row.claimed_admin : null;
    return {
      id: row.id,
      issuer,
      sub,
      subject: row.subject,
      name: row.given_name ?? row.name,
      email: row.email,
      admin: configured || (claimed ?? row.given_admin) === 1,
      adminBy: configured
        ? "configuration"
        : claimed !== null
          ? "provider"
          : row.given_admin === 1
            ? "admin"
            : null,
      disabled: row.disabled === 1,
      created: row.created,
      lastSeen: row.last_seen,
    };
  }

  #checkLast(id: string): void {
    if (!this.list().some((person) => person.id !== id && acts(person)))
      throw new SkaldError("LAST_ADMIN", "This is the last administrator who can log in.");
  }

  #put(row: PersonRow): void {
    this.#write(row.id, () => this.#putRow(row));
  }

  #putRow(row: Omit<PersonRow, "sum">): void {
    const names = Object.keys(BLANK).filter((name) => name !== "sum");
    const values = names.map((name) => row[name as keyof typeof row]);
    this.#sqlite
      .prepare(
        `INSERT INTO person (${names.join()}, sum) VALUES (${names.map(() => "?").join()}, ?)
         ON CONFLICT (id) DO UPDATE SET ${[...names, "sum"].map((name) => `${name} = excluded.${name}`).join()}`,
      )
      .run(...values, sumOfPerson(row));
  }

  /** Before and after: when the write fails its outcome is unknown, and the file then decides. */
  #write(id: string, work: () => void): void {
    this.changed(id);
    this.#gate.run(() => this.#sqlite.transaction(work).immediate());
    this.changed(id);
  }

  #row(sql: string, ...args: readonly string[]): PersonRow | undefined {
    const [row] = this.#all(sql, ...args) as PersonRow[];
    return row && this.#sound(row);
  }

  #all(sql: string, ...args: readonly string[]): unknown[] {
    return named(this.#file, () => this.#sqlite.prepare(sql).all(...args));
  }

  /** Throws DB_DAMAGED when a row is not as it was written: a flipped bit must not give anybody a right. */
  #sound(row: PersonRow): PersonRow {
    if (row.sum === sumOfPerson(row)) return row;
    throw this.#damaged(`the person ${row.id}`);
  }

  #soundRole(row: RoleRow): RoleRow {
    if (row.sum === sumOfRole(row)) return row;
    throw this.#damaged(`the role of ${row.person} in ${row.db_id}`);
  }

  #damaged(what: string): SkaldError {
    return new SkaldError("DB_DAMAGED", `What ${this.#file} says of ${what} is damaged.`, {
      details: { file: this.#file },
      hint: "Put service.sqlite back from a backup.",
    });
  }
}

const BLANK: PersonRow = {
  id: "",
  issuer: null,
  provider_sub: null,
  subject: "",
  likeness: null,
  name: "",
  email: null,
  claimed_admin: null,
  given_admin: 0,
  given_name: null,
  disabled: 0,
  created: 0,
  deleted: null,
  last_seen: null,
  sum: 0,
};

const ORDER: Readonly<Record<Role, number>> = { owner: 0, editor: 1, viewer: 2 };

const acts = (person: Person): boolean => person.admin && !person.disabled;

const isFixed = ({ adminBy }: Person): boolean => adminBy === "configuration" || adminBy === "provider";

function fixed({ adminBy }: Person): SkaldError {
  return new SkaldError(
    "ADMIN_FIXED",
    adminBy === "configuration"
      ? "The server's settings make this person an administrator."
      : "The provider's claim says whether this person is an administrator.",
  );
}

function noPerson(): SkaldError {
  return new SkaldError("PERSON_NOT_FOUND", "No person has this id.");
}
