import { isDeepStrictEqual } from "node:util";
import * as A from "@automerge/automerge";
import { cidFromString, cidOf, cidCodec } from "../../dist/ids/cid.js";
import { genesisOf } from "../../dist/log/genesis.js";

/**
 * An Automerge client: takes a document's bytes, edits its copy with Automerge itself, sends the changes, and
 * compares what the server then shows with its own copy. Sometimes imports the copy elsewhere.
 */
export async function automergeWriter({ calls, slots, name, rnd, stopped, breathe }) {
  let count = 0;
  while (!stopped()) {
    await breathe();
    const slot = rnd.favoured(slots);
    if (slot.leaving || !slot.book) continue;
    const { book } = slot;
    const doc = `am/${name}-${rnd.below(4)}`;
    const path = `/api/v1/db/${slot.db}/docs/${doc}`;
    const saved = await calls.send(
      "doc.read-maybe",
      { path, headers: { accept: "application/automerge" } },
      slot,
    );
    if (slot.book !== book || (!saved.ok && saved.code !== "DOC_NOT_FOUND")) continue;
    const actor = rnd.bytes(16).toString("hex");
    let copy;
    if (saved.ok) copy = A.load(saved.body, { actor });
    else {
      const key = doc.slice(3);
      [copy] = A.applyChanges(A.init({ actor }), [genesisOf(Buffer.from(slot.uid, "hex"), "am", key).bytes]);
    }
    const changes = [];
    for (let i = 1 + rnd.below(6); i > 0; i -= 1) {
      copy = A.change(copy, (draft) => edit(draft, rnd, (count += 1)));
      changes.push(A.getLastLocalChange(copy));
    }
    const answer = await calls.write(
      "doc.automerge-patch",
      {
        method: "PATCH",
        path,
        headers: { "content-type": "application/automerge" },
        body: Buffer.concat(changes),
      },
      { slot },
    );
    if (answer.ok && slot.book === book) {
      const { seq } = answer.json();
      const read = await calls.send("doc.read", { path: `${path}?at=${seq}` }, slot);
      const wanted = JSON.parse(JSON.stringify(copy));
      if (read.ok && !isDeepStrictEqual(read.json(), wanted))
        calls.finding(`${doc} at ${seq} is not what Automerge says`, {
          db: slot.db,
          got: read.body.toString("utf8").slice(0, 400),
          wanted: JSON.stringify(wanted).slice(0, 400),
        });
      if (rnd.chance(0.1))
        await calls.write(
          "doc.import",
          {
            method: "POST",
            path: `/api/v1/db/${slot.db}/docs/imported/${name}-${rnd.below(3)}-${doc.at(-1)}/import`,
            headers: { "content-type": "application/automerge" },
            body: Buffer.from(A.save(copy)),
          },
          { slot },
        );
    }
    A.free(copy);
  }
}

function edit(draft, rnd, n) {
  draft.text ??= "";
  draft.list ??= [];
  draft.map ??= {};
  const { length } = draft.text;
  const at = rnd.below(length + 1);
  A.splice(
    draft,
    ["text"],
    at,
    Math.min(rnd.below(5), length - at, length > 2000 ? 5 : 2),
    rnd.text(rnd.below(12)).replace(/[^ -~]/gu, "é"),
  );
  if (draft.list.length > 40) draft.list.splice(0, 10);
  else draft.list.push(n);
  draft.map[`k${rnd.below(10)}`] = rnd.chance(0.3) ? { n, list: [1, "two", null] } : n;
}

/** Reads of every kind, at the head and at points. */
export async function reader({ calls, slots, rnd, stopped, breathe }) {
  while (!stopped()) {
    await breathe();
    const slot = rnd.favoured(slots);
    if (slot.leaving || !slot.book) continue;
    const base = `/api/v1/db/${slot.db}`;
    const info = await calls.send("db.info", { path: base }, slot);
    if (!info.ok) continue;
    const { seq } = info.json();
    if (seq === 0) continue;
    const point = 1 + rnd.below(seq);
    const list = await calls.send(
      "doc.list",
      {
        path: `${base}/docs?limit=${1 + rnd.below(100)}${rnd.chance(0.3) ? "&values=true" : ""}${rnd.chance(0.2) ? `&at=${point}` : ""}`,
      },
      slot,
    );
    const docs = list.ok ? list.json().docs : [];
    if (docs.length > 0) {
      const { doc } = rnd.pick(docs);
      const [collection, ...rest] = doc.split("/");
      const at = `${base}/docs/${collection}/${encodeURIComponent(rest.join("/"))}`;
      const dice = rnd.random();
      if (dice < 0.3) await calls.send("doc.read-maybe", { path: `${at}?conflicts=1` }, slot);
      else if (dice < 0.5) await calls.send("doc.read-maybe", { path: `${at}?at=${point}` }, slot);
      else if (dice < 0.7) await calls.send("doc.history", { path: `${at}/history?limit=20` }, slot);
      else if (dice < 0.85) await calls.send("doc.diff", { path: `${at}/diff?from=${point}` }, slot);
      else
        await calls.send("doc.read-maybe", { path: at, headers: { accept: "application/automerge" } }, slot);
    }
    const commits = await calls.send(
      "log.commits",
      { path: `${base}/commits?limit=20&since=${point - 1}` },
      slot,
    );
    const some = commits.ok ? commits.json().commits : [];
    if (some.length > 0 && rnd.chance(0.5)) {
      const commit = rnd.pick(some);
      const cid = rnd.pick([commit.cid, ...commit.entries.flatMap((entry) => entry.changes)]);
      const block = await calls.send("log.old", { path: `${base}/blocks/${cid}` }, slot);
      const wanted = cidFromString(cid);
      if (
        block.ok &&
        Buffer.compare(Buffer.from(cidOf(cidCodec(wanted), block.body)), Buffer.from(wanted)) !== 0
      )
        calls.finding("bytes do not hash to their address", { db: slot.db, cid });
    }
    if (rnd.chance(0.1)) await calls.send("status", { path: "/status" });
    if (rnd.chance(0.1)) await calls.send("db.list", { path: "/api/v1/db" });
    await repeat(calls, slot, rnd);
  }
}

/** The same request with the same name again: the same receipt. */
async function repeat(calls, slot, rnd) {
  const known = slot.repeats.length > 0 && rnd.chance(0.5) ? rnd.pick(slot.repeats) : undefined;
  if (!known) return;
  const { kind, method, path, type, body, key, seq } = known;
  const { book } = slot;
  const answer = await calls.send(
    kind,
    {
      method,
      path,
      headers: { ...(key ? { "idempotency-key": key } : {}), ...(type ? { "content-type": type } : {}) },
      body,
    },
    slot,
  );
  if (!answer.ok || slot.book !== book) return;
  const got = answer.json();
  if (!got.duplicate || got.seq !== seq || got.commit !== (book.commits.get(seq) ?? got.commit))
    calls.finding("a repeat did not get the first receipt", {
      db: slot.db,
      seq,
      got: answer.body.toString("utf8").slice(0, 300),
    });
}
