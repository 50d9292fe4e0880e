import { SkaldError, isSkaldError } from "../errors.ts";
import { fromHex, sha256Hex, toHex } from "../ids/hash.ts";
import { rowSum } from "../store/row-sum.ts";
import { named, openSqlite, type Sqlite, type Statement } from "../store/sqlite.ts";
import { WriteGate } from "../store/write-gate.ts";
import { realWorld, type World } from "../world.ts";
import type { Principal } from "./policy.ts";
import {
  checkNewToken,
  scopesOf,
  sumOfToken,
  toRecord,
  type AuditEntry,
  type AuditRecord,
  type Maker,
  type NewToken,
  type StoredToken,
  type TokenRecord,
} from "./token-record.ts";

export type { AuditEntry, AuditRecord, NewToken, TokenRecord } from "./token-record.ts";

/**
 * The tokens of a server, in its service file.
 * Invariants: a token's text is stored nowhere, only its SHA-256; what is in memory about a token never
 * outlives its revocation. The second holds because one process owns the file and this is its only
 * writer of tokens.
 */

export interface TokensOptions {
  readonly world?: World;
  /** Called when a token was revoked or replaced: what is open by it ends. */
  readonly ended?: () => void;
}

/** How a token is replaced. */
export interface Rotation {
  /** Milliseconds for which it holds beside its successor. */
  readonly overlap: number;
  /** Of the successor; null for never, that of the token when absent. */
  readonly expires?: number | null;
  readonly maker?: Maker;
}

interface Known {
  readonly principal: Principal;
  /** Infinity for never. */
  readonly expires: number;
  used: number | null;
  /** Value of `last_used` in the file. */
  written: number | null;
}

const TOKEN = /^skald_[A-Za-z0-9_-]{43}$/;
const KNOWN_MAX = 10_000;
const USES_EVERY_MS = 60_000;

export class Tokens {
  readonly #file: string;
  readonly #sqlite: Sqlite;
  readonly #gate: WriteGate;
  readonly #world: World;
  readonly #ended: () => void;
  readonly #find: Statement;
  readonly #use: Statement;
  readonly #byId: Statement;
  // Keyed by the text itself: hashing it anew would cost each request more than the rest of `verify`.
  // How long a lookup takes tells nothing: V8 seeds the hashes of its strings at random. Only tokens
  // that exist get in, so guessing cannot push anything out.
  readonly #known = new Map<string, Known>();
  /** Uses, by token id, of tokens that left `#known` before they were written. */
  readonly #uses = new Map<string, number>();
  #usesWritten: number;
  /** Tokens that somebody asked for by their ids, with when they expire. */
  readonly #live = new Map<string, { readonly principal: Principal; readonly expires: number }>();
  readonly #secrets = new Map<string, Uint8Array>();

  /** Opens the service file, new when it is missing. Throws as `openSqlite` does. */
  constructor(file: string, options: TokensOptions = {}) {
    this.#file = file;
    this.#world = options.world ?? realWorld;
    this.#ended = options.ended ?? ((): void => {});
    this.#usesWritten = this.#world.now();
    this.#sqlite = openSqlite(file, { kind: "service", create: true });
    this.#gate = new WriteGate(this.#sqlite, file);
    this.#find = this.#sqlite.prepare("SELECT * FROM token WHERE hash = ? AND revoked IS NULL");
    this.#byId = this.#sqlite.prepare(`${TOKENS} WHERE id = ?`);
    this.#use = this.#sqlite.prepare("UPDATE token SET last_used = ? WHERE id = ?");
    this.#fillSums();
  }

  /**
   * Makes a token: `skald_` and 32 random bytes in base64url. `token` is its text, which nothing gives
   * again. Throws NAME_INVALID (label or subject), SCOPE_INVALID, BAD_REQUEST (`expires` is not in the future).
   */
  create(wanted: NewToken): { token: string; record: TokenRecord } {
    const { token, row } = this.#make(wanted);
    this.#gate.run(() => this.#insert(row));
    return { token, record: toRecord(row, null) };
  }

  /**
   * Makes the successor of a token: the same label, subject and scopes, another id and another text. The token
   * itself holds on for the overlap and no longer than it would have. Throws TOKEN_NOT_FOUND, TOKEN_ENDED (it does
   * not hold any more, or was replaced already), BAD_REQUEST (`expires` is not in the future).
   */
  rotate(id: string, { overlap, expires, maker }: Rotation): { token: string; record: TokenRecord } {
    const old = this.#row(id);
    if (!old) throw notFound();
    this.#sound(old);
    const now = this.#world.now();
    if (old.revoked !== null || (old.expires !== null && now >= old.expires)) {
      throw new SkaldError("TOKEN_ENDED", "The token was revoked, or has run out.");
    }
    if (old.successor) {
      throw new SkaldError("TOKEN_ENDED", `The token was replaced by ${old.successor}.`, {
        details: { successor: old.successor },
        hint: "Rotate the successor; or revoke it, when its text was lost, and rotate this one again.",
      });
    }
    const until = expires === undefined ? old.expires : expires;
    const { token, row } = this.#make(
      {
        label: old.label,
        subject: old.subject,
        scopes: scopesOf(old),
        ...(until === null ? {} : { expires: until }),
        ...(maker ? { maker } : {}),
      },
      id,
    );
    const end = Math.min(now + overlap, old.expires ?? Infinity);
    const sum = sumOfToken({ ...old, expires: end });
    this.#forgetToken(id);
    this.#gate.run(() =>
      this.#sqlite
        .transaction(() => {
          this.#insert(row);
          this.#sqlite.prepare("UPDATE token SET expires = ?, sum = ? WHERE id = ?").run(end, sum, id);
        })
        .immediate(),
    );
    this.#ended();
    return { token, record: toRecord(row, null) };
  }

  /** What is known of a token; undefined when there is none with this id. Throws DB_DAMAGED. */
  get(id: string): TokenRecord | undefined {
    const row = this.#row(id);
    return row && toRecord(this.#sound(row), this.#unwritten().get(id) ?? row.last_used);
  }

  /** Every token ever made, oldest first, with uses that are not written yet. */
  list(): TokenRecord[] {
    const uses = this.#unwritten();
    const rows = this.#attempt(() => this.#sqlite.prepare(`${TOKENS} ORDER BY rowid`).all()) as StoredToken[];
    return rows.map((row) => toRecord(this.#sound(row), uses.get(row.id) ?? row.last_used));
  }

  /** Whether no token was ever made. */
  isEmpty(): boolean {
    return this.#attempt(() => this.#sqlite.prepare("SELECT 1 FROM token LIMIT 1").get()) === undefined;
  }

  /**
   * From now on the token is refused; a token that already is keeps its time. Throws TOKEN_NOT_FOUND.
   */
  revoke(id: string): void {
    // Before the write: when that fails its outcome is unknown, and the file then decides.
    this.#forgetToken(id);
    const row = this.#row(id);
    if (row && row.revoked === null) {
      // A damaged row is revoked as well: its new sum is of what it now says.
      const revoked = this.#world.now();
      const sum = sumOfToken({ ...row, revoked });
      this.#gate.run(() =>
        this.#sqlite.prepare("UPDATE token SET revoked = ?, sum = ? WHERE id = ?").run(revoked, sum, id),
      );
    }
    if (!row) throw notFound();
    this.#ended();
  }

  /**
   * Whose token it is; undefined when it is unknown, revoked or expired. Called for each request: a
   * known token costs one lookup in memory.
   */
  verify(token: string): Principal | undefined {
    const known = this.#known.get(token) ?? this.#lookUp(token);
    if (known === undefined) return undefined;
    const now = this.#world.now();
    if (now >= known.expires) return undefined;
    known.used = now;
    // The second half: after the clock was set back, the first would stay false for as long.
    if (now - this.#usesWritten >= USES_EVERY_MS || now < this.#usesWritten) this.#writeUses(now);
    return known.principal;
  }

  /** Whose the token with this id is, for what the token vouches for elsewhere; undefined when it does not hold. */
  live(id: string): Principal | undefined {
    let known = this.#live.get(id);
    if (!known) {
      const row = this.#row(id);
      if (!row || row.revoked !== null) return undefined;
      const principal = principalOf(this.#sound(row));
      known = { principal, expires: row.expires ?? Infinity };
      if (this.#live.size >= KNOWN_MAX) this.#live.clear();
      this.#live.set(id, known);
    }
    return this.#world.now() < known.expires ? known.principal : undefined;
  }

  /** 32 random bytes of this directory, made when they are first asked for. Throws DB_DAMAGED. */
  secret(name: string): Uint8Array {
    let value = this.#secrets.get(name);
    if (!value) {
      const find = (): unknown =>
        this.#sqlite.prepare("SELECT value, sum FROM secret WHERE name = ?").get(name);
      let row = this.#attempt(find) as { value: Uint8Array; sum: number } | undefined;
      if (!row) {
        const made = this.#world.random(32);
        this.#gate.run(() =>
          this.#sqlite
            .prepare("INSERT INTO secret (name, value, sum) VALUES (?, ?, ?)")
            .run(name, made, rowSum([name, made])),
        );
        row = this.#attempt(find) as { value: Uint8Array; sum: number };
      }
      if (row.sum !== rowSum([name, row.value])) {
        throw new SkaldError("DB_DAMAGED", `What ${this.#file} has as the secret ${name} is damaged.`, {
          details: { file: this.#file },
          hint: "Put service.sqlite back from a backup.",
        });
      }
      this.#secrets.set(name, (value = row.value));
    }
    return value;
  }

  /** Notes who did what. */
  audit(entry: AuditEntry): void {
    this.#gate.run(() =>
      this.#sqlite
        .prepare("INSERT INTO audit (time, principal, action, db, detail) VALUES (?, ?, ?, ?, ?)")
        .run(this.#world.now(), entry.principal, entry.action, entry.db ?? null, entry.detail ?? null),
    );
  }

  /** The last `limit` entries, newest first. */
  auditLog(limit = 100): AuditRecord[] {
    // SQLite takes a negative limit for none at all.
    const rows = Math.max(0, Math.trunc(limit));
    return this.#attempt(() =>
      this.#sqlite
        .prepare("SELECT id, time, principal, action, db, detail FROM audit ORDER BY id DESC LIMIT ?")
        .all(rows),
    ) as AuditRecord[];
  }

  /** Writes the uses and closes the file; every other call throws from then on, or finds no token. */
  close(): void {
    if (!this.#sqlite.open) return;
    try {
      this.#writeUses(this.#world.now());
    } finally {
      this.#known.clear();
      this.#gate.close();
    }
  }

  #make(wanted: NewToken, predecessor: string | null = null): { token: string; row: StoredToken } {
    const created = this.#world.now();
    const id = `tok_${toHex(this.#world.random(10))}`;
    const { label, subject, texts, expires } = checkNewToken(wanted, id, created);
    const token = `skald_${Buffer.from(this.#world.random(32)).toString("base64url")}`;
    const row = {
      id,
      label,
      subject,
      hash: hashOf(token),
      scopes: JSON.stringify(texts),
      created,
      expires,
      revoked: null,
      last_used: null,
      maker: wanted.maker?.id ?? null,
      maker_subject: wanted.maker?.subject ?? null,
      predecessor,
    };
    return { token, row: { ...row, sum: sumOfToken(row) } };
  }

  #insert(row: StoredToken): void {
    this.#sqlite
      .prepare(
        `INSERT INTO token (id, label, subject, hash, scopes, created, expires, maker, maker_subject, predecessor, sum)
         VALUES (@id, @label, @subject, @hash, @scopes, @created, @expires, @maker, @maker_subject, @predecessor, @sum)`,
      )
      .run(row);
  }

  #row(id: string): StoredToken | undefined {
    return this.#attempt(() => this.#byId.get(id)) as StoredToken | undefined;
  }

  /** What is in memory of it: the file decides from the next request on. */
  #forgetToken(id: string): void {
    for (const [text, known] of this.#known) if (known.principal.id === id) this.#forget(text, known);
    this.#live.delete(id);
  }

  #lookUp(token: string): Known | undefined {
    if (!TOKEN.test(token)) return undefined;
    // The index compares hashes byte by byte, and its time may tell how far two agree. That is safe: it
    // can at most give away a stored hash, from which the 256 random bits behind it cannot be found.
    const row = this.#attempt(() => this.#find.get(hashOf(token))) as StoredToken | undefined;
    if (row === undefined) return undefined;
    this.#sound(row);
    const principal = principalOf(row);
    const known: Known = {
      principal,
      expires: row.expires ?? Infinity,
      used: row.last_used,
      written: row.last_used,
    };
    if (this.#known.size >= KNOWN_MAX) {
      for (const [oldest, entry] of this.#known) {
        this.#forget(oldest, entry);
        break;
      }
    }
    // A copy: `token` may be a slice that keeps the whole header it was cut from.
    this.#known.set(Buffer.from(token, "latin1").toString("latin1"), known);
    return known;
  }

  /** Rows of before there were sums. */
  #fillSums(): void {
    const rows = this.#attempt(() => this.#sqlite.prepare("SELECT * FROM token WHERE sum IS NULL").all());
    for (const row of rows as StoredToken[]) {
      this.#gate.run(() =>
        this.#sqlite.prepare("UPDATE token SET sum = ? WHERE id = ?").run(sumOfToken(row), row.id),
      );
    }
  }

  /** Throws DB_DAMAGED when a row is not as it was written: a flipped bit must not give anybody a right. */
  #sound(row: StoredToken): StoredToken {
    if (row.sum === sumOfToken(row)) return row;
    throw new SkaldError("DB_DAMAGED", `What ${this.#file} says of the token ${row.id} is damaged.`, {
      details: { file: this.#file },
      hint: "Revoke the token and make another one, or put service.sqlite back from a backup.",
    });
  }

  #forget(text: string, known: Known): void {
    this.#known.delete(text);
    if (known.used !== null && known.used !== known.written) this.#uses.set(known.principal.id, known.used);
  }

  #unwritten(): Map<string, number> {
    // What is in memory now is later than what was when the token left it.
    const uses = new Map(this.#uses);
    for (const { principal, used, written } of this.#known.values()) {
      if (used !== null && used !== written) uses.set(principal.id, used);
    }
    return uses;
  }

  /** All uses of the last minute in one transaction: one fsync a minute, however many tokens there are. */
  #writeUses(now: number): void {
    this.#usesWritten = now;
    const uses = this.#unwritten();
    if (uses.size === 0) return;
    try {
      this.#gate.run(() =>
        this.#sqlite.transaction(() => uses.forEach((used, id) => this.#use.run(used, id))).immediate(),
      );
    } catch (error) {
      // A disk that is full or failing is no reason to refuse a good token; the next minute tries again.
      if (isSkaldError(error) || String((error as { code?: unknown }).code).startsWith("SQLITE_")) return;
      throw error;
    }
    this.#uses.clear();
    for (const known of this.#known.values()) known.written = known.used;
  }

  #attempt<T>(work: () => T): T {
    return named(this.#file, work);
  }
}

/**
 * The way in on the first start: makes a token that may do everything, labelled and named "admin", and
 * returns its text, to be shown once. Undefined when a token was ever made, revoked ones included.
 */
export function ensureAdmin(tokens: Tokens): string | undefined {
  if (!tokens.isEmpty()) return undefined;
  return tokens.create({ label: "admin", subject: "admin", scopes: [{ db: "*", action: "*" }] }).token;
}

const TOKENS = `SELECT *, (
  SELECT s.id FROM token s WHERE s.predecessor = token.id AND s.revoked IS NULL ORDER BY s.rowid DESC LIMIT 1
) AS successor FROM token`;

/** The id is not repeated: some will give the token itself, and errors are logged. */
function notFound(): SkaldError {
  return new SkaldError("TOKEN_NOT_FOUND", "No token has this id.");
}

function principalOf(row: StoredToken): Principal {
  return Object.freeze({ id: row.id, subject: row.subject, scopes: scopesOf(row) });
}

function hashOf(token: string): Uint8Array {
  return fromHex(sha256Hex(Buffer.from(token, "latin1")));
}
