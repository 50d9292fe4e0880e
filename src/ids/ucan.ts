import { base32 } from "multiformats/bases/base32";
import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { parseDidKey } from "./did-key.ts";
import { isSignature, type Signer } from "./ed25519.ts";
import { fromHex, sha256Hex } from "./hash.ts";

/**
 * One UCAN: a JSON Web Token by which a key hands rights on to another. Read here is what it says; whether it may say
 * so is the business of whoever checks its chain.
 * Source: UCAN specification 0.10.0 (sections 3 and 6.5), RFC 7519, RFC 8037.
 */
export interface Ucan {
  /** Canonical address: CIDv1, raw, SHA-256, base32. */
  readonly cid: string;
  /** `did:key` of an Ed25519 key. */
  readonly iss: string;
  readonly aud: string;
  /** Seconds since 1970; 0 when it holds from the beginning. */
  readonly nbf: number;
  /** Seconds since 1970; Infinity when it never ends. */
  readonly exp: number;
  /** Resource, ability, caveats: one of them is enough. */
  readonly cap: readonly (readonly [resource: string, ability: string, caveat: Caveat])[];
  /** Addresses of what proves it, or such tokens themselves. */
  readonly prf: readonly string[];
  readonly text: string;
}

export type Caveat = Readonly<Record<string, unknown>>;

/** What a token says of itself before anybody looks at it. */
export interface UcanClaims {
  readonly iss: string;
  readonly aud: string;
  readonly exp: number | null;
  readonly nbf?: number;
  readonly nnc?: string;
  readonly cap: Readonly<Record<string, Readonly<Record<string, readonly Caveat[]>>>>;
  readonly prf?: readonly string[];
}

export const UCAN_VERSION = "0.10.0";

const PARTS = /^([A-Za-z0-9_-]{1,512})\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})$/;
const VERSION = /^0\.10\.\d{1,4}(?:-[\w.]{1,20})?$/;
const DID = /^did:[a-z0-9]{1,32}:[\w.:%-]{1,256}$/;
const { uses, proofs, characters } = LIMITS.capability;

/** Whether it is written like a UCAN of whichever version: what is not may be of another kind. */
export function looksLikeUcan(text: string): boolean {
  // `{"` in base64url.
  if (!text.startsWith("ey")) return false;
  const payload = PARTS.exec(text)?.[2];
  if (payload === undefined || text.length > characters.value) return text.includes(".");
  try {
    return Object.hasOwn(JSON.parse(Buffer.from(payload, "base64url").toString()) as object, "ucv");
  } catch {
    return false;
  }
}

/** Throws CAPABILITY_INVALID. The signature is not looked at. */
export function decodeUcan(text: string): Ucan {
  if (text.length > characters.value) throw malformed(`it has more than ${characters.value} characters`);
  const [, header, payload, signature] = PARTS.exec(text) ?? [];
  if (header === undefined || payload === undefined || signature === undefined)
    throw malformed("it is not three parts of base64url, of which the last has 64 bytes");
  // Spare bits at the end of a part would give one token many addresses, and revoking names the address.
  for (const part of [header, payload, signature])
    if (Buffer.from(part, "base64url").toString("base64url") !== part)
      throw malformed("a part is not base64url in its one form");
  const { alg, typ } = jsonOf(header);
  if (alg !== "EdDSA" || typ !== "JWT") throw refused("algorithm", "it is not signed by EdDSA, as a JWT");
  const claims = jsonOf(payload);
  const { ucv, iss, aud, nbf, exp, cap, prf } = claims;
  if (typeof ucv !== "string" || !VERSION.test(ucv)) throw refused("version", "its version is not 0.10");
  if (typeof iss !== "string" || !parseDidKey(iss)) throw malformed("`iss` is no did:key of Ed25519");
  if (typeof aud !== "string" || !DID.test(aud)) throw malformed("`aud` is no did");
  return {
    cid: ucanCid(text),
    iss,
    aud,
    nbf: nbf === undefined ? 0 : seconds("nbf", nbf),
    exp: exp === null ? Infinity : seconds("exp", exp),
    cap: usesOf(cap),
    prf: proofsOf(prf),
    text,
  };
}

/** Whether its issuer has signed it. */
export function isSignedUcan({ iss, text }: Ucan): boolean {
  const end = text.lastIndexOf(".");
  const signature = Buffer.from(text.slice(end + 1), "base64url");
  return isSignature(iss, Buffer.from(text.slice(0, end), "latin1"), signature);
}

/** The text of a token that says this, signed. */
export function encodeUcan(claims: Omit<UcanClaims, "iss">, signer: Signer): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "EdDSA", typ: "JWT" })}.${part({ ucv: UCAN_VERSION, iss: signer.did, ...claims })}`;
  return `${signed}.${Buffer.from(signer.sign(Buffer.from(signed, "latin1"))).toString("base64url")}`;
}

/** The canonical address of a token. */
export function ucanCid(text: string): string {
  const hash = fromHex(sha256Hex(Buffer.from(text, "latin1")));
  return base32.encode(Buffer.concat([CID_V1_RAW_SHA256, hash]));
}

/** Whether it is written like such an address. */
export function isUcanCid(text: string): boolean {
  return UCAN_CID.test(text);
}

const CID_V1_RAW_SHA256 = Uint8Array.of(0x01, 0x55, 0x12, 0x20);
// 36 bytes are 57.6 letters: the last of the 58 has two spare bits, which are zero.
const UCAN_CID = /^bafkrei[a-z2-7]{51}[aeimquy4]$/;

/** Each ability with each of its caveats. */
function usesOf(cap: unknown): Ucan["cap"] {
  const found: [string, string, Caveat][] = [];
  for (const [resource, abilities] of entries("cap", cap))
    for (const [ability, caveats] of entries("abilities", abilities)) {
      if (!Array.isArray(caveats)) throw malformed("caveats are a list");
      for (const caveat of caveats as unknown[]) {
        if (found.length >= uses.value)
          throw refused("size", `it names more than ${uses.value} capabilities`);
        entries("a caveat", caveat);
        found.push([resource, ability.toLowerCase(), caveat as Caveat]);
      }
    }
  return found;
}

function proofsOf(prf: unknown): string[] {
  if (prf === undefined) return [];
  if (!Array.isArray(prf) || !prf.every((one) => typeof one === "string"))
    throw malformed("`prf` is a list of texts");
  if (prf.length > proofs.value) throw refused("size", `it names more than ${proofs.value} proofs`);
  return prf as string[];
}

function seconds(name: string, value: unknown): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw malformed(`\`${name}\` is not whole seconds since 1970`);
}

function entries(what: string, value: unknown): [string, unknown][] {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw malformed(`${what} is no object`);
  return Object.entries(value);
}

function jsonOf(part: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(utf8.decode(Buffer.from(part, "base64url")));
  } catch {
    throw malformed("a part is not JSON");
  }
  entries("a part", value);
  return value as Record<string, unknown>;
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

const malformed = (why: string): SkaldError => refused("malformed", why);

/** `reason` is for programs, `why` completes "The capability is not valid: ". */
export function refused(reason: CapabilityFault, why: string): SkaldError {
  return new SkaldError("CAPABILITY_INVALID", `The capability is not valid: ${why}.`, {
    details: { reason },
  });
}

export type CapabilityFault =
  | "malformed"
  | "algorithm"
  | "version"
  | "size"
  | "depth"
  | "signature"
  | "audience"
  | "not_yet"
  | "expired"
  | "times"
  | "wider"
  | "chain"
  | "revoked"
  | "scope";
