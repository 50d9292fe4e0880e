// Builds the dashboard into dist/ui: `node src/ui/build.mjs`. Every page is a chunk of its own, all styles are one
// file, names carry a hash of what is inside, and each file lies there compressed as well: a server only hands out.
import { build, transform } from "esbuild";
import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import { compile, compileModule } from "svelte/compiler";

const HERE = import.meta.dirname;
const OUT = path.resolve(HERE, "../../dist/ui");
/** What reads these has modules, `light-dark()`, private fields and style sheets of shadow roots. */
const TARGET = ["chrome123", "firefox128", "safari17.5"];

/** Styles of components by file, so that their order is not that of who was compiled first. */
const styles = new Map();

const svelte = {
  name: "svelte",
  setup({ onLoad }) {
    onLoad({ filter: /\.svelte$/ }, async ({ path: file }) => {
      const source = await readFile(file, "utf8");
      const { js, css, warnings } = compile(source, {
        filename: file,
        generate: "client",
        css: "external",
        runes: true,
      });
      if (css) styles.set(path.relative(HERE, file), css.code);
      return {
        contents: js.code,
        loader: "js",
        warnings: warnings.map((warning) => messageOf(warning, file)),
      };
    });
    onLoad({ filter: /\.svelte\.ts$/ }, async ({ path: file }) => {
      const { code } = await transform(await readFile(file, "utf8"), { loader: "ts", target: "esnext" });
      return { contents: compileModule(code, { filename: file, generate: "client" }).js.code, loader: "js" };
    });
  },
};

function messageOf({ code, message, start }, file) {
  return {
    id: code,
    text: `${message} (${code})`,
    location: start ? { file, line: start.line, column: start.column } : { file },
  };
}

const common = {
  bundle: true,
  write: false,
  minify: true,
  target: TARGET,
  legalComments: "none",
  logLevel: "warning",
};
const [app, theme] = await Promise.all([
  build({
    ...common,
    entryPoints: [path.join(HERE, "main.ts")],
    outdir: OUT,
    entryNames: "[name]-[hash]",
    chunkNames: "[name]-[hash]",
    splitting: true,
    format: "esm",
    platform: "browser",
    conditions: ["svelte", "production"],
    define: { "process.env.NODE_ENV": '"production"' },
    metafile: true,
    plugins: [svelte],
  }),
  // Before anything is drawn, so it stands in the way of drawing: an own, small script.
  build({ ...common, entryPoints: [path.join(HERE, "theme-first.ts")], format: "iife" }),
]);

const files = new Map(app.outputFiles.map(({ path: file, contents }) => [path.basename(file), contents]));
const sheets = [
  await readFile(path.join(HERE, "styles.css"), "utf8"),
  await readFile(fileURLToPath(import.meta.resolve("uplot/dist/uPlot.min.css")), "utf8"),
  ...[...styles].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, css]) => css),
];
const css = await transform(sheets.join("\n"), { loader: "css", minify: true, target: TARGET });
const sheet = hashed("styles", "css", css.code);
const first = hashed("theme", "js", theme.outputFiles[0].contents);
const icon = hashed("icon", "svg", await readFile(path.join(HERE, "icon.svg")));

const outputs = app.metafile.outputs;
const nameOf = (output) => path.basename(output);
const entry = Object.keys(outputs).find((name) => outputs[name].entryPoint?.endsWith("main.ts"));
const needed = outputs[entry].imports.filter(({ kind }) => kind === "import-statement");
const page = (await readFile(path.join(HERE, "index.html"), "utf8")).replace(
  "<!-- files -->",
  [
    `<link rel="icon" href="${icon}" />`,
    `<link rel="stylesheet" href="${sheet}" />`,
    `<script src="${first}"></script>`,
    ...needed.map(({ path: chunk }) => `<link rel="modulepreload" href="${nameOf(chunk)}" />`),
    `<script type="module" src="${nameOf(entry)}"></script>`,
  ].join("\n    "),
);
files.set("index.html", Buffer.from(page));

await rm(OUT, { recursive: true, force: true });
await mkdir(OUT, { recursive: true });
await Promise.all([...files].map(([name, bytes]) => writeWithForms(name, bytes)));
await writeFile(path.join(OUT, "LICENSES.txt"), await licences(Object.keys(app.metafile.inputs)));

/** Keeps the file under a name that says what is inside; gives that name. */
function hashed(name, ending, content) {
  const bytes = Buffer.from(content);
  const hash = createHash("sha256").update(bytes).digest("hex").slice(0, 8).toUpperCase();
  const full = `${name}-${hash}.${ending}`;
  files.set(full, bytes);
  return full;
}

/** Of the packages whose code is in the files now. */
async function licences(inputs) {
  const folders = [
    ...new Set(
      inputs.flatMap((input) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path.resolve(input))?.[0] ?? []),
    ),
  ];
  const texts = await Promise.all(
    folders.toSorted().map(async (folder) => {
      const about = JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
      const file = (await readdir(folder)).find((name) => /^licen[cs]e/i.test(name));
      const text = file ? await readFile(path.join(folder, file), "utf8") : `Licence: ${about.license}\n`;
      return `${about.name} ${about.version}\n\n${text}`;
    }),
  );
  return texts.join(`\n${"-".repeat(80)}\n\n`);
}

async function writeWithForms(name, bytes) {
  const params = { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
  const [br, gz] = await Promise.all([
    promisify(brotliCompress)(bytes, { params }),
    promisify(gzip)(bytes, { level: 9 }),
  ]);
  const file = path.join(OUT, name);
  await Promise.all([writeFile(file, bytes), writeFile(`${file}.br`, br), writeFile(`${file}.gz`, gz)]);
}
