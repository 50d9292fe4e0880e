import { existsSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";

const ROOT = path.resolve(import.meta.dirname, "..");
const SPECS = path.join(ROOT, "specs");

const pages = [
  ...readdirSync(SPECS).map((name) => `specs/${name}`),
  ...readdirSync(path.join(SPECS, "decisions")).map((name) => `specs/decisions/${name}`),
  "README.md",
  "CHANGELOG.md",
].filter((name) => name.endsWith(".md"));

const textOf = (page: string): string => readFileSync(path.join(ROOT, page), "utf8");

describe("specs", () => {
  test("every folder of src and each of its top files has a page in the overview", () => {
    const overview = textOf("specs/00-overview.md");
    const rooms = readdirSync(path.join(ROOT, "src"), { withFileTypes: true });
    for (const room of rooms) {
      if (room.name === "errors.ts" || room.name === "index.ts") continue;
      expect({ room: room.name, named: overview.includes(`\`src/${room.name}\``) }).toEqual({
        room: room.name,
        named: true,
      });
    }
  });

  test.each(pages)("%s links to and names files that exist", (page) => {
    const text = textOf(page);
    for (const [, target] of text.matchAll(/\]\((?!https?:)([^)#\s]+)[^)]*\)/g)) {
      const file = path.resolve(ROOT, path.dirname(page), target as string);
      expect({ target, exists: existsSync(file) }).toEqual({ target, exists: true });
    }
    for (const [, named] of text.matchAll(/`((?:src|test|fixtures|migrations|specs|bin)\/[\w./-]+)`/g)) {
      const file = path.join(ROOT, named as string);
      expect({ named, exists: existsSync(file) }).toEqual({ named, exists: true });
    }
  });

  test("decisions are numbered without gaps", () => {
    const numbers = readdirSync(path.join(SPECS, "decisions")).map((name) => Number(name.slice(0, 4)));
    expect(numbers.toSorted((a, b) => a - b)).toEqual(numbers.map((_, i) => i + 1));
  });

  test("nothing speaks of the machine it was made on", () => {
    const foreign = /(^|[^A-Za-z0-9._-])\/(work|root|home)\/[a-z]/;
    expect(pages.filter((page) => foreign.test(textOf(page)))).toEqual([]);
  });
});
