import { mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { startWriter } from "../support/fault-process.ts";
import { requires } from "../support/requires.ts";
import { tempDir } from "../support/temp-dir.ts";

const root = tempDir();

/** The system calls of these names that a run of `commands` makes, one a line. */
async function traced(name: string, calls: string, commands: Record<string, unknown>[]): Promise<string[]> {
  const trace = path.join(root, `${name}.trace`);
  const through = ["strace", "-f", "-y", "-e", `trace=${calls}`, "-o", trace];
  // Two runs name what they sync alike: the folder that the data directory is made in is synced too.
  const parent = path.join(root, name, "parent");
  mkdirSync(parent, { recursive: true });
  const { ended, said } = startWriter({ dir: path.join(parent, "data"), seed: 1, commands }, { through });
  await ended;
  expect(said.filter(({ failed }) => failed)).toEqual([]);
  return readFileSync(trace, "utf8").split("\n");
}

/** Syncs of each file, by its name, that a run of `commands` makes. */
async function syncs(name: string, commands: Record<string, unknown>[]): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const line of await traced(name, "fsync,fdatasync", commands)) {
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

requires("strace")("a write-ahead log that is emptied", () => {
  test("is synced before anything else is written to it, and before the log is noted as closed", async () => {
    const commands = [
      { do: "write", count: 5 },
      { do: "tidy" },
      { do: "write", count: 5 },
      { do: "tidy" },
      { do: "close" },
    ];
    const lines = await traced("emptied", "ftruncate,fsync,fdatasync,pwrite64,openat,unlink", commands);
    let emptied = 0;
    let noted = 0;
    let durable = true;
    for (const line of lines) {
      if (/ ftruncate\(\d+<[^>]*\/log\.sqlite-wal>, 0\)/.test(line)) {
        emptied += 1;
        durable = false;
      } else if (/ f(?:data)?sync\(\d+<[^>]*\/log\.sqlite-wal>/.test(line)) durable = true;
      // As when a db was made: what comes then is another file.
      else if (/ unlink\("[^"]*\/log\.sqlite-wal"/.test(line)) durable = true;
      else if (/ pwrite64\(\d+<[^>]*\/log\.sqlite-wal>/.test(line))
        expect([line, durable]).toEqual([line, true]);
      else if (/ openat\(.*\/log\.sqlite\.closed", O_WRONLY/.test(line)) {
        noted += 1;
        expect([line, durable]).toEqual([line, true]);
      }
    }
    expect([emptied >= 2, noted, durable]).toEqual([true, 1, true]);
  });
});
