import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** The compiled program: `npx tsc -p tsconfig.json` makes what it starts. */
export const BIN = fileURLToPath(new URL("../../bin/skald", import.meta.url));

export interface SkaldServer {
  readonly url: string;
  /** The admin token; undefined when the directory had one before. */
  readonly token: string | undefined;
  readonly dir: string;
  readonly process: ChildProcess;
  /** What it has written to stderr so far. */
  readonly log: () => string;
  /** Sends the signal (SIGTERM) and gives the exit code once it has ended; null when a signal ended it. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

export interface ServerOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** The environment without settings of whoever runs the tests. */
export function cleanEnv(env: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(
    ([name]) => !name.startsWith("SKALD_") && name !== "NODE_OPTIONS",
  );
  return { ...Object.fromEntries(own), ...env };
}

const running: (() => Promise<unknown>)[] = [];

afterAll(async () => {
  await Promise.all(running.map((stop) => stop()));
});

/** One test shows more credentials that do not hold than an address may in a minute. */
const UNHURRIED = { SKALD_RATE_REFUSED: "0", SKALD_RATE_SIGN_IN: "0" };

/** Starts `skald serve` on a free port and waits until it listens. Ends it after the tests of the file. */
export async function startServer(dir: string, options: ServerOptions = {}): Promise<SkaldServer> {
  const child = spawn(
    process.execPath,
    [BIN, "serve", "--dir", dir, "--port", "0", ...(options.args ?? [])],
    { stdio: ["ignore", "ignore", "pipe"], env: cleanEnv({ ...UNHURRIED, ...options.env }) },
  );
  const exited = once(child, "exit") as Promise<[number | null]>;
  const stop = async (signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    return (await exited)[0];
  };
  running.push(() => stop("SIGKILL"));
  let text = "";
  const url = await new Promise<string>((resolve, reject) => {
    child.stderr.setEncoding("utf8").on("data", (part: string) => {
      text += part;
      const said = /^ {2}reference (\S+)\/docs$/m.exec(text);
      if (said) resolve(said[1] as string);
    });
    exited.then(
      ([code]) => reject(new Error(`skald serve ended with ${code}: ${text}`)),
      (error: unknown) => reject(error as Error),
    );
  });
  const token = /SKALD_TOKEN=(\S+)/.exec(text)?.[1];
  return { url, token, dir, process: child, log: () => text, stop };
}

export interface RunResult {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs `skald` with these arguments to its end. */
export async function runSkald(
  args: readonly string[],
  options: { readonly env?: Readonly<Record<string, string>>; readonly input?: string | Uint8Array } = {},
): Promise<RunResult> {
  const child = startSkald(args, options);
  child.stdin.end(options.input ?? "");
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on("data", (part: Buffer) => out.push(part));
  child.stderr.on("data", (part: Buffer) => err.push(part));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, out: Buffer.concat(out).toString("utf8"), err: Buffer.concat(err).toString("utf8") };
}

/** Starts `skald` with all three streams as pipes. */
export function startSkald(
  args: readonly string[],
  options: { readonly env?: Readonly<Record<string, string>> } = {},
) {
  const child = spawn(process.execPath, [BIN, ...args], { env: cleanEnv(options.env) });
  running.push(() => Promise.resolve(child.kill("SIGKILL")));
  // A program that ends without reading its input is no failure of the test.
  child.stdin.on("error", () => {});
  return child;
}
