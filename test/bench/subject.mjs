/** Runs one subject and sends its rows to the process that started it. */
const [name, context] = process.argv.slice(2);
process.once("SIGTERM", () => process.exit(143));
// A terminal interrupts the whole group; the process above ends this one, and then its servers end too.
process.on("SIGINT", () => {});
let rows;
try {
  const { run } = await import(`./${name}.mjs`);
  rows = await run(JSON.parse(context));
} catch (error) {
  process.stderr.write(`${error.stack}\n`);
  rows = [{ work: name, note: `failed: ${error.message.slice(0, 300)}`, pass: false }];
}
process.send(rows, () => process.exit(0));
