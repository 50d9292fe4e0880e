import { isLoopback } from "../auth/loopback.ts";
import type { Config } from "../config.ts";
import { SkaldError } from "../errors.ts";
import { DEV_PEOPLE, startDevProvider } from "./dev-provider.ts";
import { CliError } from "./failure.ts";

/** `skald serve --dev`: a server whose identity provider is in the same process. */
export interface DevServer {
  /** With the provider in it. */
  readonly config: Config;
  /** For the login page. */
  readonly people: readonly { readonly name: string; readonly hint: string }[];
  /** Tells the provider where the server is; gives what to tell the operator. */
  opened(url: string): string;
}

/**
 * Starts the provider, one port above the server's: people are known by the provider's address, so it has to be the
 * same one tomorrow. Throws BAD_REQUEST where `--dev` is not for, PORT_IN_USE.
 */
export async function startDevServer(config: Config): Promise<DevServer> {
  check(config);
  const { host } = config;
  const port = config.port === 0 ? 0 : config.port + 1;
  const provider = await startDevProvider(host, port).catch((error: unknown) => {
    if ((error as { code?: unknown }).code !== "EADDRINUSE") throw error;
    throw new CliError(
      "PORT_IN_USE",
      `Something listens on ${host}:${port} already, where people would sign in.`,
      {
        hint: "Give --port another number; the one above it is for signing in.",
        cause: error,
      },
    );
  });
  return {
    config: {
      ...config,
      oidcIssuer: provider.issuer,
      oidcClientId: provider.clientId,
      oidcClientSecret: provider.clientSecret,
      oidcAdminClaim: { claim: "skald_role", value: "admin" },
      oidcAdmins: [],
    },
    people: DEV_PEOPLE.map(({ name, hint }) => ({ name, hint })),
    opened: (url) => {
      const { port: taken } = new URL(url);
      const origins = ["127.0.0.1", "localhost", "[::1]"].map((name) => `http://${name}:${taken}`);
      provider.admit([...new Set([url, ...origins])]);
      const people = DEV_PEOPLE.map(({ name, hint }) => `    ${name.padEnd(12)}${hint}\n`).join("");
      return `\n  To sign in, open ${url}/_/ and pick somebody:\n${people}  No passwords: for trying things out on this machine only.\n\n`;
    },
  };
}

function check({ host, port, oidcIssuer, publicUrl }: Config): void {
  const wrong = (why: string, hint: string): SkaldError =>
    new SkaldError("BAD_REQUEST", `--dev lets anybody in: ${why}.`, { hint });
  if (!isLoopback(host)) {
    throw wrong(
      `it takes a --host of this machine alone, not "${host}"`,
      "Leave --host out, or set up an identity provider with --oidc-issuer.",
    );
  }
  if (oidcIssuer !== undefined) {
    throw wrong("it is not for a server with an identity provider", "Leave out --dev, or --oidc-issuer.");
  }
  if (publicUrl !== undefined) {
    throw wrong("it is not for a server with a public address", "Leave out --dev, or --public-url.");
  }
  if (port === 65_535) {
    throw wrong("it needs the port above --port as well", "Give --port a smaller number.");
  }
}
