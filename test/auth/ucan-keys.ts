import { createHash } from "node:crypto";
import { signerOf, type Signer } from "../../src/ids/ed25519.ts";
import { UCAN_VERSION, encodeUcan, type Caveat, type UcanClaims } from "../../src/ids/ucan.ts";

/** Keys by their names: the same in every run. */
export function key(name: string): Signer {
  return signerOf(createHash("sha256").update(name).digest());
}

export const owner = key("owner");
export const alice = key("alice");
export const bob = key("bob");
export const server = key("server");
export const stranger = key("stranger");

/** A capability of the db `notes`. */
export function may(ability: string, ...caveats: Caveat[]): UcanClaims["cap"] {
  return { "skald:notes": { [ability]: caveats.length === 0 ? [{}] : caveats } };
}

export const READ = may("skald/doc.read");

/** A UCAN from one key to another, with whatever else it says. */
export function grant(
  from: Signer,
  to: Pick<Signer, "did">,
  cap: UcanClaims["cap"] = READ,
  more: Partial<UcanClaims> = {},
): string {
  return encodeUcan({ aud: to.did, exp: null, cap, ...more }, from);
}

/** A token of these parts, whatever they are, with a signature that holds. */
export function signed(header: unknown, claims: unknown, signer: Signer): string {
  const part = (value: unknown): string =>
    Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
  const text = `${part(header)}.${part(claims)}`;
  return `${text}.${Buffer.from(signer.sign(Buffer.from(text, "latin1"))).toString("base64url")}`;
}

export const HEADER = { alg: "EdDSA", typ: "JWT" };
export const CLAIMS = { ucv: UCAN_VERSION, iss: alice.did, aud: server.did, exp: null, cap: READ };
