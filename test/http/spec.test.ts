import { readFileSync } from "node:fs";
import path from "node:path";
import { ERROR_CODES } from "../../src/errors.ts";
import { MOUNTS } from "../../src/http/server.ts";

const text = readFileSync(path.resolve(import.meta.dirname, "../../specs/05-http.md"), "utf8");
const section = (title: string): string =>
  new RegExp(`\\n## ${title}\\n([^]*?)(?=\\n## |$)`).exec(text)?.[1] ?? "";

test("the page has every route with what it needs, and no other", () => {
  const named = section("Routes")
    .split("\n")
    .flatMap((row) => {
      const [, routes = "", needs = ""] = row.split("|");
      const [, needed = needs.trim()] = /`([\w.]+)`/.exec(needs) ?? [];
      const found: string[] = [];
      for (const [, code = ""] of routes.matchAll(/`([^`]+)`/g)) {
        const [method = "", at] = code.split(" ");
        const where = at ?? /`\w+ ([^`]+)`\s*$/.exec(routes)?.[1] ?? "";
        found.push(`${method} ${where} ${needed}`);
      }
      return found;
    });
  const access = { public: "nothing", any: "any token" } as Record<string, string>;
  const there = MOUNTS.flatMap(({ base, routes }) =>
    routes.map((route) => `${route.method} ${base}${route.path} ${access[route.access] ?? route.access}`),
  );
  expect(named.filter((line) => line.startsWith("`") || /^[A-Z]+ \//.test(line)).sort()).toEqual(
    there.sort(),
  );
});

test("the page has every error code under its status, and no other", () => {
  const named = section("Error codes")
    .split("\n")
    .flatMap((row) => {
      const [, status = "", codes = ""] = row.split("|");
      return [...codes.matchAll(/`([A-Z_]+)`/g)].map(([, code]) => `${status.trim()} ${code}`);
    });
  const there = Object.entries(ERROR_CODES).map(([code, { status }]) => `${status} ${code}`);
  expect(named.sort()).toEqual(there.sort());
});

test("codes that the page speaks of exist", () => {
  const known = new Set(Object.keys(ERROR_CODES));
  for (const [, code = ""] of text.matchAll(/`([A-Z]+_[A-Z_]+)`/g)) expect(known).toContain(code);
});
