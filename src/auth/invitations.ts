import { SkaldError } from "../errors.ts";
import { fromHex, sha256Hex, toHex } from "../ids/hash.ts";
import { LIMITS } from "../limits.ts";
import { rowSum } from "../store/row-sum.ts";
import { named, type Sqlite } from "../store/sqlite.ts";
import type { WriteGate } from "../store/write-gate.ts";
import type { World } from "../world.ts";
import { isPersonId } from "./person-record.ts";
import { allows, type Principal } from "./policy.ts";
import { atLeast, type Role } from "./roles.ts";
import { checkLine } from "./token-record.ts";

/**
 * Links that give whoever logs in with them a role in a db.
 * Invariants: the secret of a link is stored nowhere, only its SHA-256; a person gets a role by an invitation once, so
 * that one who was sent away does not come back by it; no role becomes a lower one; an invitation of a person holds
 * for as long as that person may invite.
 */
export interface Invitation {
  /** `inv_` and 20 hex digits. */
  readonly id: string;
  readonly db: string;
  readonly role: Role;
  /** Id of the principal who made it. */
  readonly maker: string;
  readonly note: string | null;
  /** Milliseconds since 1970, as are all times. */
  readonly created: number;
  readonly expires: number;
  /** How many people it is for, and how many got a role by it. */
  readonly uses: number;
  readonly used: number;
  /** Whether it can be accepted, or why not. */
  readonly state: "open" | "used" | "expired" | "revoked" | "maker";
}

export interface NewInvitation {
  readonly role: Role;
  /** Seconds; a week when absent. */
  readonly expiresIn?: number | undefined;
  /** 1 when absent. */
  readonly uses?: number | undefined;
  readonly note?: string | undefined;
}

export interface Accepted {
  readonly db: string;
  /** What the person is now. */
  readonly role: Role;
  /** Whether it was less before. */
  readonly changed: boolean;
  readonly invitation: string;
}

interface Row {
  id: string;
  db_id: string;
  role: Role;
  hash: Uint8Array;
  maker: string;
  note: string | null;
  created: number;
  expires: number;
  uses: number;
  revoked: number | null;
  sum: number;
}

/** What invitations need of people. */
export interface Holders {
  principal(id: string): Principal | undefined;
  rolesOf(id: string): readonly { readonly db: string; readonly role: Role }[];
  putRole(db: string, id: string, role: Role, giver: string): void;
  changed(id: string): void;
}

const SECRET = /^skaldinv_[A-Za-z0-9_-]{43}$/;
const WEEK_SECONDS = 604_800;
const { noteCharacters, expiresSeconds, uses: mostUses, perDb } = LIMITS.invitation;

export class Invitations {
  readonly #people: Holders;
  readonly #sqlite: Sqlite;
  readonly #gate: WriteGate;
  readonly #file: string;
  readonly #world: World;

  constructor(people: Holders, sqlite: Sqlite, gate: WriteGate, file: string, world: World) {
    this.#people = people;
    this.#sqlite = sqlite;
    this.#gate = gate;
    this.#file = file;
    this.#world = world;
  }

  /**
   * Makes an invitation: `secret` is `skaldinv_` and 32 random bytes in base64url, which nothing gives again. Whether
   * `maker` may is the caller's to ask. Throws DB_NOT_FOUND, BAD_REQUEST, NAME_INVALID, INVITATION_LIMIT.
   */
  create(db: string, maker: string, wanted: NewInvitation): { secret: string; invitation: Invitation } {
    const { role, expiresIn = WEEK_SECONDS, uses = 1, note } = wanted;
    whole("expires_in", expiresIn, expiresSeconds.value);
    whole("uses", uses, mostUses.value);
    if (note !== undefined) checkLine("note", note, noteCharacters.value);
    if (this.#all("SELECT 1 FROM db WHERE db_id = ? AND state = 'ready'", db).length === 0)
      throw new SkaldError("DB_NOT_FOUND", `There is no db ${db}.`, { details: { db } });
    if (this.list(db).filter(({ state }) => state === "open").length >= perDb.value)
      throw new SkaldError("INVITATION_LIMIT", `A db has at most ${perDb.value} open invitations.`, {
        details: { max: perDb.value },
      });
    const created = this.#world.now();
    const secret = `skaldinv_${Buffer.from(this.#world.random(32)).toString("base64url")}`;
    const row = {
      id: `inv_${toHex(this.#world.random(10))}`,
      db_id: db,
      role,
      hash: hashOf(secret),
      maker,
      note: note ?? null,
      created,
      expires: created + expiresIn * 1000,
      uses,
      revoked: null,
    };
    this.#gate.run(() => this.#put(row));
    return { secret, invitation: this.#shown({ ...row, sum: 0 }) };
  }

  /** Those of a db, oldest first. */
  list(db: string): Invitation[] {
    const rows = this.#all("SELECT * FROM invitation WHERE db_id = ? ORDER BY created, id", db) as Row[];
    return rows.map((row) => this.#shown(this.#sound(row)));
  }

  /** From now on it is refused; one that already is keeps its time. Throws INVITATION_NOT_FOUND. */
  revoke(db: string, id: string): void {
    const [row] = this.#all("SELECT * FROM invitation WHERE id = ? AND db_id = ?", id, db) as Row[];
    if (!row) throw new SkaldError("INVITATION_NOT_FOUND", "This db has no invitation of this id.");
    if (row.revoked === null) this.#gate.run(() => this.#put({ ...row, revoked: this.#world.now() }));
  }

  /**
   * Gives the person the role, unless he has a higher one. A second time it changes nothing, and is refused when the
   * role was taken away since. Throws PERSON_NEEDED, INVITATION_NOT_FOUND, INVITATION_OVER.
   */
  accept(secret: string, person: string): Accepted {
    const principal = isPersonId(person) ? this.#people.principal(person) : undefined;
    if (!principal)
      throw new SkaldError("PERSON_NEEDED", "An invitation is accepted by a person who is logged in.");
    const [found] = SECRET.test(secret)
      ? (this.#all("SELECT * FROM invitation WHERE hash = ?", hashOf(secret)) as Row[])
      : [];
    if (!found) throw new SkaldError("INVITATION_NOT_FOUND", "There is no such invitation.");
    const row = this.#sound(found);
    const { db_id: db, role, id: invitation } = row;
    const has = this.#people.rolesOf(person).find((one) => one.db === db)?.role;
    const enough = has !== undefined && atLeast(has, role);
    const before = this.#all(
      "SELECT 1 FROM invitation_use WHERE invitation = ? AND person = ?",
      invitation,
      person,
    );
    if (before.length > 0) {
      if (enough) return { db, role: has, changed: false, invitation };
      throw over("It was accepted by this person before.");
    }
    const { state } = this.#shown(row);
    if (state !== "open") throw over(WHY[state]);
    const use = [invitation, person, db, this.#world.now(), enough ? 0 : 1] as const;
    this.#people.changed(person);
    this.#gate.run(() =>
      this.#sqlite
        .transaction(() => {
          this.#sqlite
            .prepare("INSERT INTO invitation_use VALUES (?, ?, ?, ?, ?, ?)")
            .run(...use, rowSum(use));
          if (!enough) this.#people.putRole(db, person, role, row.maker);
        })
        .immediate(),
    );
    this.#people.changed(person);
    return { db, role: enough ? has : role, changed: !enough, invitation };
  }

  #shown(row: Row): Invitation {
    const { id, db_id: db, role, maker, note, created, expires, uses } = row;
    const [count] = this.#all(
      "SELECT count(*) AS used FROM invitation_use WHERE invitation = ? AND counted = 1",
      id,
    ) as [{ used: number }];
    const { used } = count;
    const state =
      row.revoked !== null
        ? "revoked"
        : this.#world.now() >= expires
          ? "expired"
          : used >= uses
            ? "used"
            : this.#mayInvite(maker, db)
              ? "open"
              : "maker";
    return { id, db, role, maker, note, created, expires, uses, used, state };
  }

  /** A token's invitations stay when it is revoked, as do the tokens that it made. */
  #mayInvite(maker: string, db: string): boolean {
    if (!isPersonId(maker)) return true;
    const principal = this.#people.principal(maker);
    return principal !== undefined && allows(principal, "db.admin", db);
  }

  #put(row: Omit<Row, "sum">): void {
    const { id, db_id, role, hash, maker, note, created, expires, uses, revoked } = row;
    const cells = [id, db_id, role, hash, maker, note, created, expires, uses, revoked] as const;
    this.#sqlite
      .prepare("INSERT OR REPLACE INTO invitation VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
      .run(...cells, rowSum(cells));
  }

  #all(sql: string, ...args: readonly unknown[]): unknown[] {
    return named(this.#file, () => this.#sqlite.prepare(sql).all(...args));
  }

  #sound(row: Row): Row {
    const { id, db_id, role, hash, maker, note, created, expires, uses, revoked } = row;
    if (row.sum === rowSum([id, db_id, role, hash, maker, note, created, expires, uses, revoked])) return row;
    throw new SkaldError("DB_DAMAGED", `What ${this.#file} says of the invitation ${id} is damaged.`, {
      details: { file: this.#file },
      hint: "Revoke the invitation and make another one.",
    });
  }
}

const WHY: Readonly<Record<Exclude<Invitation["state"], "open">, string>> = {
  used: "As many people as it was for have accepted it.",
  expired: "It has run out.",
  revoked: "It was revoked.",
  maker: "Whoever made it may not invite any more.",
};

function over(why: string): SkaldError {
  return new SkaldError("INVITATION_OVER", `The invitation does not hold any more. ${why}`);
}

function whole(what: string, value: number, most: number): void {
  if (!Number.isSafeInteger(value) || value < 1 || value > most)
    throw new SkaldError("BAD_REQUEST", `\`${what}\` is a whole number from 1 to ${most}.`, {
      details: { max: most },
    });
}

function hashOf(secret: string): Uint8Array {
  return fromHex(sha256Hex(Buffer.from(secret, "latin1")));
}
