import { isDeepStrictEqual } from "node:util";

const DOCS = 6;
const POINTS = 12;

/**
 * The only writer of its documents, so it knows what each of them holds, now and at the points it remembers,
 * through restarts too: a write of unknown outcome is repeated with its key until it is answered.
 */
export async function valueWriter({ calls, slots, name, rnd, stopped, breathe }) {
  let count = 0;
  while (!stopped()) {
    await breathe();
    const slot = rnd.favoured(slots);
    if (slot.leaving || !slot.book) continue;
    const doc = `own/${name}-${rnd.below(DOCS)}`;
    const models = slot.models;
    const model = models.get(doc) ?? { value: undefined, points: [] };
    models.set(doc, model);
    if (model.waiting) {
      await write(calls, slot, doc, model, model.waiting);
      continue;
    }
    const dice = rnd.random();
    if (model.value === undefined || dice < 0.35) {
      const value = someValue(rnd, (count += 1));
      await write(calls, slot, doc, model, {
        kind: "doc.put",
        method: "PUT",
        body: value,
        value,
        key: key(),
      });
    } else if (dice < 0.6) {
      const patch = {
        n: (count += 1),
        [`f${rnd.below(8)}`]: rnd.chance(0.2) ? null : rnd.text(rnd.below(60)),
      };
      const value = merged(model.value, patch);
      await write(calls, slot, doc, model, {
        kind: "doc.merge-patch",
        method: "PATCH",
        type: "application/merge-patch+json",
        body: patch,
        value,
        key: key(),
      });
    } else if (dice < 0.7) {
      const n = (count += 1);
      const body = [
        { op: "test", path: "/n", value: model.value.n },
        { op: "replace", path: "/n", value: n },
        { op: "add", path: "/list/-", value: n },
      ];
      const value = { ...model.value, n, list: [...model.value.list, n] };
      await write(calls, slot, doc, model, {
        kind: "doc.json-patch",
        method: "PATCH",
        type: "application/json-patch+json",
        body,
        value,
        key: key(),
      });
    } else if (dice < 0.73) {
      await write(calls, slot, doc, model, {
        kind: "doc.delete",
        method: "DELETE",
        value: undefined,
        key: key(),
      });
    } else {
      await check(calls, slot, doc, model, rnd.chance(0.4) ? rnd.pick(model.points) : undefined);
    }
  }

  function key() {
    return `${name}-${process.pid}-${count}-${Math.floor(rnd.random() * 1e9)}`;
  }
}

async function write(calls, slot, doc, model, request) {
  const { kind, method, type, body, value, key } = request;
  const { models } = slot;
  const answer = await calls.write(
    kind,
    {
      method,
      path: `/api/v1/db/${slot.db}/docs/${doc}`,
      headers: { "idempotency-key": key, ...(type ? { "content-type": type } : {}) },
      body,
    },
    { slot, tx: key },
  );
  if (slot.models !== models) return;
  // A repeat that is refused says nothing of what it repeats.
  model.waiting = answer.broken || (model.waiting && !answer.ok) ? request : undefined;
  if (!answer.ok) return;
  const { seq, duplicate } = answer.json();
  model.value = value;
  if (!duplicate) {
    model.points.push({ seq, value });
    if (model.points.length > POINTS) model.points.shift();
    slot.repeats.push({ kind, method, path: `/api/v1/db/${slot.db}/docs/${doc}`, type, body, key, seq });
    if (slot.repeats.length > 50) slot.repeats.shift();
  }
}

/** Reads the newest value, or that of a point, and compares. */
async function check(calls, slot, doc, model, point) {
  const { models } = slot;
  const at = point === undefined ? "" : `?at=${point.seq}`;
  const { value } = point ?? model;
  const answer = await calls.send("doc.read-maybe", { path: `/api/v1/db/${slot.db}/docs/${doc}${at}` }, slot);
  if (
    slot.models !== models ||
    slot.leaving ||
    answer.broken ||
    answer.status >= 500 ||
    answer.code === "DB_NOT_FOUND"
  )
    return;
  const got = answer.ok ? answer.json() : undefined;
  if (!isDeepStrictEqual(got, value))
    calls.finding(`${doc} reads as something else${at}`, {
      db: slot.db,
      status: `${answer.status} ${answer.code ?? ""}`,
      got: JSON.stringify(got)?.slice(0, 400),
      wanted: JSON.stringify(value)?.slice(0, 400),
    });
}

function someValue(rnd, n) {
  const value = {
    n,
    text: rnd.text(rnd.below(200)),
    list: [n, rnd.text(5), null, true],
    deep: { a: { b: rnd.random() } },
  };
  for (let i = rnd.below(6); i > 0; i -= 1) value[`f${rnd.below(8)}`] = rnd.text(rnd.below(80));
  if (rnd.chance(0.02)) value.large = "x".repeat(rnd.below(300_000));
  return value;
}

/** RFC 7396 for a patch of one level. */
function merged(value, patch) {
  const out = { ...value, ...patch };
  for (const [key, set] of Object.entries(patch)) if (set === null) delete out[key];
  return out;
}
