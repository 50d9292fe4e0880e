import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { PARTS, TARGETS } from "./targets.ts";

const SRC = path.resolve(import.meta.dirname, "../../src");

/** Where bytes and text from outside are read. */
const FOLDERS = ["ids", "protocol", "log", "documents", "replication", "archive", "sync", "backup", "graph"];
const FILES = [
  "sync/sync-message.ts",
  "sync/parts.ts",
  "sync/repo-message.ts",
  "cli/import-record.ts",
  "cli/line-splitter.ts",
  "cli/json-array-splitter.ts",
  "http/subscription-frame.ts",
  "subscriptions/subscription-definition.ts",
  "subscriptions/subscription-state.ts",
];
/** What a decoder's name looks like. */
const DECODER =
  /^(decode|read|parse|unpack|expand|inflate|load|guard|check|checked|split|name|open|from)[A-Z]\w*$|FromString$|^inflate$/;
const READER = /Reader$/;
const REQUEST = /Request$/;

/** Names of that kind which read nothing hostile, and why. */
const OTHERS: Readonly<Record<string, string>> = {
  "ids/hash.ts fromHex": "takes hashes that were checked, gives no error",
  "log/received.ts checkReceived": "part of openReceived, which is fuzzed",
  "sync/past.ts readPast": "a commit of our own log, by its seq",
  "log/reader.ts LogReader": "asks the log, decodes nothing itself",
  "log/document-reader.ts DocumentReader": "asks the log, decodes nothing itself",
  "log/commit-reader.ts CommitReader": "asks the log, decodes nothing itself",
  "log/unchanged.ts checkUnchanged": "compares what was committed with what was looked at, decodes nothing",
  "log/change-pack-build.ts openChange": "begins the bytes of a change that is written",
  "log/branch-merge.ts checkApart": "compares two branches, decodes nothing",
  "log/branch-steps.ts openBranch": "looks a checked name up",
  "log/received.ts readReceived": "a change as readChange takes it, which is fuzzed, and its length",
  "log/received.ts checkErases": "part of a received record, which is fuzzed",
  "log/transaction.ts checkGrowth": "counts heads and actors, decodes nothing",
  "log/received.ts checkSetAside": "part of a received record, which is fuzzed; needs a document's changes",
  "replication/peer.ts readJson": "the answer of a server that the user named, to the command line",
  "backup/contents.ts readLine": "packs, which are fuzzed, and records as the log opens them",
  "backup/contents.ts readPart": "the same of one pack",
  "backup/contents.ts readForLog": "the same with bundles opened",
  "backup/contents.ts readServerFile": "blocks whose hashes are compared",
  "documents/progress.ts readProgress": "shared memory of our own threads",
  "documents/handle.ts loadChunks": "Automerge, in a worker",
  "documents/handle.ts loadFile": "Automerge, in a worker",
  "documents/split.ts splitFile": "Automerge, in a worker",
};

function exported(file: string): string[] {
  const text = readFileSync(path.join(SRC, file), "utf8");
  return [...text.matchAll(/^export (?:async )?(function\*?|class|const) (\w+)/gm)]
    .filter(([, kind, name = ""]) =>
      kind === "class" ? READER.test(name) : kind === "const" ? REQUEST.test(name) : DECODER.test(name),
    )
    .map(([, , name]) => `${file} ${name}`);
}

const decoders = [
  ...FOLDERS.flatMap((folder) => readdirSync(path.join(SRC, folder)).map((name) => `${folder}/${name}`)),
  ...FILES,
].flatMap(exported);
const covered = new Set(TARGETS.flatMap((target) => target.covers));

describe("the table of fuzz targets", () => {
  test("has every decoder that src exports", () => {
    expect(decoders.length).toBeGreaterThan(30);
    expect(decoders.filter((name) => !covered.has(name) && !Object.hasOwn(OTHERS, name))).toEqual([]);
  });

  test("misses one that is new", () => {
    const name = (text: string): boolean => DECODER.test(text);
    expect(["decodeCar", "readSyncMessage", "parseTopic", "topicFromString"].every(name)).toBe(true);
    expect(["encodeCar", "reader", "writeRecord"].some(name)).toBe(false);
  });

  test("names nothing that is not there", () => {
    const known = new Set(decoders);
    expect([...covered].filter((name) => !known.has(name))).toEqual([]);
    expect(Object.keys(OTHERS).filter((name) => !known.has(name))).toEqual([]);
  });

  test("has each name once, and a figure for each", () => {
    expect(new Set(TARGETS.map(({ name }) => name)).size).toBe(TARGETS.length);
    expect(TARGETS.every(({ runs }) => runs > 0)).toBe(true);
  });

  test("is run whole, a part by each file", () => {
    for (const part of Object.keys(PARTS)) {
      const file = path.join(import.meta.dirname, `decoders-${part}.test.ts`);
      expect(readFileSync(file, "utf8")).toContain(`testsOf("${part}", `);
    }
  });
});
