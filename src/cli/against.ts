import { readFile } from "node:fs/promises";
import type * as z from "zod";
import type { CommitList, DbInfo, VerifyLine } from "../protocol/wire.ts";
import { decodeCheckpoint, type Checkpoint } from "../ids/checkpoint.ts";
import { cidToString } from "../ids/cid.ts";
import { parseDidKey } from "../ids/did-key.ts";
import { toHex } from "../ids/hash.ts";
import { dbPath, query } from "./client-command.ts";
import { askJson, type Connection } from "./connection.ts";
import { CliError, problemError, usageError } from "./failure.ts";

export interface AgainstFlags {
  readonly against?: string;
  readonly againstToken?: string;
  readonly signer?: string;
}

/** Reads the checkpoint of a file, `-` for stdin, or a URL, and checks its signature. Throws CHECKPOINT_INVALID. */
export async function readCheckpoint({ against, againstToken, signer }: AgainstFlags): Promise<Checkpoint> {
  if (signer !== undefined && !parseDidKey(signer))
    throw usageError(`--signer takes the did:key of a server, such as did:key:z6Mk…, not "${signer}".`);
  const where = against as string;
  return decodeCheckpoint(
    /^https?:/i.test(where) ? await fetched(where, againstToken) : await fileText(where),
  );
}

async function fileText(file: string): Promise<string> {
  if (file !== "-") return (await readFile(file)).toString("utf8");
  const parts: Buffer[] = [];
  for await (const part of process.stdin) parts.push(part as Buffer);
  return Buffer.concat(parts).toString("utf8");
}

/** No token of this side goes there: the two servers need not know each other. */
async function fetched(url: string, token: string | undefined): Promise<string> {
  const headers = {
    accept: "text/plain",
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  };
  const answer = await fetch(url, { headers, redirect: "error" }).catch((cause: unknown) => {
    throw new CliError("UNREACHABLE", `Nothing answers at ${new URL(url).origin}.`, { cause });
  });
  const text = await answer.text();
  if (!answer.ok) throw problemError(answer.status, text);
  return text;
}

/**
 * That the commit which the checkpoint names stands where it says in this db. Together with a sound log, where each
 * commit names the one before it, nothing before it is another either. Throws CHECKPOINT_INVALID, HISTORY_SHORTER,
 * HISTORY_REWRITTEN.
 */
export async function compareCheckpoint(
  connection: Connection,
  db: string,
  checkpoint: Checkpoint,
): Promise<void> {
  const { seq, commit } = checkpoint;
  const head = await askJson<z.infer<typeof DbInfo>>(connection, { method: "GET", path: dbPath(db) });
  const { uid } = head;
  if (uid !== toHex(checkpoint.uid)) {
    throw new CliError(
      "CHECKPOINT_INVALID",
      `The checkpoint is of the db with the uid ${toHex(checkpoint.uid)}; ${db} has ${uid}.`,
    );
  }
  if (!commit) return;
  const wanted = cidToString(commit);
  if (seq > head.seq) {
    throw new CliError(
      "HISTORY_SHORTER",
      `The checkpoint is at commit ${seq} (${wanted}); ${db} ends at commit ${head.seq} (${head.commit ?? "none"}).`,
      { hint: "This is an older copy, or its end was lost; `skald pull` brings what a copy lacks." },
    );
  }
  const { commits } = await askJson<z.infer<typeof CommitList>>(connection, {
    method: "GET",
    path: `${dbPath(db)}/commits${query({ since: seq - 1, limit: 1 })}`,
  });
  const there = commits[0]?.cid;
  if (there === wanted) return;
  const merged = await connection
    .send({ method: "GET", path: `${dbPath(db)}/commits/${wanted}` })
    .then((reply) => reply.resume() !== undefined)
    .catch(() => false);
  throw new CliError(
    "HISTORY_REWRITTEN",
    `Commit ${seq} of ${db} is ${there ?? "missing"}; the checkpoint says ${wanted}.`,
    {
      hint: merged
        ? "The commit is there, within a merge: this copy took over another one's line and put its own on top."
        : "This history does not go on from the one that the checkpoint names: keep both, they are proof.",
      details: { seq, there: there ?? null, checkpoint: wanted, merged },
    },
  );
}

/**
 * That the checkpoint was signed by this key, or by one that follows it: each retired by a commit of the history
 * that it signed itself. Throws CHECKPOINT_INVALID.
 */
export function checkSigner(
  checkpoint: Checkpoint,
  signer: string,
  verdict: z.infer<typeof VerifyLine>,
): void {
  const by = checkpoint.signed?.signer;
  const trusted = new Set([signer]);
  for (const { from, to } of verdict.signatures?.rotations ?? []) if (trusted.has(from)) trusted.add(to);
  if (by !== undefined && trusted.has(by)) return;
  throw new CliError(
    "CHECKPOINT_INVALID",
    by === undefined
      ? `The checkpoint is not signed, by ${signer} or anybody.`
      : `The checkpoint is signed by ${by}, which is not ${signer}, and no commit has it follow that.`,
  );
}
