import type { Command } from "commander";
import { SETTINGS, readConfig } from "../config.ts";
import { startService } from "../service.ts";

/** `skald serve`: runs until SIGTERM or SIGINT; a second one ends at once. */
export function addServe(program: Command): void {
  const command = program.command("serve").description("serve the dbs of a directory over HTTP");
  for (const setting of SETTINGS) {
    command.option(setting.flag, `${setting.help} (default ${setting.fallback}, env ${setting.env})`);
  }
  command.action(async (flags: Record<string, string | undefined>) => {
    const config = readConfig(flags);
    const service = await startService(config, { listen: true, onFatal });
    const out = process.stderr;
    if (service.firstToken !== undefined) {
      out.write(`\n  Your admin token, shown this once:\n\n    ${service.firstToken}\n\n`);
      out.write(`  export SKALD_TOKEN=${service.firstToken}\n\n`);
    }
    out.write(`  Skald serves ${config.dir}\n  at ${service.url}\n  reference ${service.url}/docs\n\n`);
    let stopping = false;
    const stop = (signal: string): void => {
      if (stopping) process.exit(1);
      stopping = true;
      out.write(`  ${signal}: finishing what is under way; once more to stop now\n`);
      service.stop(signal).then(
        () => process.exit(0),
        (error: unknown) => {
          out.write(`  ${(error as Error).message}\n`);
          process.exit(1);
        },
      );
    };
    process.on("SIGTERM", stop);
    process.on("SIGINT", stop);
  });
}

/** After a failed write nothing may touch the files again: end without closing them. */
function onFatal(error: unknown): void {
  process.stderr.write(`  Storage failed, stopping: ${(error as Error).message}\n`);
  setImmediate(() => process.exit(70));
}
