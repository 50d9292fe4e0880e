import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

/** Version of the Automerge that is installed; its package does not export its package.json. */
export const AUTOMERGE_VERSION = versionOf("@automerge/automerge");

function versionOf(name: string): string {
  let folder = path.dirname(createRequire(import.meta.url).resolve(name));
  for (;;) {
    try {
      const about = JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8")) as {
        name?: string;
        version?: string;
      };
      if (about.name === name && about.version !== undefined) return about.version;
    } catch {
      // Folders inside a package may have no package.json, or one without a name.
    }
    const up = path.dirname(folder);
    if (up === folder) return "unknown";
    folder = up;
  }
}
