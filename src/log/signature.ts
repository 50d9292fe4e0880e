import type { Signer } from "../ids/ed25519.ts";
import { isSignature } from "../ids/ed25519.ts";
import { CODEC_DAG_CBOR, cidCodec, cidToString } from "../ids/cid.ts";
import { parseDidKey } from "../ids/did-key.ts";
import { encodeCommit, type Commit } from "./commit.ts";
import { decodeEvent, encodeEvent } from "./event.ts";
import { isMerge, mergedIn } from "./merged.ts";
import type { StoredCommit } from "./stored-commit.ts";

/**
 * Signatures of commits. A server that has a key signs each commit that it writes; those of others stay as they
 * came. A key is followed by another through a commit that the first one signs, so that the chain of keys is in
 * the log itself; from there on nothing on that line is signed by the first one any more.
 */

/** What is signed begins with this, so that no signature of anything else is one of a commit. */
const DOMAIN = Buffer.from("skald commit 1\n");

function signedBytes(commit: Commit): Uint8Array {
  const { signed: _, ...unsigned } = commit;
  return Buffer.concat([DOMAIN, encodeCommit(unsigned)]);
}

export function signCommit(commit: Commit, signer: Signer): Commit {
  return { ...commit, signed: { signer: signer.did, signature: signer.sign(signedBytes(commit)) } };
}

/** Author of what the server does by itself. */
export const SERVER = "skald";
const ROTATION = "key.rotate";

/** One key of a server follows another. */
export interface Rotation {
  readonly from: string;
  readonly to: string;
}

/** The client_tx_id of the commit that retires a key: so that one does, and that it is found. */
export const rotationTxId = (did: string): string => `${ROTATION}:${did}`;

export const isRotationTxId = (author: string, clientTxId: string): boolean =>
  author === SERVER && clientTxId.startsWith(`${ROTATION}:`);

/** What the commit says that retires a key: its event. */
export function rotationEvent({ from, to }: Rotation): Uint8Array {
  return encodeEvent({ type: ROTATION, from, to });
}

/** What a line of commits says of keys, to whoever goes along it. */
export interface Keys {
  /** Whether a commit before says that the key signs no more. */
  retired(did: string): boolean;
  /** Told of each rotation, and of the signer of each commit whose signature is right. */
  rotated?(rotation: Rotation): void;
  signed?(did: string): void;
}

/** What is wrong with the signatures of a commit and of those within it, to read after its name; undefined when nothing is. */
export function wrongSignature(stored: StoredCommit, keys: Keys): string | undefined {
  const { commit } = stored;
  const { signed } = commit;
  const wrong = badSignature(commit, keys);
  if (wrong !== undefined) return wrong;
  if (signed && keys.retired(signed.signer))
    return `it is signed by ${signed.signer}, which a commit before it retires`;
  // Nearly all commits have neither.
  if (commit.events.length === 0 && !isRotationTxId(commit.author, stored.clientTxId)) return undefined;
  const blocks = eventBlocks(stored);
  for (const within of mergedIn(stored)) {
    const bad = badSignature(within.commit, keys) ?? wrongRotation(within, blocks, keys);
    if (bad !== undefined) return `of ${cidToString(within.cid)} in it: ${bad}`;
  }
  return wrongRotation(stored, blocks, keys);
}

function badSignature(commit: Commit, keys: Keys): string | undefined {
  const { signed } = commit;
  if (!signed) return undefined;
  if (isSignature(signed.signer, signedBytes(commit), signed.signature)) {
    keys.signed?.(signed.signer);
    return undefined;
  }
  return `it is not what ${signed.signer} signed`;
}

function wrongRotation(
  { commit, clientTxId }: Pick<StoredCommit, "commit" | "clientTxId">,
  blocks: ReadonlyMap<string, Uint8Array>,
  keys: Keys,
): string | undefined {
  const named = isRotationTxId(commit.author, clientTxId);
  // The events of a merge are those of the commits in it.
  const own = isMerge(commit) ? [] : commit.events;
  const rotations = own.flatMap((cid) => rotationIn(blocks.get(cidToString(cid))));
  const [rotation] = rotations;
  if (!rotation) return named ? "it is said to retire a key and does not" : undefined;
  const { from, to } = rotation;
  const whole =
    rotations.length === 1 &&
    commit.events.length === 1 &&
    commit.entries.length === 0 &&
    from !== to &&
    commit.author === SERVER &&
    clientTxId === rotationTxId(from) &&
    parseDidKey(to) !== undefined;
  if (!whole) return "it retires a key in a form that is none";
  if (commit.signed?.signer !== from) return `it retires ${from}, which did not sign it`;
  keys.rotated?.(rotation);
  return undefined;
}

function rotationIn(block: Uint8Array | undefined): Rotation[] {
  if (!block || block.length === 0 || Buffer.from(block).indexOf(ROTATION) < 0) return [];
  try {
    const { type, from, to } = decodeEvent(block);
    if (type !== ROTATION) return [];
    return [{ from: typeof from === "string" ? from : "", to: typeof to === "string" ? to : "" }];
  } catch {
    // An event of another kind, which is not ours to read.
    return [];
  }
}

/** The events of a commit that are no commits, by their addresses. */
function eventBlocks({ commit, blocks }: StoredCommit): Map<string, Uint8Array> {
  const from = blocks.length - commit.events.length;
  return new Map(
    commit.events.flatMap((cid, i) => {
      const block = blocks[from + i];
      return block && cidCodec(cid) !== CODEC_DAG_CBOR ? [[cidToString(cid), block] as const] : [];
    }),
  );
}
