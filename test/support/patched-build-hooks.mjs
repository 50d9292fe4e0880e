import { appendFileSync } from "node:fs";

let patches = [];
let noted;

export function initialize(given) {
  ({ patches, noted } = given);
}

export async function load(url, context, next) {
  const loaded = await next(url, context);
  if (url.includes("/node_modules/") || !/\/dist\/.*\.js$/.test(url)) return loaded;
  let source = String(loaded.source);
  patches.forEach(({ find, replace }, i) => {
    source = source.replaceAll(new RegExp(find, "g"), (...match) => {
      appendFileSync(noted, `${i}\n`);
      const names = match.at(-1);
      return replace.replaceAll(/@([A-Za-z_$][\w$]*)/g, (_, name) => names[name]);
    });
  });
  return { ...loaded, source };
}
