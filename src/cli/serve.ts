import type { Command } from "commander";
import { SETTINGS, readConfig, type Config } from "../config.ts";
import { isSkaldError } from "../errors.ts";
import type { DevServer } from "./dev-server.ts";
import { CliError } from "./failure.ts";

/** `skald serve`: runs until SIGTERM or SIGINT; a second one ends at once. */
export function addServe(program: Command): void {
  const command = program.command("serve").description("serve the dbs of a directory over HTTP");
  for (const setting of SETTINGS) {
    command.option(setting.flag, `${setting.help} (default ${setting.fallback}, env ${setting.env})`);
  }
  // Not a setting: what lets anybody in who reaches the machine is typed each time, and no environment turns it on.
  command.option("--dev", "let two people sign in without a password, for trying out; on loopback only");
  command.action(async ({ dev, ...flags }: { dev?: true } & Record<string, string | undefined>) => {
    process.title = "skald";
    const given = readConfig(flags);
    const people = dev ? await startDev(given) : undefined;
    const config = people?.config ?? given;
    // Commands that only talk to a server do without all of this.
    const { startService } = await import("../service.ts");
    const service = await startService(config, {
      listen: true,
      onFatal,
      ...(people ? { dev: people.people } : {}),
    }).catch((error: unknown) => {
      throw explained(error, config);
    });
    const out = process.stderr;
    if (service.firstToken !== undefined) {
      out.write(`\n  Your admin token, shown this once:\n\n    ${service.firstToken}\n\n`);
      out.write(`  export SKALD_TOKEN=${service.firstToken}\n\n`);
    }
    if (people && service.url !== undefined) out.write(people.opened(service.url));
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

async function startDev(config: Config): Promise<DevServer> {
  const { startDevServer } = await import("./dev-server.ts");
  return startDevServer(config);
}

/** Says what an operator can do about the two ways a start fails most often. */
function explained(error: unknown, config: Config): unknown {
  const { code } = error as { code?: unknown };
  if (code === "EADDRINUSE") {
    return new CliError("PORT_IN_USE", `Something listens on ${config.host}:${config.port} already.`, {
      hint: "Give --port another number, or 0 for any that is free.",
      cause: error,
    });
  }
  if (!isSkaldError(error) || code !== "DIR_IN_USE") return error;
  const owner = error.details["owner"] as { url?: string } | undefined;
  if (owner?.url === undefined) return error;
  return new CliError("DIR_IN_USE", `${error.message} It serves ${owner.url}.`, {
    hint: error.hint,
    cause: error,
  });
}

/** After a failed write nothing may touch the files again: end without closing them. */
function onFatal(error: unknown): void {
  process.stderr.write(`  Storage failed, stopping: ${(error as Error).message}\n`);
  setImmediate(() => process.exit(70));
}
