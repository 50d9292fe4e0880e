import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { connect, createServer } from "node:net";
import path from "node:path";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { ratioRow } from "./library.mjs";
import { logFile, preparedDb } from "./prepared-db.mjs";
import { startSkald } from "./processes.mjs";

const SKALD = fileURLToPath(new URL("../../bin/skald", import.meta.url));

/**
 * `skald clone` of many documents, one small change and commit each, beside the least that it could be: the bytes
 * of the same records through one loopback socket, each put into a table under its number, a thousand a transaction.
 */
export async function run({ dir, quick }) {
  const docs = quick ? 5000 : 100_000;
  const folder = path.join(dir, "clone");
  const source = path.join(folder, "source");
  mkdirSync(source, { recursive: true });
  await preparedDb(source, { docs, perDoc: 1 });
  const theirs = await raw(await logFile(source), path.join(folder, "raw.sqlite"));
  const server = await startSkald({ dir: source, flags: ["--scrub-days", "0"] });
  try {
    const started = performance.now();
    const child = spawn(
      process.execPath,
      [
        SKALD,
        "clone",
        server.url,
        "bench",
        "--dir",
        path.join(folder, "copy"),
        "--token",
        server.token,
        "--quiet",
      ],
      { stdio: "inherit" },
    );
    const [code] = await once(child, "exit");
    if (code !== 0) throw new Error(`clone ended with ${code}`);
    const ours = docs / ((performance.now() - started) / 1000);
    return [
      ratioRow({
        work: `clone of ${docs} documents`,
        ours: [ours],
        theirs: [theirs],
        against: "the same records over a socket into SQLite",
        reach: "≥ 0.5",
        unit: "commits/s",
        note: "once; every record is checked on arrival, the process's start is part of it",
      }),
    ];
  } finally {
    await server.stop();
  }
}

/** Commits a second. */
async function raw(file, target) {
  const from = new Database(file, { readonly: true });
  const bodies = from.prepare("SELECT body FROM record ORDER BY seq").pluck().all();
  from.close();
  const into = new Database(target);
  into.pragma("journal_mode = WAL");
  into.pragma("synchronous = FULL");
  into.exec("CREATE TABLE record (seq INTEGER PRIMARY KEY, body BLOB NOT NULL)");
  const insert = into.prepare("INSERT INTO record VALUES (?, ?)");
  const many = into.transaction((first, some) => some.forEach((body, i) => insert.run(first + i, body)));
  const server = createServer((socket) => {
    for (const body of bodies) {
      const head = Buffer.alloc(4);
      head.writeUInt32LE(body.length);
      socket.write(head);
      socket.write(body);
    }
    socket.end();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const started = performance.now();
  let held = Buffer.alloc(0);
  let due = [];
  let next = 1;
  for await (const piece of connect(server.address().port, "127.0.0.1")) {
    held = held.length > 0 ? Buffer.concat([held, piece]) : piece;
    let at = 0;
    for (; held.length - at >= 4;) {
      const size = held.readUInt32LE(at);
      if (held.length - at - 4 < size) break;
      due.push(held.subarray(at + 4, at + 4 + size));
      at += 4 + size;
      if (due.length < 1000) continue;
      many(next, due);
      next += due.length;
      due = [];
    }
    held = held.subarray(at);
  }
  many(next, due);
  const seconds = (performance.now() - started) / 1000;
  server.close();
  into.close();
  return bodies.length / seconds;
}
