// Runs in a child process of the fuzz test: does to a change what a server would, and says how it
// went. Plain JavaScript, since a process that a bad change may end must start without the compiler.
import * as A from "@automerge/automerge";

// Keys in order, since a document shows its keys in the order it met them; and numbers beyond 2^53.
const show = (doc) =>
  JSON.stringify(A.toJS(doc), (_, value) => {
    if (typeof value === "bigint") return String(value);
    if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
const same = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);

function probe(base, change, hash) {
  let doc = A.load(base, { actor: "ee".repeat(16) });
  try {
    [doc] = A.applyChanges(doc, [change]);
  } catch (error) {
    return {
      outcome: error instanceof WebAssembly.RuntimeError ? "abort-apply" : "refused",
      error: String(error),
    };
  }
  let stage = "read";
  try {
    if (!A.hasHeads(doc, [hash])) return { outcome: "not-applied" };
    const shown = show(doc);
    stage = "save";
    const saved = A.save(doc);
    stage = "load";
    const loaded = A.load(saved);
    if (JSON.stringify(A.getHeads(loaded)) !== JSON.stringify(A.getHeads(doc)))
      return { outcome: "differs-heads" };
    stage = "read-loaded";
    if (show(loaded) !== shown) return { outcome: "differs-value" };
    stage = "changes";
    const back = A.getAllChanges(loaded).find((bytes) => A.decodeChange(bytes).hash === hash);
    if (back === undefined || !same(back, change)) return { outcome: "differs-bytes" };
    stage = "later";
    const later = A.change(doc, { time: 0 }, (draft) => {
      draft.later = 1;
    });
    const [both] = A.applyChanges(A.load(saved), [A.getLastLocalChange(later)]);
    if (both.later !== 1) return { outcome: "later-lost" };
    stage = "sync";
    const [fresh] = A.applyChanges(A.load(base), A.getAllChanges(later));
    if (JSON.stringify(A.getHeads(fresh)) !== JSON.stringify(A.getHeads(later)))
      return { outcome: "differs-sync" };
  } catch (error) {
    const kind = error instanceof WebAssembly.RuntimeError ? "abort" : "error";
    return { outcome: `${kind}-${stage}`, error: String(error) };
  }
  return { outcome: "fine" };
}

process.on("message", ({ id, base, change, hash }) => {
  const began = Date.now();
  const result = probe(base, change, hash);
  process.send({ id, ms: Date.now() - began, ...result });
});
