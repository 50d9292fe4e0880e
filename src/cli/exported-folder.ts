import { opendir } from "node:fs/promises";
import path from "node:path";
import { parseDocName } from "../ids/names.ts";

/**
 * The folder that `export --format automerge` writes and `import` reads: one file for each document,
 * `<collection>/<key, percent-encoded>.automerge`. Invariant: a file's place gives its document's name
 * back, whole. File systems take names of 255 bytes and a key can have 1,536 characters when it is
 * encoded, so a longer name is cut into folders: only names of exactly NAME_MAX characters are.
 */
const NAME_MAX = 200;
const ENDING = ".automerge";

export interface ExportedFile {
  readonly doc: string;
  readonly file: string;
}

/** Path of a document's file below the folder. Throws NAME_INVALID. */
export function exportedFile(doc: string): string {
  const { collection, key } = parseDocName(doc);
  const parts: string[] = [];
  let rest = encodeURIComponent(key).replaceAll("*", "%2A").replace(/^\./, "%2E");
  for (; rest.length > NAME_MAX; rest = rest.slice(NAME_MAX)) parts.push(rest.slice(0, NAME_MAX));
  return path.join(collection, ...parts, `${rest}${ENDING}`);
}

/** The documents' files in the folder of one collection. A name that says no key is given as it is. */
export async function* readExported(folder: string, collection: string): AsyncGenerator<ExportedFile> {
  yield* below(folder, `${collection}/`);
}

async function* below(folder: string, prefix: string): AsyncGenerator<ExportedFile> {
  for await (const entry of await opendir(folder)) {
    const { name } = entry;
    const at = path.join(folder, name);
    if (entry.isDirectory() && name.length === NAME_MAX) yield* below(at, prefix + name);
    else if (entry.isFile() && name.endsWith(ENDING)) {
      yield { doc: decoded(prefix + name.slice(0, -ENDING.length)), file: at };
    }
  }
}

/** A file that somebody put there need not be named as export does it. */
function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
