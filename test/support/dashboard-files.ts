import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const at = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));

/** The folder that the dashboard is served from; built when only the rest of `dist` was. */
export function dashboardFiles(): string {
  const folder = at("dist/ui");
  if (!existsSync(`${folder}/index.html`)) {
    const { status, stderr } = spawnSync(process.execPath, [at("src/ui/build.mjs")], { encoding: "utf8" });
    if (status !== 0) throw new Error(stderr);
  }
  return folder;
}
