import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { SkaldError } from "../errors.ts";
import { signerOf } from "../ids/ed25519.ts";
import { syncFolder } from "./folder.ts";
import { named } from "./sqlite.ts";

/** A key of this server, oldest first in a list of them. */
export interface SigningKey {
  /** `did:key`. */
  readonly did: string;
  /** Milliseconds since 1970. */
  readonly created: number;
  /** When the next one had taken its place everywhere; undefined while it signs. */
  readonly retired?: number;
  /** 32 bytes; of one that was retired they are gone. */
  readonly secret?: Uint8Array;
}

export const KEYS_FILE = "signing-keys.json";

/** The signing keys of a data directory; none when it has no file of them. Throws KEYS_DAMAGED. */
export function readSigningKeys(dir: string): SigningKey[] {
  const file = path.join(dir, KEYS_FILE);
  if (!existsSync(file)) return [];
  const text = named(file, () => readFileSync(file, "utf8"));
  try {
    const { version, keys } = JSON.parse(text) as { version: unknown; keys: StoredKey[] };
    if (version !== 1) throw new RangeError(`version ${String(version)}`);
    return keys.map(keyOf);
  } catch (cause) {
    throw new SkaldError("KEYS_DAMAGED", `The file ${file} is not as it was written.`, {
      details: { file },
      cause,
    });
  }
}

/** Puts these in the place of all that were kept: the one or the other is there after a crash. */
export function writeSigningKeys(dir: string, keys: readonly SigningKey[]): void {
  const file = path.join(dir, KEYS_FILE);
  const text = `${JSON.stringify({ version: 1, keys: keys.map(storedOf) }, undefined, 2)}\n`;
  const next = `${file}.new`;
  named(file, () => {
    // One that a crash left may have another's rights.
    rmSync(next, { force: true });
    const handle = openSync(next, "wx", 0o600);
    try {
      writeFileSync(handle, text);
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
    renameSync(next, file);
    syncFolder(dir);
  });
}

interface StoredKey {
  readonly did: string;
  readonly created: string;
  readonly retired?: string;
  /** Base64. */
  readonly secret?: string;
}

function keyOf({ did, created, retired, secret }: StoredKey): SigningKey {
  const bytes = secret === undefined ? undefined : new Uint8Array(Buffer.from(secret, "base64"));
  // A secret that rotted is another key's.
  if (bytes && (bytes.length !== 32 || signerOf(bytes).did !== did)) throw new RangeError("another secret");
  if ((bytes === undefined) !== (retired !== undefined)) throw new RangeError("no secret");
  const key = { did, created: timeOf(created), ...(bytes ? { secret: bytes } : {}) };
  return retired === undefined ? key : { ...key, retired: timeOf(retired) };
}

function storedOf({ did, created, retired, secret }: SigningKey): StoredKey {
  return {
    did,
    created: new Date(created).toISOString(),
    ...(retired === undefined ? {} : { retired: new Date(retired).toISOString() }),
    ...(secret ? { secret: Buffer.from(secret).toString("base64") } : {}),
  };
}

function timeOf(text: string): number {
  const time = Date.parse(text);
  if (!Number.isFinite(time)) throw new RangeError("no time");
  return time;
}
