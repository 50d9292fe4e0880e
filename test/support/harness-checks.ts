import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

/**
 * What must hold of a process and of all files and logs together, so that no single db can tell. The fault
 * tests and the soak call these; test/db/invariants.test.ts shows each of them something broken.
 */
export const HARNESS_INVARIANTS = {
  leaked: "no secret is on disk or in logs, and no byte of one db in another's files",
  rejection: "no rejection is left unhandled",
  descriptor: "a db that was closed leaves no file open",
  handle: "a process that was told to end waits for nothing",
} as const;
export type HarnessInvariant = keyof typeof HARNESS_INVARIANTS;

export interface HarnessFinding {
  readonly what: HarnessInvariant;
  readonly where: string;
}

/** Arguments for node that have a process watch itself; its environment names its data directory. */
export const WATCHED: readonly string[] = [
  "--import",
  fileURLToPath(new URL("./watch-process.mjs", import.meta.url)),
];

/** What a watched process said on stderr. */
export function watchedIn(stderr: string): HarnessFinding[] {
  return stderr
    .split("\n")
    .filter((line) => line.startsWith("watched: "))
    .map((line) => JSON.parse(line.slice("watched: ".length)) as HarnessFinding);
}

/** Files under `dir` that a process (this one unless told) has open. Linux only. */
export function descriptorsIn(dir: string, pid: number | "self" = "self"): HarnessFinding[] {
  const found: HarnessFinding[] = [];
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      const where = readlinkSync(`/proc/${pid}/fd/${fd}`);
      if (where.startsWith(dir)) found.push({ what: "descriptor", where });
    } catch {
      // Closed meanwhile, such as the listing's own.
    }
  }
  return found;
}

export interface Place {
  /** Such as a file's name; findings say it. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Shorter ones are found by chance. */
const CANARY_MIN = 8;

/**
 * Canaries (secrets, or text of another db) that show in one of the places: as they are, in hex, in either
 * base64, escaped for a URL or for JSON. One that is compressed or encrypted is not found: SQLite's pages, the
 * logs and small JSON rows are neither, long rows and bundles are.
 */
export function leaksIn(places: readonly Place[], canaries: readonly string[]): HarnessFinding[] {
  const found: HarnessFinding[] = [];
  for (const canary of canaries) {
    if (Buffer.byteLength(canary) < CANARY_MIN) throw new RangeError(`the canary "${canary}" is too short`);
    const forms = [...new Set(formsOf(canary))];
    for (const { name, bytes } of places) {
      const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const form = forms.find((text) => view.includes(text));
      if (form !== undefined) found.push({ what: "leaked", where: `${name} holds ${form.slice(0, 80)}` });
    }
  }
  return found;
}

function formsOf(canary: string): string[] {
  const bytes = Buffer.from(canary);
  return [
    canary,
    bytes.toString("hex"),
    bytes.toString("hex").toUpperCase(),
    encodeURIComponent(canary),
    JSON.stringify(canary).slice(1, -1),
    // In base64 the text may begin at any third byte; what its neighbours have a share in is cut off.
    ...[0, 1, 2].flatMap((shift) => {
      const shifted = Buffer.concat([Buffer.alloc(shift), bytes]);
      const cut = (text: string): string => text.replace(/=+$/, "").slice(Math.ceil((shift * 8) / 6), -1);
      return [cut(shifted.toString("base64")), cut(shifted.toString("base64url"))];
    }),
  ];
}

/** Every file under a folder. Only for dbs that no process has open: see src/store/sqlite.ts. */
export function filesIn(dir: string): Place[] {
  return (readdirSync(dir, { recursive: true, withFileTypes: true }) as import("node:fs").Dirent[])
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .map((file) => ({ name: path.relative(dir, file), bytes: readFileSync(file) }));
}
