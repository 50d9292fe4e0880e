import { readFileSync, readdirSync } from "node:fs";
import { builtinModules } from "node:module";
import path from "node:path";

/**
 * The folder list is the architecture: imports go one way, a package has one owner. Each rule below is
 * a function from a list of files to complaints, and each is shown a broken tree that it must complain
 * of, so that none of them passes by seeing nothing.
 */

interface SourceFile {
  /** Relative to src, such as `log/log.ts`. */
  readonly path: string;
  readonly text: string;
}

const SRC = path.resolve(import.meta.dirname, "../src");

/** What each folder may import beside itself. Top-level files go by their own name. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  world: [],
  config: ["errors"],
  events: [],
  ids: ["errors"],
  protocol: ["errors", "ids"],
  store: ["errors", "ids", "world"],
  log: ["errors", "ids", "world", "store"],
  documents: ["errors", "ids", "world", "log"],
  projections: ["errors", "ids", "world", "store", "log"],
  db: ["errors", "ids", "world", "store", "log", "documents", "projections"],
  auth: ["errors", "ids", "world", "store"],
  http: ["errors", "ids", "world", "protocol", "log", "documents", "db", "auth"],
  service: ["errors", "world", "config", "events", "store", "documents", "db", "auth", "http"],
  cli: ["errors", "config", "ids", "protocol", "store", "service"],
  index: ["errors", "log", "documents", "db"],
};

/** Below the contract the log may not see which engine it is on. */
const STORE_FOR_LOG: readonly string[] = ["store/contract.ts"];

/** Third-party packages and the folders (or files) that may use them. */
const OWNERS: Readonly<Record<string, readonly string[]>> = {
  "better-sqlite3": ["store"],
  "@automerge/automerge": ["documents"],
  "hash-wasm": ["ids"],
  "@noble/hashes": ["ids"],
  "@ipld/dag-cbor": ["ids"],
  multiformats: ["ids"],
  zod: ["protocol", "http", "cli"],
  "zod-openapi": ["http"],
  express: ["http"],
  ws: ["http"],
  cborg: ["ids"],
  "prom-client": ["events"],
  pino: ["events"],
  commander: ["cli"],
};

/** The world itself, and the commands: a process of their own that waits for a server. */
const OUTSIDE_WORLD: ReadonlySet<string> = new Set(["world", "cli"]);

/** What a server asks the machine for through `World` only. */
const MACHINE =
  /\bDate\.now\b|\bnew Date\(\)|\bperformance\.|\bhrtime\b|(?<![.\w])set(?:Timeout|Interval|Immediate)\b|\bAbortSignal\.timeout\b|node:timers|\brandom(?:Bytes|UUID|Int|Fill\w*)\b|\bgetRandomValues\b|\bMath\.random\b/g;

const roomOf = (file: string): string =>
  file.includes("/") ? file.slice(0, file.indexOf("/")) : file.replace(/\.ts$/, "");

function importsOf(file: SourceFile): string[] {
  return [
    ...file.text.matchAll(/(?:^|\n)\s*(?:(?:import|export)\b[^;"'=]*?\bfrom\s*|import\s*)["']([^"']+)["']/g),
  ].map((m) => m[1] as string);
}

function localTarget(file: SourceFile, specifier: string): string {
  return path.posix.normalize(path.posix.join(path.posix.dirname(file.path), specifier));
}

const rules: Readonly<Record<string, (files: readonly SourceFile[]) => string[]>> = {
  "imports between folders go down the list": (files) =>
    files.flatMap((file) => {
      const room = roomOf(file.path);
      const allowed = MAY_IMPORT[room];
      if (!allowed) return [`${file.path}: the folder ${room} is not on the list`];
      return importsOf(file)
        .filter((specifier) => specifier.startsWith("."))
        .map((specifier) => localTarget(file, specifier))
        .filter((target) => roomOf(target) !== room && !allowed.includes(roomOf(target)))
        .map((target) => `${file.path} imports ${target}`);
    }),
  "the log sees only the contract of its storage": (files) =>
    files
      .filter((file) => roomOf(file.path) === "log")
      .flatMap((file) =>
        importsOf(file)
          .filter((specifier) => specifier.startsWith("."))
          .map((specifier) => localTarget(file, specifier))
          .filter((target) => roomOf(target) === "store" && !STORE_FOR_LOG.includes(target))
          .map((target) => `${file.path} imports ${target}`),
      ),
  "a package is used by its owners only": (files) =>
    files.flatMap((file) =>
      importsOf(file)
        .filter((specifier) => !specifier.startsWith(".") && !specifier.startsWith("node:"))
        .map((specifier) =>
          specifier
            .split("/")
            .slice(0, specifier.startsWith("@") ? 2 : 1)
            .join("/"),
        )
        .filter((name) => !(OWNERS[name] ?? []).includes(roomOf(file.path)))
        .map((name) => `${file.path} imports ${name}`),
    ),
  "node's own modules are imported with node:": (files) =>
    files.flatMap((file) =>
      importsOf(file)
        .filter((specifier) => builtinModules.includes(specifier))
        .map((specifier) => `${file.path} imports ${specifier}`),
    ),
  "there are no cycles": (files) => {
    const known = new Map(files.map((file) => [file.path, file]));
    const state = new Map<string, "open" | "done">();
    const complaints: string[] = [];
    const visit = (file: SourceFile, trail: readonly string[]): void => {
      if (state.get(file.path) === "done") return;
      if (state.get(file.path) === "open") {
        complaints.push([...trail.slice(trail.indexOf(file.path)), file.path].join(" -> "));
        return;
      }
      state.set(file.path, "open");
      for (const specifier of importsOf(file).filter((s) => s.startsWith("."))) {
        const target = known.get(localTarget(file, specifier));
        if (target) visit(target, [...trail, file.path]);
      }
      state.set(file.path, "done");
    };
    for (const file of files) visit(file, []);
    return complaints;
  },
  "nobody inside imports the barrel": (files) =>
    files.flatMap((file) =>
      importsOf(file)
        .filter((specifier) => specifier.startsWith(".") && localTarget(file, specifier) === "index.ts")
        .map(() => `${file.path} imports the barrel`),
    ),
  "files are kebab-case and one folder deep": (files) =>
    files
      .map((file) => file.path)
      .filter((name) => !/^(?:[a-z0-9]+(?:-[a-z0-9]+)*\/)?[a-z0-9]+(?:-[a-z0-9]+)*\.ts$/.test(name)),
  "no file is a drawer for anything": (files) =>
    files
      .map((file) => file.path)
      .filter((name) => /(?:^|\/)(?:util|utils|helpers?|common|types|misc)\.ts$/.test(name)),
  "only config reads the environment": (files) =>
    files
      .filter((file) => file.path !== "config.ts" && /process\.env\b/.test(file.text))
      .map((file) => file.path),
  "only world touches clocks, timers and randomness": (files) =>
    files
      .filter((file) => !OUTSIDE_WORLD.has(roomOf(file.path)))
      .flatMap((file) => [...file.text.matchAll(MACHINE)].map((found) => `${file.path} uses ${found[0]}`)),
};

/** For each rule a file that breaks it. */
const BROKEN: Readonly<Record<string, readonly SourceFile[]>> = {
  "imports between folders go down the list": [
    { path: "ids/x.ts", text: `import type { A } from "../http/server.ts";` },
  ],
  "the log sees only the contract of its storage": [
    { path: "log/x.ts", text: `import { a } from "../store/sqlite-log.ts";` },
  ],
  "a package is used by its owners only": [
    { path: "http/x.ts", text: `import Database from "better-sqlite3";` },
  ],
  "node's own modules are imported with node:": [{ path: "ids/x.ts", text: `import fs from "fs";` }],
  "there are no cycles": [
    { path: "ids/a.ts", text: `import { b } from "./b.ts";` },
    { path: "ids/b.ts", text: `export * from "./a.ts";` },
  ],
  "nobody inside imports the barrel": [{ path: "db/x.ts", text: `import { openDb } from "../index.ts";` }],
  "files are kebab-case and one folder deep": [{ path: "db/deep/fooBar.ts", text: "" }],
  "no file is a drawer for anything": [{ path: "db/utils.ts", text: "" }],
  "only config reads the environment": [{ path: "db/x.ts", text: "const a = process.env.HOME;" }],
  "only world touches clocks, timers and randomness": [{ path: "db/x.ts", text: "const a = Date.now();" }],
};

const files: readonly SourceFile[] = (readdirSync(SRC, { recursive: true }) as string[])
  .filter((name) => name.endsWith(".ts"))
  .map((name) => ({ path: name.replaceAll("\\", "/"), text: readFileSync(path.join(SRC, name), "utf8") }));

/** Each way to a clock, a timer or randomness, so that the rule misses none of them. */
const WAYS = [
  "Date.now()",
  "new Date()",
  "performance.now()",
  "process.hrtime.bigint()",
  "setTimeout(a, 1)",
  "setImmediate(a)",
  "setInterval(a, 1)",
  "AbortSignal.timeout(1)",
  'import { setTimeout as wait } from "node:timers/promises";',
  "randomBytes(1)",
  "randomUUID()",
  "crypto.getRandomValues(a)",
  "Math.random()",
];

describe("architecture", () => {
  test.each(WAYS)("the rule on the world sees %s", (text) => {
    const rule = rules["only world touches clocks, timers and randomness"];
    expect(rule?.([{ path: "db/x.ts", text }])).not.toEqual([]);
    expect(rule?.([{ path: "world.ts", text }])).toEqual([]);
  });
  test("there is something to look at", () => {
    expect(files.length).toBeGreaterThan(30);
  });
  test.each(Object.keys(rules))("%s", (name) => {
    expect(rules[name]?.(files)).toEqual([]);
  });
  test.each(Object.keys(rules))("the rule sees a breach: %s", (name) => {
    expect(rules[name]?.(BROKEN[name] ?? [])).not.toEqual([]);
  });
});
