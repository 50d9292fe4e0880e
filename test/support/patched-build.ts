import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { ServerOptions } from "./skald-process.ts";

/**
 * A piece of the compiled program and what stands in its place. In `find` spaces may be any, and each name may have
 * grown digits, as a bundler gives them to what meets another of its name: `@name` in `replace` is what it is called.
 */
export interface Patch {
  readonly find: string;
  readonly replace: string;
}

/** A regular expression with a group for each name of `find`. */
function patternOf(find: string): string {
  const known = new Set<string>();
  return find
    .split(/(\s+|[#\w$]+|"[^"]*")/)
    .map((part) => {
      if (/^\s*$/.test(part)) return part === "" ? "" : "\\s*";
      if (part === "undefined") return "(?:undefined|void 0)";
      if (!/^[A-Za-z_$][\w$]*$/.test(part)) return part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
      if (known.has(part)) return `\\k<${part}>`;
      known.add(part);
      return `(?<${part}>\\b${part}\\d*\\b)`;
    })
    .join("");
}

const LOADER = new URL("./patched-build.mjs", import.meta.url).href;

export interface PatchedBuild {
  readonly env: NonNullable<ServerOptions["env"]>;
  /** Says which of the names that the pieces ask `skaldBroken` for are on from now; none at first. */
  breaks(...names: readonly string[]): void;
  /** Throws unless each piece was there exactly once, once the program is loaded. */
  check(): void;
}

/** What a server is started with to run with pieces of it replaced. */
export function patchedBuild(dir: string, patches: readonly Patch[]): PatchedBuild {
  const [list, broken, noted] = ["patches.json", "broken", "patched"].map((name) => path.join(dir, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(
    list,
    JSON.stringify(patches.map(({ find, replace }) => ({ find: patternOf(find), replace }))),
  );
  writeFileSync(broken, "");
  writeFileSync(noted, "");
  return {
    env: {
      NODE_OPTIONS: `--import ${LOADER}`,
      SKALD_TEST_PATCHES: list,
      SKALD_TEST_BROKEN: broken,
      SKALD_TEST_PATCHED: noted,
    },
    breaks: (...names) => writeFileSync(broken, names.join("\n")),
    check: () => {
      const hits = readFileSync(noted, "utf8").trim().split("\n");
      patches.forEach(({ find }, i) => {
        const times = hits.filter((hit) => hit === String(i)).length;
        if (times !== 1) throw new Error(`the program has ${times} times: ${find}`);
      });
    },
  };
}
