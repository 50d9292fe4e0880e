import { SkaldError, isSkaldError } from "../errors.ts";
import { isUcanCid, looksLikeUcan, refused } from "../ids/ucan.ts";
import { parseDidKey } from "../ids/did-key.ts";
import { signerOf } from "../ids/ed25519.ts";
import { rowSum } from "../store/row-sum.ts";
import { named, openSqlite, type Sqlite } from "../store/sqlite.ts";
import { WriteGate } from "../store/write-gate.ts";
import { realWorld, type World } from "../world.ts";
import { proveChain, type ChainContext, type Proven } from "./capability-chain.ts";
import type { CredentialProvider, Presented } from "./credential-provider.ts";
import type { Identity } from "./identity.ts";

/**
 * Capabilities of a server's dbs, in its service file: which key a db belongs to, what was revoked, and who comes
 * with a UCAN.
 * Invariants: what is remembered of a UCAN is what its bytes say, which never changes; whether its keys are the
 * owners' still and nothing of it was revoked is asked anew after every change of either, also for what is open.
 */
export interface CapabilitiesOptions {
  readonly world?: World;
  /** 32 bytes of which the server's own key is made. */
  readonly secret: () => Uint8Array;
  /** Other names of this server, to which capabilities may be made out. */
  readonly audiences?: readonly string[];
  /** Called when something was revoked or has another owner: what is open by it ends. */
  readonly ended?: () => void;
}

export interface OwnerRecord {
  readonly did: string;
  readonly time: number;
  readonly by: string;
}

export interface RevocationRecord {
  readonly cid: string;
  readonly time: number;
  readonly by: string;
}

/** A UCAN that was checked. */
interface Known {
  readonly proven: Proven;
  readonly identity: Identity;
  /** The state of owners and revocations for which it was last found to hold; -1 when it does not. */
  checked: number;
}

/** Of texts that hold and of texts that do not, in characters and in number. */
const KNOWN_MAX = 4096;
const KNOWN_CHARACTERS = 4 * 1024 * 1024;
const REFUSED_MAX = 1024;
const PROOFS_HEADER = "ucans";

export class Capabilities implements CredentialProvider {
  readonly name = "capability";
  readonly #file: string;
  readonly #sqlite: Sqlite;
  readonly #gate: WriteGate;
  readonly #world: World;
  readonly #options: CapabilitiesOptions;
  readonly #known = new Map<string, Known>();
  #characters = 0;
  /** What does not hold whenever it is asked: found without a signature being checked again. */
  readonly #refused = new Map<string, SkaldError>();
  #state = 0;
  /** Whether every revocation was found as it was written: one that is not may have been any other. */
  readonly #sound: boolean;
  #audiences: ReadonlySet<string> | undefined;

  /** Throws as `openSqlite` does. */
  constructor(file: string, options: CapabilitiesOptions) {
    this.#file = file;
    this.#options = options;
    this.#world = options.world ?? realWorld;
    this.#sqlite = openSqlite(file, { kind: "service", create: true });
    this.#gate = new WriteGate(this.#sqlite, file);
    const rows = this.#attempt(() => this.#sqlite.prepare("SELECT * FROM capability_revocation").all());
    this.#sound = (rows as (RevocationRecord & { db: string; sum: number })[]).every(
      ({ db, cid, time, by, sum }) => sum === rowSum([db, cid, time, by]),
    );
  }

  /** This server's own name, a did:key that it keeps. */
  get did(): string {
    return this.audiences[0] as string;
  }

  /** To whom a capability may be made out to be taken here: this server's own name, then the others. */
  get audiences(): readonly string[] {
    return [...this.#names()];
  }

  /** The key that a db belongs to; undefined when it has none, and no capability holds for it. Throws DB_DAMAGED. */
  owner(db: string): OwnerRecord | undefined {
    const row = this.#attempt(() =>
      this.#sqlite.prepare("SELECT * FROM capability_owner WHERE db_id = ?").get(db),
    ) as (OwnerRecord & { sum: number }) | undefined;
    if (!row) return undefined;
    const { did, time, by } = row;
    if (row.sum !== rowSum([db, did, time, by])) throw damaged(this.#file, `of the owner of ${db}`);
    return { did, time, by };
  }

  /** Gives a db to the key of a did:key, or to none. Throws BAD_REQUEST. */
  setOwner(db: string, did: string | undefined, by: string): void {
    if (did !== undefined && !parseDidKey(did)) {
      throw new SkaldError("BAD_REQUEST", "`did` is no did:key of an Ed25519 key.");
    }
    const time = this.#world.now();
    this.#gate.run(() =>
      did === undefined
        ? this.#sqlite.prepare("DELETE FROM capability_owner WHERE db_id = ?").run(db)
        : this.#sqlite
            .prepare("INSERT OR REPLACE INTO capability_owner VALUES (?, ?, ?, ?, ?)")
            .run(db, did, time, by, rowSum([db, did, time, by])),
    );
    this.changed();
  }

  /** From now on the UCAN with this address proves nothing of this db, for ever. Throws BAD_REQUEST. */
  revoke(db: string, cid: string, by: string): RevocationRecord {
    if (!isUcanCid(cid)) {
      throw new SkaldError(
        "BAD_REQUEST",
        "`cid` is not the canonical address of a UCAN: bafkrei and 52 more.",
      );
    }
    const time = this.#world.now();
    this.#gate.run(() =>
      this.#sqlite
        .prepare("INSERT INTO capability_revocation VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING")
        .run(db, cid, time, by, rowSum([db, cid, time, by])),
    );
    this.changed();
    return this.#revocation(db, cid) as RevocationRecord;
  }

  /** At most `limit`, by address, after that of `after`. */
  revocations(db: string, after: string, limit: number): RevocationRecord[] {
    return this.#attempt(() =>
      this.#sqlite
        .prepare(
          "SELECT cid, time, by FROM capability_revocation WHERE db = ? AND cid > ? ORDER BY cid LIMIT ?",
        )
        .all(db, after, limit),
    ) as RevocationRecord[];
  }

  /** Who is whose, or what holds, is otherwise from here on: also when a db has gone. */
  changed(): void {
    this.#state += 1;
    this.#refused.clear();
    this.#options.ended?.();
  }

  identify({ bearer, header }: Presented): Identity | undefined {
    const proofs = header(PROOFS_HEADER);
    // A line break stands in neither.
    const key = proofs === undefined ? bearer : `${bearer}\n${proofs}`;
    const known = this.#known.get(key);
    if (known) {
      const fault = this.#faultOf(known);
      if (fault === undefined) return known.identity;
      // Another of its proofs may still lead to the owner, so it is gone through once more.
      if (fault[0] !== "revoked") throw refused(...fault);
      this.#known.delete(key);
      this.#characters -= key.length;
    }
    if (!looksLikeUcan(bearer)) return undefined;
    const before = this.#refused.get(key);
    if (before) throw again(before);
    try {
      return this.#remember(key, this.#prove(bearer, proofs));
    } catch (error) {
      this.#note(key, error);
      throw error;
    }
  }

  /** Closes the file. */
  close(): void {
    if (!this.#sqlite.open) return;
    this.#known.clear();
    this.#gate.close();
  }

  #prove(bearer: string, proofs: string | undefined): Proven {
    if (!this.#sound) throw damaged(this.#file, "of what was revoked");
    const others = proofs === undefined || proofs === "" ? [] : proofs.split(",").map((text) => text.trim());
    const context: ChainContext = {
      audiences: this.#names(),
      owner: (db) => this.owner(db)?.did,
      isRevoked: (db, cid) => this.#revocation(db, cid) !== undefined,
      now: this.#world.now(),
    };
    return proveChain(bearer, others, context);
  }

  #remember(key: string, proven: Proven): Identity {
    const { did, scopes } = proven;
    const known: Known = {
      proven,
      identity: {
        principal: Object.freeze({ id: did, subject: did, scopes }),
        by: "capability",
        alive: () => this.#faultOf(known) === undefined,
      },
      checked: this.#state,
    };
    this.#characters += key.length;
    for (const oldest of this.#known.keys()) {
      if (this.#known.size < KNOWN_MAX && this.#characters <= KNOWN_CHARACTERS) break;
      this.#known.delete(oldest);
      this.#characters -= oldest.length;
    }
    this.#known.set(key, known);
    return known.identity;
  }

  /** What is wrong with it now; nothing is when what it needs is as it was when it was checked. */
  #faultOf(known: Known): Parameters<typeof refused> | undefined {
    const { from, until } = known.proven;
    const now = this.#world.now();
    if (now >= until) return ["expired", "it has run out"];
    // The clock was set back.
    if (now < from) return ["not_yet", "it does not hold yet"];
    if (known.checked !== this.#state) {
      known.checked = this.#stands(known.proven) ? this.#state : -1;
      if (known.checked < 0) return ["revoked", "it was revoked, or its db has another owner"];
    }
    return undefined;
  }

  #stands({ owners, cids }: Proven): boolean {
    for (const [db, did] of owners) {
      if (this.owner(db)?.did !== did) return false;
      if (cids.some((cid) => this.#revocation(db, cid))) return false;
    }
    return true;
  }

  /** What is wrong with its bytes is so for ever, and what has no owner until there is one. */
  #note(key: string, error: unknown): void {
    if (!isSkaldError(error) || error.code !== "CAPABILITY_INVALID") return;
    if (error.details["reason"] === "not_yet") return;
    if (this.#refused.size >= REFUSED_MAX) this.#refused.clear();
    this.#refused.set(key, error);
  }

  #revocation(db: string, cid: string): RevocationRecord | undefined {
    return this.#attempt(() =>
      this.#sqlite
        .prepare("SELECT cid, time, by FROM capability_revocation WHERE db = ? AND cid = ?")
        .get(db, cid),
    ) as RevocationRecord | undefined;
  }

  #names(): ReadonlySet<string> {
    return (this.#audiences ??= new Set([
      signerOf(this.#options.secret()).did,
      ...(this.#options.audiences ?? []),
    ]));
  }

  #attempt<T>(work: () => T): T {
    return named(this.#file, work);
  }
}

/** A fresh one: an error that is thrown twice has the first one's stack. */
function again({ message, details }: SkaldError): SkaldError {
  return new SkaldError("CAPABILITY_INVALID", message, { details });
}

function damaged(file: string, what: string): SkaldError {
  return new SkaldError("DB_DAMAGED", `What ${file} says ${what} is damaged.`, {
    details: { file },
    hint: "Put service.sqlite back from a backup; an owner can also be set again.",
  });
}
