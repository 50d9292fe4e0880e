import { SkaldError } from "../errors.ts";
import { cidFromString, cidToString, CODEC_DAG_CBOR, cidCodec } from "./cid.ts";
import { isSignature, type Signer } from "./ed25519.ts";
import { parseDidKey } from "./did-key.ts";
import { fromHex, sha256, toHex } from "./hash.ts";

/**
 * What a server says of a branch's head, as a signed note (C2SP signed-note and tlog-checkpoint): anybody can keep
 * it, hand it on, and hold the server to it later. The text is a function of the commit and the key alone. Pinned by
 * fixtures/ids/checkpoints.json.
 *
 * ```
 * skald.checkpoint.1/<uid in hex>/<branch>
 * <seq>
 * <address of the commit, or none>
 * <time of the commit, RFC 3339 with milliseconds, or none>
 *
 * — <did:key> <base64 of the key's id and the signature>
 * ```
 *
 * In the place of the last line one that is not signed has `unsigned`.
 */
export interface Checkpoint {
  /** 16 bytes. */
  readonly uid: Uint8Array;
  readonly branch: string;
  /** 0 with neither commit nor time for what has no commit yet. */
  readonly seq: number;
  readonly commit: Uint8Array | undefined;
  /** Milliseconds since 1970. */
  readonly time: number | undefined;
  readonly signed: { readonly signer: string; readonly signature: Uint8Array } | undefined;
}

export type UnsignedCheckpoint = Omit<Checkpoint, "signed">;

/** The checkpoint, signed when there is somebody to do it. */
export function signedCheckpoint(of: UnsignedCheckpoint, signer: Signer | undefined): Checkpoint {
  const { uid, branch, seq, commit, time } = of;
  const plain = { uid, branch, seq, commit, time };
  if (!signer) return { ...plain, signed: undefined };
  return { ...plain, signed: { signer: signer.did, signature: signer.sign(noteOf(plain)) } };
}

export function encodeCheckpoint(checkpoint: Checkpoint): string {
  const { signed } = checkpoint;
  const last = signed
    ? `— ${signed.signer} ${Buffer.concat([keyId(signed.signer), signed.signature]).toString("base64")}`
    : UNSIGNED;
  return `${textOf(checkpoint)}\n${last}\n`;
}

/** Reads a checkpoint and checks its signature. Throws CHECKPOINT_INVALID: each has exactly one text. */
export function decodeCheckpoint(text: string): Checkpoint {
  const [origin = "", seq = "", commit = "", time = "", empty, last = "", ...rest] =
    text.length > LONGEST ? [] : text.split("\n");
  const [, uid = "", branch = ""] = ORIGIN.exec(origin) ?? [];
  if (uid === "" || empty !== "" || rest.length !== 1 || rest[0] !== "")
    throw invalid("it is not in the form of one");
  if (!/^(?:0|[1-9]\d{0,14})$/.test(seq)) throw invalid("its second line is no seq");
  const none = seq === "0";
  if (none !== (commit === NONE) || none !== (time === NONE))
    throw invalid("only one of nothing has neither commit nor time");
  const checkpoint = {
    uid: fromHex(uid),
    branch,
    seq: Number(seq),
    commit: none ? undefined : commitOf(commit),
    time: none ? undefined : timeOf(time),
    signed: last === UNSIGNED ? undefined : signedOf(last),
  };
  const { signed } = checkpoint;
  if (encodeCheckpoint(checkpoint) !== text) throw invalid("it is not in the form of one");
  if (signed && !isSignature(signed.signer, noteOf(checkpoint), signed.signature))
    throw invalid(`${signed.signer} did not sign it`);
  return checkpoint;
}

function textOf({ uid, branch, seq, commit, time }: UnsignedCheckpoint): string {
  const at = time === undefined ? NONE : new Date(time).toISOString();
  return `${NAME}/${toHex(uid)}/${branch}\n${seq}\n${commit ? cidToString(commit) : NONE}\n${at}\n`;
}

function noteOf(checkpoint: UnsignedCheckpoint): Uint8Array {
  return Buffer.from(textOf(checkpoint));
}

function commitOf(text: string): Uint8Array {
  try {
    const cid = cidFromString(text);
    if (cidCodec(cid) === CODEC_DAG_CBOR) return cid;
  } catch {
    // Said below.
  }
  throw invalid("its third line is no address of a commit");
}

function timeOf(text: string): number {
  const time = /^[+-]?\d{4,6}-\d\d-\d\dT[\d:.]{12}Z$/.test(text) ? Date.parse(text) : Number.NaN;
  if (!(time >= 0)) throw invalid("its fourth line is no time");
  return time;
}

function signedOf(line: string): NonNullable<Checkpoint["signed"]> {
  const [, signer = "", encoded = ""] = /^— (\S{1,100}) ([A-Za-z0-9+/]+=*)$/.exec(line) ?? [];
  if (!parseDidKey(signer)) throw invalid("it is signed by nobody");
  const bytes = Buffer.from(encoded, "base64");
  if (bytes.length !== 68 || Buffer.compare(bytes.subarray(0, 4), keyId(signer)) !== 0)
    throw invalid("its signature is of another key");
  return { signer, signature: new Uint8Array(bytes.subarray(4)) };
}

/** As a signed note names an Ed25519 key: SHA-256 over its name, a line feed, 1 and the key. */
function keyId(did: string): Uint8Array {
  const key = parseDidKey(did) as Uint8Array;
  return sha256(Buffer.concat([Buffer.from(`${did}\n`), Uint8Array.of(1), key])).subarray(0, 4);
}

function invalid(why: string): SkaldError {
  return new SkaldError("CHECKPOINT_INVALID", `The checkpoint is not to be relied on: ${why}.`);
}

const NAME = "skald.checkpoint.1";
const NONE = "none";
const UNSIGNED = "unsigned";
const ORIGIN = /^skald\.checkpoint\.1\/([0-9a-f]{32})\/([A-Za-z0-9._-]{1,128})$/;
/** Some three times what one has. */
const LONGEST = 2048;
