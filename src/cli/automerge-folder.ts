import { opendir, readFile, readdir } from "node:fs/promises";
import path from "node:path";
import { readExported } from "./exported-folder.ts";
import { CliError } from "./failure.ts";

/** One document of a folder: its name, or the documentId that is its key, and where its chunks are. */
export type FolderDocument = { readonly files: readonly string[] } & (
  { readonly doc: string } | { readonly documentId: string }
);

/**
 * The documents of a folder, as automerge-repo's file storage keeps it (`<first two characters of the
 * id>/<the rest>/snapshot/<hash>` and `…/incremental/<hash>`) or as `skald export` writes it. Whatever
 * else lies there, such as the states of automerge-repo's sync, is left alone.
 */
export async function* readFolder(folder: string): AsyncGenerator<FolderDocument> {
  for await (const first of await opendir(folder)) {
    if (!first.isDirectory()) continue;
    const at = path.join(folder, first.name);
    for await (const { doc, file } of readExported(at, first.name)) yield { doc, files: [file] };
    if (first.name.length === 2) yield* repoDocuments(at, first.name);
  }
}

async function* repoDocuments(folder: string, start: string): AsyncGenerator<FolderDocument> {
  for await (const rest of await opendir(folder)) {
    if (!rest.isDirectory()) continue;
    const own = path.join(folder, rest.name);
    const files: string[] = [];
    for (const kind of ["snapshot", "incremental"]) files.push(...(await filesOf(path.join(own, kind))));
    if (files.length > 0) yield { documentId: start + rest.name, files };
  }
}

/** The chunks of one document after each other, in any order: all the server asks for. */
export async function documentBytes({ files }: FolderDocument): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for (const file of files) chunks.push(await readFile(file));
  return Buffer.concat(chunks);
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
  return new CliError("IMPORT_INVALID", `No Automerge documents are in ${folder}.`, {
    hint: "Name the folder that automerge-repo's file storage or `skald export --format automerge` writes to.",
  });
}
