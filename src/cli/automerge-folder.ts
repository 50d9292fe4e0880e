import { opendir, readFile, readdir } from "node:fs/promises";
import path from "node:path";
import { CliError } from "./failure.ts";

/** One document of a folder: its Automerge documentId and the bytes of all its chunks. */
export interface FolderDocument {
  readonly documentId: string;
  readonly bytes: Buffer;
}

/**
 * The documents of a folder as automerge-repo's file storage keeps it: `<first two characters of the
 * id>/<the rest>/snapshot/<hash>` and `…/incremental/<hash>`. Whatever else lies there, such as the
 * states of its sync, is left alone. One document is in memory at a time.
 */
export async function* readRepoFolder(folder: string): AsyncGenerator<FolderDocument> {
  for await (const first of await opendir(folder)) {
    if (!first.isDirectory() || first.name.length !== 2) continue;
    for await (const rest of await opendir(path.join(folder, first.name))) {
      if (!rest.isDirectory()) continue;
      const own = path.join(folder, first.name, rest.name);
      const chunks: Buffer[] = [];
      for (const kind of ["snapshot", "incremental"]) {
        for (const file of await filesOf(path.join(own, kind))) chunks.push(await readFile(file));
      }
      if (chunks.length > 0) yield { documentId: first.name + rest.name, bytes: Buffer.concat(chunks) };
    }
  }
}

async function filesOf(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => path.join(folder, entry.name))
      .toSorted();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

export function noDocuments(folder: string): CliError {
  return new CliError("IMPORT_INVALID", `No documents of automerge-repo are in ${folder}.`, {
    hint: "Name the folder that its file storage writes to: it holds folders with names of two characters.",
  });
}
