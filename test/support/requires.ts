import { spawnSync } from "node:child_process";

const CHECKS = {
  strace: () => runs("strace", ["-o", "/dev/null", "true"]),
  cc: () => runs("cc", ["--version"]),
  chromium: () => runs("chromium", ["--version"]),
  /** A file system of our own that can be filled up. */
  mount: () =>
    process.getuid?.() === 0 && runs("unshare", ["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]),
} as const;

function runs(command: string, args: string[]): boolean {
  return spawnSync(command, args, { stdio: "ignore" }).status === 0;
}

/** What a container may not be given: its tests are the same as others, on the real thing. */
const MAY_BE_MISSING: ReadonlySet<string> = new Set(["mount"]);

/**
 * `describe` where this machine has what the tests need. Elsewhere it leaves them out, saying so in their
 * title, unless SKALD_REQUIRE_ALL=1: then they fail.
 */
export function requires(...needs: (keyof typeof CHECKS)[]): (name: string, tests: () => void) => void {
  const missing = needs.filter((need) => !CHECKS[need]());
  if (missing.length === 0) return describe;
  const why = `needs ${missing.join(", ")}`;
  if (process.env["SKALD_REQUIRE_ALL"] === "1" && missing.some((need) => !MAY_BE_MISSING.has(need))) {
    return (name) =>
      describe(name, () => {
        test(why, () => {
          throw new Error(`${why}, which SKALD_REQUIRE_ALL does not let pass`);
        });
      });
  }
  return (name, tests) => (missing.length > 0 ? describe.skip : describe)(`${name} (${why})`, tests);
}
