import { mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { startWriter } from "../support/fault-process.ts";
import { requires } from "../support/requires.ts";
import { tempDir } from "../support/temp-dir.ts";

const root = tempDir();

/** Syncs of each file, by its name, that a run of `commands` makes. */
async function syncs(name: string, commands: Record<string, unknown>[]): Promise<Record<string, number>> {
  const trace = path.join(root, `${name}.trace`);
  const through = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", trace];
  // Two runs name what they sync alike: the folder that the data directory is made in is synced too.
  const parent = path.join(root, name, "parent");
  mkdirSync(parent, { recursive: true });
  const { ended, said } = startWriter({ dir: path.join(parent, "data"), seed: 1, commands }, { through });
  await ended;
  expect(said.filter(({ failed }) => failed)).toEqual([]);
  const counts: Record<string, number> = {};
  for (const line of readFileSync(trace, "utf8").split("\n")) {
    const file = /f(?:data)?sync\(\d+<[^>]*\/([^/>]+)>/.exec(line)?.[1];
    if (file !== undefined) counts[file] = (counts[file] ?? 0) + 1;
  }
  return counts;
}

requires("strace")("every commit", () => {
  test("is synced to the log's write-ahead log exactly once, and to nothing else", async () => {
    const write = (count: number) => [{ do: "write", count }, { do: "exit" }];
    const few = await syncs("few", write(10));
    const many = await syncs("many", write(60));
    expect((many["log.sqlite-wal"] ?? 0) - (few["log.sqlite-wal"] ?? 0)).toBe(50);
    const others = (counts: Record<string, number>) => ({ ...counts, "log.sqlite-wal": 0 });
    expect(others(many)).toEqual(others(few));
  });
});
