import { Engine } from "../../dist/db/engine.js";
import { Subscriptions } from "../../dist/subscriptions/subscriptions.js";

// Acknowledges one event after the other, `count` of them, or all in one turn.
const { dir, count, atOnce } = JSON.parse(process.argv[2]);
const engine = new Engine({ dir, reserve: 0, documents: { workers: 1 } });
await engine.create("notes");
await engine.use("notes", async (db) => {
  for (let n = 0; n < 40; n += 1)
    await db.tx({ author: "a", writes: [{ doc: "c/d", edit: { kind: "put", value: `{"n":${n}}` } }] });
  const all = new Subscriptions({ engine, onError: (error) => console.error(error) }).of(db);
  const definition = {
    mode: "shared",
    include: "none",
    creator: "a",
    created: 0,
    ackMs: 1000,
    maxUnacked: 9,
  };
  await all.put("s", definition, 0);
  const seqs = Array.from({ length: count }, (_, i) => i + 1);
  if (atOnce) await Promise.all(seqs.map((seq) => all.get("s").ack([seq])));
  else for (const seq of seqs) await all.get("s").ack([seq]);
  console.log("done");
  process.exit(0);
});
