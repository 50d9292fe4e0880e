import { mkdirSync } from "node:fs";
import { WebSocketServer } from "ws";
import { Repo } from "@automerge/automerge-repo";
import { WebSocketServerAdapter } from "@automerge/automerge-repo-network-websocket";
import { NodeFSStorageAdapter } from "@automerge/automerge-repo-storage-nodefs";

/** What automerge-repo's own sync server is made of, on the directory given. */
const dir = process.argv[2];
/** Many clients in one process on a busy machine may not answer a ping within its 5 s. */
const PATIENCE_MS = 60_000;
mkdirSync(dir, { recursive: true });
const sockets = new WebSocketServer({ port: 0, host: "127.0.0.1" });
new Repo({
  network: [new WebSocketServerAdapter(sockets, PATIENCE_MS)],
  storage: new NodeFSStorageAdapter(dir),
  peerId: "bench-server",
  sharePolicy: async () => false,
});
sockets.on("listening", () => process.stdout.write(`listening ${sockets.address().port}\n`));
process.on("SIGTERM", () => process.exit(0));
