// Merges a branch of the db in the directory named, and says when it begins and how it ended.
import { openDb } from "../../dist/index.js";

const held = await openDb(process.argv[2], "killed", { create: false, reserve: 0 });
process.stdout.write("ready\n");
const { seq } = await held.db.merge({
  author: "mia",
  from: "draft",
  into: "main",
  clientTxId: "one",
  close: true,
});
process.stdout.write(`merged ${seq}\n`);
await held.close();
