import { SkaldError } from "../errors.ts";
import { signerOf, type Signer } from "../ids/ed25519.ts";
import { SERVER, rotationEvent, rotationTxId } from "../log/signature.ts";
import { mergedIn } from "../log/merged.ts";
import { readSigningKeys, writeSigningKeys, type SigningKey } from "../store/signing-keys.ts";
import { nextTurn, type World } from "../world.ts";
import type { Db } from "./db.ts";

/** Whether a server signs: when it has a key, also by making one, or never. */
export type SignWhen = "auto" | "always" | "never";

/**
 * The keys that a server signs with. There is one, and a second while that is taking its place: a db is signed by the first
 * until its log says that it is retired, so a rotation that broke off goes on where it stopped.
 */
export class Signing {
  readonly #dir: string;
  readonly #world: World;
  readonly #when: SignWhen;
  #keys: readonly SigningKey[];
  #signers: readonly Signer[];
  #rotating: Promise<Rotated> | undefined;

  /** Throws KEYS_DAMAGED, STORAGE_FULL, STORAGE_FAILED. */
  constructor(dir: string, world: World, when: SignWhen) {
    this.#dir = dir;
    this.#world = world;
    this.#when = when;
    this.#keys = readSigningKeys(dir);
    this.#signers = signersOf(this.#keys);
    if (when === "always" && this.#signers.length === 0) this.create();
  }

  /** Oldest first, those that were retired included. */
  get keys(): readonly SigningKey[] {
    return this.#keys;
  }

  /** Who signs, in the order in which they are tried; none when this server does not sign. */
  get signers(): readonly Signer[] {
    return this.#when === "never" ? [] : this.#signers;
  }

  /** Makes the first key, or one after a key that was lost. Throws KEY_EXISTS, STORAGE_FULL, STORAGE_FAILED. */
  create(): SigningKey {
    const [current] = this.#signers;
    if (current)
      throw new SkaldError("KEY_EXISTS", `This server signs with ${current.did}.`, {
        details: { did: current.did },
      });
    return this.#add();
  }

  /**
   * Has a new key take the place of the one there is: in each db that the old one has signed a commit says so. It is
   * then forgotten. One that broke off is finished by the next. Throws KEY_MISSING, and what a write throws.
   */
  rotate(dbs: Dbs): Promise<Rotated> {
    this.#rotating ??= this.#rotate(dbs).finally(() => {
      this.#rotating = undefined;
    });
    return this.#rotating;
  }

  async #rotate({ names, use }: Dbs): Promise<Rotated> {
    const [old] = this.#signers;
    if (!old || this.#when === "never")
      throw new SkaldError("KEY_MISSING", "This server signs with no key that another could follow.");
    if (this.#signers.length === 1) this.#add();
    const to = (this.#signers[1] as Signer).did;
    const told = new Set<string>();
    // Once more for those that were made meanwhile.
    for (let before = -1; before < told.size;) {
      before = told.size;
      for (const name of names()) {
        if (told.has(name)) continue;
        if (await use(name, (db) => retire(db, old.did, to))) told.add(name);
      }
    }
    this.#keep(this.#keys.map((key) => (key.did === old.did ? retired(key, this.#world.now()) : key)));
    return { from: old.did, to, dbs: [...told].sort() };
  }

  #add(): SigningKey {
    const secret = this.#world.random(32);
    const key = { did: signerOf(secret).did, created: this.#world.now(), secret };
    this.#keep([...this.#keys, key]);
    return key;
  }

  #keep(keys: readonly SigningKey[]): void {
    writeSigningKeys(this.#dir, keys);
    this.#keys = keys;
    this.#signers = signersOf(keys);
  }
}

export interface Dbs {
  readonly names: () => Iterable<string>;
  readonly use: <T>(db: string, work: (db: Db) => Promise<T>) => Promise<T>;
}

export interface Rotated {
  readonly from: string;
  readonly to: string;
  /** The dbs whose logs say so. */
  readonly dbs: readonly string[];
}

function signersOf(keys: readonly SigningKey[]): Signer[] {
  return keys.flatMap(({ secret }) => (secret ? [signerOf(secret)] : []));
}

function retired({ did, created }: SigningKey, at: number): SigningKey {
  return { did, created, retired: at };
}

/** False for a db that the key has signed nothing of: a copy of another server's must not go a way of its own for this. */
async function retire(db: Db, from: string, to: string): Promise<boolean> {
  if (!(await hasSigned(db, from))) return false;
  await db.log.write({
    author: SERVER,
    clientTxId: rotationTxId(from),
    message: "another key signs from here on",
    writes: [],
    events: [rotationEvent({ from, to })],
    own: true,
  });
  return true;
}

async function hasSigned({ log }: Db, did: string): Promise<boolean> {
  for (let seq = log.head().seq; seq > 0; seq -= 1) {
    const stored = log.commit(seq);
    if (stored?.commit.signed?.signer === did) return true;
    if (stored && mergedIn(stored).some(({ commit }) => commit.signed?.signer === did)) return true;
    if (seq % TURN === 0) await nextTurn(log.world);
  }
  return false;
}

/** Commits that are looked at in one go. */
const TURN = 256;
