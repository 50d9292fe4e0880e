import { isSkaldError, type SkaldError } from "../errors.ts";
import { decodeUcan, isSignedUcan, isUcanCid, refused, ucanCid, type Ucan } from "../ids/ucan.ts";
import { LIMITS } from "../limits.ts";
import { covers, checkScope, type Scope } from "./policy.ts";

/**
 * What a chain of UCANs gives: pure, so that a table of tests can ask it everything.
 * Invariants: a scope is proven by the owner's own signature, or by a token that was made out to the issuer and
 * proves a scope which covers it; no link gives more than the one before it, nor for longer; what is not understood
 * gives nothing.
 */
export interface ChainContext {
  /** Who this server is: what is made out to somebody else is not for it. */
  readonly audiences: ReadonlySet<string>;
  /** The key that a db belongs to. */
  readonly owner: (db: string) => string | undefined;
  readonly isRevoked: (db: string, cid: string) => boolean;
  /** Milliseconds since 1970. */
  readonly now: number;
}

export interface Proven {
  /** did of whoever may do this: the issuer of the last link. */
  readonly did: string;
  readonly scopes: readonly Scope[];
  /** Milliseconds since 1970. */
  readonly from: number;
  readonly until: number;
  /** By which keys' word it holds: these are to be the owners still. */
  readonly owners: ReadonlyMap<string, string>;
  /** The tokens that it stands on. */
  readonly cids: readonly string[];
}

const { tokens: mostTokens, depth: mostDepth } = LIMITS.capability;

/** What stands before a db's id in the resource of a capability. */
const RESOURCE = "skald:";
const ABILITY = "skald/";

/**
 * What `bearer` proves with the tokens in `others`, or with those that stand in its `prf` themselves. Throws
 * CAPABILITY_INVALID, whose `reason` says what is wrong.
 */
export function proveChain(bearer: string, others: readonly string[], context: ChainContext): Proven {
  if (others.length >= mostTokens.value)
    throw refused("size", `it comes with more than ${mostTokens.value} tokens`);
  return new Chain(others, context).prove(decodeUcan(bearer));
}

interface Link {
  readonly scopes: readonly Scope[];
  /** Why some of what it claims is not proven. */
  readonly fault: SkaldError | undefined;
}

class Chain {
  readonly #context: ChainContext;
  readonly #texts = new Map<string, string>();
  /** By address: a token that proves several others is looked at once. */
  readonly #links = new Map<string, Link>();
  readonly #owners = new Map<string, string>();
  #looked = 0;

  constructor(others: readonly string[], context: ChainContext) {
    this.#context = context;
    for (const text of others) this.#texts.set(ucanCid(text), text);
  }

  prove(last: Ucan): Proven {
    const { audiences, now } = this.#context;
    if (!audiences.has(last.aud))
      throw refused("audience", `it is made out to ${last.aud}, who is not this server`);
    if (now < last.nbf * 1000) throw refused("not_yet", "it does not hold yet");
    if (now >= last.exp * 1000) throw refused("expired", "it has run out");
    const claimed = scopesOf(last);
    if (claimed.length === 0) throw refused("scope", "it names no db of a Skald server");
    const { scopes, fault } = this.#link(last, 1);
    if (scopes.length < claimed.length) throw fault ?? refused("chain", "nothing proves it");
    return {
      did: last.iss,
      scopes: Object.freeze(scopes.map((scope) => Object.freeze(scope))),
      from: last.nbf * 1000,
      until: last.exp * 1000,
      owners: this.#owners,
      cids: [...this.#links.keys()],
    };
  }

  #link(token: Ucan, depth: number): Link {
    const known = this.#links.get(token.cid);
    if (known) return known;
    if (depth > mostDepth.value) throw refused("depth", `its chain has more than ${mostDepth.value} links`);
    if ((this.#looked += 1) > mostTokens.value)
      throw refused("size", `its chain has more than ${mostTokens.value} tokens`);
    const link = this.#look(token, depth);
    this.#links.set(token.cid, link);
    return link;
  }

  #look(token: Ucan, depth: number): Link {
    const { owner, isRevoked } = this.#context;
    let fault: SkaldError | undefined;
    let proofs: { readonly scopes: readonly Scope[] }[] | undefined;
    const scopes: Scope[] = [];
    for (const scope of scopesOf(token)) {
      if (isRevoked(scope.db, token.cid)) {
        fault ??= refused("revoked", `${token.cid} was revoked`);
        continue;
      }
      const key = owner(scope.db);
      if (key === token.iss) {
        this.#owners.set(scope.db, key);
        scopes.push(scope);
        continue;
      }
      proofs ??= this.#proofs(token, depth, (error) => (fault ??= error));
      if (proofs.some((proof) => proof.scopes.some((own) => covers(own, scope)))) scopes.push(scope);
      else fault ??= this.#unproven(scope, proofs.length > 0, key);
    }
    // Last, since it costs more than all the rest.
    if (scopes.length > 0 && !isSignedUcan(token))
      return { scopes: [], fault: refused("signature", `${token.iss} has not signed ${token.cid}`) };
    return { scopes, fault };
  }

  /** Those of its proofs that were made out to its issuer, for as long as it holds. */
  #proofs(token: Ucan, depth: number, failed: (error: SkaldError) => void): { scopes: readonly Scope[] }[] {
    const found: { scopes: readonly Scope[] }[] = [];
    for (const entry of token.prf) {
      const text = isUcanCid(entry) ? this.#texts.get(entry) : entry;
      if (text === undefined) {
        failed(refused("chain", `the proof ${entry} did not come with it`));
        continue;
      }
      try {
        const proof = decodeUcan(text);
        if (proof.aud !== token.iss)
          throw refused("chain", `the proof ${proof.cid} is made out to another than ${token.iss}`);
        if (proof.nbf > token.nbf || proof.exp < token.exp)
          throw refused("times", `the proof ${proof.cid} holds for less time than what it proves`);
        const link = this.#link(proof, depth + 1);
        if (link.fault) failed(link.fault);
        found.push(link);
      } catch (error) {
        if (!isSkaldError(error) || error.code !== "CAPABILITY_INVALID") throw error;
        failed(error);
      }
    }
    return found;
  }

  #unproven({ db, action, prefix }: Scope, hasProofs: boolean, owner: string | undefined): SkaldError {
    const what = `${action} on ${db}${prefix === undefined ? "" : ` under ${prefix}`}`;
    // The same whether there is no such db, no owner's key, or another one.
    if (!hasProofs) return refused("chain", `its chain does not end at the key that ${db} belongs to here`);
    return refused(owner === undefined ? "chain" : "wider", `its proofs do not give ${what}`);
  }
}

/** What it claims of Skald's dbs; what it says of others' resources is theirs. Throws CAPABILITY_INVALID. */
function scopesOf(token: Ucan): Scope[] {
  const scopes: Scope[] = [];
  for (const [resource, ability, caveat] of token.cap) {
    if (!resource.startsWith(RESOURCE)) continue;
    const action =
      ability === "*" ? "*" : ability.startsWith(ABILITY) ? ability.slice(ABILITY.length) : undefined;
    const { prefix, ...rest } = caveat;
    const [unknown] = Object.keys(rest);
    if (unknown !== undefined)
      throw refused("scope", `the caveat "${unknown.slice(0, 80)}" is not known here`);
    if (action === undefined || (prefix !== undefined && typeof prefix !== "string"))
      throw refused("scope", `"${ability.slice(0, 80)}" is no ability, or its prefix no text`);
    const db = resource.slice(RESOURCE.length);
    if (db === "*") throw refused("scope", "a capability names the db that it is for");
    try {
      scopes.push(checkScope(db, action, prefix));
    } catch (error) {
      throw refused("scope", (error as Error).message.replace(/\.$/, ""));
    }
  }
  return scopes;
}
