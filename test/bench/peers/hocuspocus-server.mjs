import { mkdirSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { Server } from "@hocuspocus/server";
import * as Y from "yjs";

/**
 * Hocuspocus as it comes, with documents kept as files in the directory given: stored some seconds
 * after a change, as its own database extensions do, and dropped from memory once nobody holds them.
 */
const dir = process.argv[2];
mkdirSync(dir, { recursive: true });
const fileOf = (name) => path.join(dir, encodeURIComponent(name));
const server = new Server({
  port: 0,
  address: "127.0.0.1",
  quiet: true,
  stopOnSignals: false,
  onLoadDocument: async ({ document, documentName }) => {
    const bytes = await readFile(fileOf(documentName)).catch(() => undefined);
    if (bytes) Y.applyUpdate(document, bytes);
    return document;
  },
  onStoreDocument: async ({ document, documentName }) => {
    await writeFile(fileOf(documentName), Y.encodeStateAsUpdate(document));
  },
});
await server.listen();
process.stdout.write(`listening ${server.address.port}\n`);
process.on("SIGTERM", () => process.exit(0));
