import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { cleanEnv, startServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const README = readFileSync(path.join(ROOT, "README.md"), "utf8");

/** The commands of the walk, exactly as a newcomer copies them. */
function walk(): string {
  const text = README.slice(README.indexOf("<!-- walk:begin -->"), README.indexOf("<!-- walk:end -->"));
  return [...text.matchAll(/```sh\n([\s\S]*?)```/g)].map((match) => match[1]).join("\n");
}

test("the walk in README works as written", async () => {
  const dir = tempDir();
  const server = await startServer(dir);
  try {
    const script = walk().replace("http://127.0.0.1:7600", server.url);
    const { stdout } = await promisify(execFile)("bash", ["-euo", "pipefail", "-c", script], {
      cwd: ROOT,
      env: cleanEnv({ SKALD_DIR: dir }),
    });
    expect(stdout).toContain('"title":"Hello, world"');
    expect(stdout).toContain('"title":"Hello"');
    expect(stdout).toMatch(/sound/);
    expect(stdout).toMatch(/HTTP\/1.1 200 OK/);
    expect(stdout).not.toMatch(/"status":4\d\d/);
  } finally {
    await server.stop();
  }
  // Some thirty commands, each a process.
}, 180_000);

test("every link of README to a file of the project leads somewhere", () => {
  for (const [, target] of README.matchAll(/\]\((?!http)([^)#]+)[^)]*\)/g)) {
    expect(() => readFileSync(path.join(ROOT, target as string)).length).not.toThrow(/ENOENT/);
  }
});
