import { mkdirSync } from "node:fs";
import express from "express";
import expressPouchDB from "express-pouchdb";
import PouchDB from "pouchdb";

/** PouchDB's server on LevelDB in the directory given. */
const dir = process.argv[2];
mkdirSync(dir, { recursive: true });
const app = express();
const Stored = PouchDB.defaults({ prefix: `${dir}/` });
app.use(
  "/",
  expressPouchDB(Stored, {
    mode: "minimumForPouchDB",
    configPath: `${dir}/config.json`,
    logPath: `${dir}/log.txt`,
  }),
);
const server = app.listen(0, "127.0.0.1", () => process.stdout.write(`listening ${server.address().port}\n`));
// Longer than any pause between two turns.
server.keepAliveTimeout = 600_000;
process.on("SIGTERM", () => process.exit(0));
