/** What somebody pastes into an Automerge app. */
export interface SyncPlace {
  /** Of this page, such as `https://skald.example`. */
  readonly origin: string;
  /** Of the socket, as `sync/status` says it. */
  readonly path: string;
  /** None when the socket needs none. */
  readonly ticket?: string;
}

export function socketUrl({ origin, path, ticket }: SyncPlace): string {
  const url = `${origin.replace(/^http/, "ws")}${path}`;
  return ticket === undefined ? url : `${url}?ticket=${encodeURIComponent(ticket)}`;
}

/** Where a line of code imports from. The code is shown, not run: these packages are none of this page's. */
const of = (name: string): string => `from ${JSON.stringify(name)}`;

/** For automerge-repo 2.x, ready to run. `documentUrl` is of a document to open. */
export function repoCode(url: string, documentUrl: string): string {
  return `import { Repo } ${of("@automerge/automerge-repo")};
import { WebSocketClientAdapter } ${of("@automerge/automerge-repo-network-websocket")};

const repo = new Repo({
  network: [new WebSocketClientAdapter(${JSON.stringify(url)})],
});
const handle = await repo.find(${JSON.stringify(documentUrl)});
handle.on("change", ({ doc }) => console.log(doc));
handle.change((doc) => {
  doc.greeting = "hello";
});`;
}

/** For Skald's own client, which renews its tickets by itself. */
export function clientCode(origin: string, db: string, doc: string): string {
  return `import { SkaldClient } ${of("skald/client")};

const client = new SkaldClient({
  url: ${JSON.stringify(origin)},
  db: ${JSON.stringify(db)},
  getToken: () => "…", // a token with sync, doc.read and doc.write on ${db}
});
const doc = client.open(${JSON.stringify(doc)});
await doc.ready();
doc.subscribe(() => console.log(doc.value));
doc.change((draft) => {
  draft.greeting = "hello";
});`;
}
