import { isSkaldError } from "../errors.ts";
import { fromHex, sha256Hex, toHex } from "../ids/hash.ts";
import { LIMITS } from "../limits.ts";
import { rowSum } from "../store/row-sum.ts";
import { named, openSqlite, type Sqlite } from "../store/sqlite.ts";
import { WriteGate } from "../store/write-gate.ts";
import { realWorld, type World } from "../world.ts";

/**
 * Who is signed in, in the service file.
 * Invariants: a cookie's text is stored nowhere, only its SHA-256; every sign-in has an id and a cookie of its own;
 * what is in memory of a session never outlives its end, since one process owns the file and this is its only writer.
 * Who a session stands for is asked anew each time: it says whose it is, never what that one may do.
 */

/** A person, or the token with which somebody opened the dashboard. */
export type Whose = { readonly person: string } | { readonly token: string };

export interface Session {
  /** Says which session, proves nothing. */
  readonly id: string;
  readonly whose: Whose;
  /** Milliseconds since 1970, as are all times here. */
  readonly created: number;
  /** When it ends however much it is used. */
  readonly expires: number;
  readonly address: string;
  readonly agent: string;
}

export interface SessionsOptions {
  readonly world?: World;
  /** Without a request for so long it ends; 12 hours. */
  readonly idleMs?: number;
  /** So long after it was opened it ends; 7 days. */
  readonly lifeMs?: number;
}

interface Row {
  id: string;
  hash: Uint8Array;
  kind: string;
  whose: string;
  created: number;
  used: number;
  expires: number;
  address: string;
  agent: string;
  sum: number;
}

interface Known {
  readonly session: Session;
  readonly row: Row;
  /** Under which it is in `#byCookie`; undefined: found by its id so far. */
  cookie?: string;
  used: number;
}

const COOKIE = /^sks_[A-Za-z0-9_-]{43}$/;
const KNOWN_MAX = 10_000;
const USED_EVERY_MS = 300_000;
const { perPerson, agentCharacters } = LIMITS.session;

export class Sessions {
  readonly #file: string;
  readonly #sqlite: Sqlite;
  readonly #gate: WriteGate;
  readonly #world: World;
  readonly #idleMs: number;
  /** How long one lasts at most. */
  readonly lifeMs: number;
  readonly #byId = new Map<string, Known>();
  /** Ids, by the cookie itself: see the like in tokens.ts. */
  readonly #byCookie = new Map<string, string>();

  /** Opens the service file, new when it is missing. Throws as `openSqlite` does. */
  constructor(file: string, options: SessionsOptions = {}) {
    this.#file = file;
    this.#world = options.world ?? realWorld;
    this.#idleMs = options.idleMs ?? 12 * 3_600_000;
    this.lifeMs = options.lifeMs ?? 7 * 86_400_000;
    this.#sqlite = openSqlite(file, { kind: "service", create: true });
    this.#gate = new WriteGate(this.#sqlite, file);
  }

  /**
   * Opens a session: `cookie` is `sks_` and 32 random bytes in base64url, which nothing gives again. Whoever has
   * too many loses the one that was used longest ago.
   */
  open(
    whose: Whose,
    about: { readonly address: string; readonly agent: string },
  ): { cookie: string; id: string } {
    const now = this.#world.now();
    const cookie = `sks_${Buffer.from(this.#world.random(32)).toString("base64url")}`;
    const id = `ses_${toHex(this.#world.random(10))}`;
    const [kind, name] = columnsOf(whose);
    const row = {
      id,
      hash: hashOf(cookie),
      kind,
      whose: name,
      created: now,
      used: now,
      expires: now + this.lifeMs,
      address: plain(about.address),
      agent: plain(about.agent),
    };
    const over = this.#ids(
      "SELECT id FROM session WHERE kind = ? AND whose = ? ORDER BY used DESC LIMIT -1 OFFSET ?",
      kind,
      name,
      perPerson.value - 1,
    );
    // Those that ended by themselves are cleared away here, since nobody comes for them.
    const ended = this.#ids(
      "SELECT id FROM session WHERE expires <= ? OR used <= ?",
      now,
      now - this.#idleMs - USED_EVERY_MS,
    );
    for (const old of [...over, ...ended]) this.#forget(old);
    this.#gate.run(() =>
      this.#sqlite
        .transaction(() => {
          for (const old of [...over, ...ended]) this.#remove(old);
          this.#sqlite
            .prepare("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .run(...cellsOf(row), sumOf(row));
        })
        .immediate(),
    );
    return { cookie, id };
  }

  /** The session of a cookie, which counts as a use of it; undefined when it is unknown, closed or has ended. */
  find(cookie: string): Session | undefined {
    const known = this.#ofCookie(cookie);
    if (!known || !this.#holds(known)) return undefined;
    const now = this.#world.now();
    known.used = now;
    const { row } = known;
    // The second half: after the clock was set back, the first would stay false for as long.
    if (now - row.used >= Math.min(USED_EVERY_MS, this.#idleMs / 4) || now < row.used) this.#note(known, now);
    return known.session;
  }

  /** The session with this id while it lasts, for what stays open; no use of it. */
  live(id: string): Session | undefined {
    const known = this.#byId.get(id) ?? this.#lookUp("id", id);
    return known && this.#holds(known) ? known.session : undefined;
  }

  /** Ends a session; one that is not there has ended. */
  close(id: string): void {
    this.#forget(id);
    this.#gate.run(() => this.#remove(id));
  }

  /** Ends all sessions of a person or a token; says how many there were. */
  closeAll(of: Whose): number {
    const [kind, whose] = columnsOf(of);
    this.#byId.clear();
    this.#byCookie.clear();
    let closed = 0;
    this.#gate.run(() => {
      closed = this.#sqlite
        .prepare("DELETE FROM session WHERE kind = ? AND whose = ?")
        .run(kind, whose).changes;
    });
    return closed;
  }

  /** Those of a person or a token that last, newest first. */
  list(of: Whose): Session[] {
    const [kind, whose] = columnsOf(of);
    const rows = named(this.#file, () =>
      this.#sqlite
        .prepare("SELECT * FROM session WHERE kind = ? AND whose = ? ORDER BY created DESC, id")
        .all(kind, whose),
    ) as Row[];
    return rows.flatMap((row) => this.live(row.id) ?? []);
  }

  /** Closes the file; every other call throws from then on, or finds no session. */
  end(): void {
    if (!this.#sqlite.open) return;
    this.#byId.clear();
    this.#byCookie.clear();
    this.#gate.close();
  }

  #ofCookie(cookie: string): Known | undefined {
    const id = this.#byCookie.get(cookie);
    const known = id === undefined ? undefined : this.#byId.get(id);
    if (known) return known;
    if (!COOKIE.test(cookie)) return undefined;
    const found = this.#lookUp("hash", hashOf(cookie));
    // A copy: `cookie` may be a slice that keeps the whole header it was cut from.
    if (found) {
      found.cookie = Buffer.from(cookie, "latin1").toString("latin1");
      this.#byCookie.set(found.cookie, found.session.id);
    }
    return found;
  }

  #forget(id: string): void {
    const cookie = this.#byId.get(id)?.cookie;
    if (cookie !== undefined) this.#byCookie.delete(cookie);
    this.#byId.delete(id);
  }

  #lookUp(by: "id" | "hash", value: string | Uint8Array): Known | undefined {
    const row = named(this.#file, () =>
      this.#sqlite.prepare(`SELECT * FROM session WHERE ${by} = ?`).get(value),
    ) as Row | undefined;
    if (!row) return undefined;
    // A flipped bit must not sign anybody in as somebody else; signing in anew is all it costs.
    if (row.sum !== sumOf(row)) {
      this.#gate.run(() => this.#remove(row.id));
      return undefined;
    }
    const known = this.#byId.get(row.id) ?? { session: sessionOf(row), row, used: row.used };
    if (this.#byId.size >= KNOWN_MAX) {
      this.#byId.clear();
      this.#byCookie.clear();
    }
    this.#byId.set(row.id, known);
    return known;
  }

  #holds({ session, used }: Known): boolean {
    const now = this.#world.now();
    return now < session.expires && now < used + this.#idleMs;
  }

  #note(known: Known, now: number): void {
    known.row.used = now;
    const sum = sumOf(known.row);
    try {
      this.#gate.run(() =>
        this.#sqlite
          .prepare("UPDATE session SET used = ?, sum = ? WHERE id = ?")
          .run(now, sum, known.session.id),
      );
    } catch (error) {
      // A disk that is full or failing is no reason to sign anybody out; some minutes on it is tried again.
      if (!isSkaldError(error) && !String((error as { code?: unknown }).code).startsWith("SQLITE_"))
        throw error;
    }
  }

  #ids(sql: string, ...args: readonly unknown[]): string[] {
    return named(this.#file, () =>
      this.#sqlite
        .prepare(sql)
        .pluck()
        .all(...args),
    ) as string[];
  }

  #remove(id: string): void {
    this.#sqlite.prepare("DELETE FROM session WHERE id = ?").run(id);
  }
}

const columnsOf = (whose: Whose): [kind: string, whose: string] =>
  "person" in whose ? ["person", whose.person] : ["token", whose.token];

function sessionOf({ id, kind, whose, created, expires, address, agent }: Row): Session {
  return Object.freeze({
    id,
    whose: kind === "person" ? { person: whose } : { token: whose },
    created,
    expires,
    address,
    agent,
  });
}

type Unsummed = Omit<Row, "sum">;

const cellsOf = (row: Unsummed): (string | number | Uint8Array)[] => [
  row.id,
  row.hash,
  row.kind,
  row.whose,
  row.created,
  row.used,
  row.expires,
  row.address,
  row.agent,
];

const sumOf = (row: Unsummed): number => rowSum(cellsOf(row));

/** What a client says of itself, as one line of text that hides nothing. */
const plain = (text: string): string =>
  text.replaceAll(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, "").slice(0, agentCharacters.value);

function hashOf(cookie: string): Uint8Array {
  return fromHex(sha256Hex(Buffer.from(cookie, "latin1")));
}
