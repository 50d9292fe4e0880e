import { existsSync, mkdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { median, missing, row, show } from "./figures.mjs";
import { quiet, startProgram, startSkald } from "./processes.mjs";
import { Wire, httpRequest, txBody } from "./wire.mjs";
import { smallChanges } from "./workload.mjs";

const CLIENTS = [1, 32];
const HERE = fileURLToPath(new URL("peers/", import.meta.url));

/**
 * Documents made and changed a second, by clients that each wait for an answer before the next, on
 * Skald and on servers that do what comes nearest. Skald's answer means that the write is on the
 * disk; the others' does not. Their turns come in rounds, like everyone's.
 */
export async function run({ dir, quick, profile, scale = 1 }) {
  const rounds = quick ? 1 : 4;
  const turn = (quick ? 300 : 1500) * scale;
  const folder = path.join(dir, "peers");
  mkdirSync(folder, { recursive: true });
  const closing = [];
  try {
    const skald = await startSkald({ dir: path.join(folder, "skald"), profile });
    closing.push(() => skald.stop());
    await skald.fetch("/db/bench", { method: "PUT" });
    const most = Math.max(...CLIENTS);
    const lists = await smallChanges({ docs: most, changes: quick ? 100 : 400 });
    const sides = [await skaldJson(skald, closing), await skaldTx(skald, lists, closing)];
    const installed = existsSync(path.join(HERE, "node_modules"));
    if (installed) {
      sides.push(await automergeRepo(path.join(folder, "automerge-repo"), closing));
      sides.push(await pouchDb(path.join(folder, "pouchdb"), closing));
    }
    const rates = new Map();
    for (const clients of CLIENTS) {
      for (let round = 0; round <= rounds; round += 1) {
        for (const side of sides) {
          for (const kind of side.kinds) {
            const from = side.program.cpuMs();
            const { rate, done } = await measure(side, kind, clients, turn);
            await quiet(side.program);
            const spent = from === undefined ? 0 : ((side.program.cpuMs() - from) * 1000) / done;
            // The first round is everyone's warm-up.
            if (round === 0) continue;
            const key = `${side.name} ${kind} ${clients}`;
            rates.set(key, [...(rates.get(key) ?? []), { rate, spent }]);
          }
        }
      }
    }
    const rows = rowsOf(sides, rates, `${rounds} rounds`);
    if (!installed) rows.push(missing("other servers", "peers not installed: npm run bench:peers"));
    return rows;
  } finally {
    for (const close of closing.toReversed()) await close();
  }
}

/** Writes a second of `clients` clients that do one write after the other for `ms`. */
async function measure(side, kind, clients, ms) {
  const members = await Promise.all(Array.from({ length: clients }, (_, i) => side.client(i)));
  const prepared = await Promise.all(members.map((client) => client.prepare?.(kind)));
  const started = performance.now();
  let done = 0;
  await Promise.all(
    members.map(async (client, c) => {
      for (let i = 0; performance.now() - started < ms; i += 1) {
        await client[kind](i, prepared[c]);
        done += 1;
      }
    }),
  );
  return { done, rate: (done / (performance.now() - started)) * 1000 };
}

/** Processor time tells what the load's own cost hides: automerge-repo's clients do much themselves. */
function rowsOf(sides, rates, note) {
  const rows = [];
  const [json, tx, ...peers] = sides;
  for (const clients of CLIENTS) {
    for (const kind of ["create", "change"]) {
      const who = `${clients} client${clients === 1 ? "" : "s"}`;
      const work = kind === "create" ? `documents made, ${who}` : `one-field changes, ${who}`;
      const of = (side, what) =>
        median(rates.get(`${side.name} ${kind} ${clients}`).map((turn) => turn[what]));
      const cost = (side) => `${side.name} ${show(of(side, "spent") / 1000)} ms`;
      for (const mine of [json, tx]) {
        const ours = { work: `${work}: ${mine.how[kind]}`, ours: of(mine, "rate"), unit: "writes/s" };
        if (peers.length === 0) rows.push(row({ ...ours, note }));
        for (const peer of peers) {
          rows.push(
            row({
              ...ours,
              theirs: of(peer, "rate"),
              against: peer.name,
              note: `${note}; server's processor time a write, with what follows: ${cost(mine)}, ${cost(peer)}`,
            }),
          );
        }
      }
    }
  }
  return rows;
}

const valueOf = (n) => ({
  title: `Document ${n}`,
  state: "open",
  count: n,
  owner: "someone",
  note: "a short note",
});

/** Requests of one connection; throws unless the answer is a success. */
function asker(wire) {
  return async (request) => {
    const { status, body } = await wire.request(httpRequest(request));
    if (status > 299) throw new Error(`${request.method} ${request.path}: ${status} ${body}`);
    return body;
  };
}

async function pool(port, closing) {
  const wires = [];
  closing.push(() => wires.forEach((wire) => wire.close()));
  return async (index) => (wires[index] ??= await Wire.open(port));
}

async function skaldJson(skald, closing) {
  const wireOf = await pool(skald.port, closing);
  let made = 0;
  return {
    name: "Skald JSON",
    how: { create: "PUT", change: "PATCH" },
    kinds: ["create", "change"],
    program: skald,
    client: async (index) => {
      const ask = asker(await wireOf(index));
      const { token } = skald;
      const put = (doc) =>
        ask({
          method: "PUT",
          path: `/api/v1/db/bench/docs/${doc}`,
          token,
          body: JSON.stringify(valueOf(made)),
        });
      return {
        prepare: async (kind) => {
          const doc = `json/c${made++}`;
          if (kind === "change") await put(doc);
          return doc;
        },
        create: () => put(`json/d${made++}`),
        change: (i, doc) =>
          ask({
            method: "PATCH",
            path: `/api/v1/db/bench/docs/${doc}`,
            token,
            type: "application/merge-patch+json",
            body: JSON.stringify({ count: made++, state: i % 2 === 0 ? "open" : "closed" }),
          }),
      };
    },
  };
}

/** Change bytes that the client made, as an Automerge application has them. */
async function skaldTx(skald, lists, closing) {
  const wireOf = await pool(skald.port, closing);
  const at = lists.map(() => 0);
  let made = 0;
  return {
    name: "Skald tx",
    how: { create: "tx with change bytes", change: "tx with change bytes" },
    kinds: ["create", "change"],
    program: skald,
    client: async (index) => {
      const ask = asker(await wireOf(index));
      const tx = (body) =>
        ask({ method: "POST", path: "/api/v1/db/bench/branches/main/tx", token: skald.token, body });
      const list = lists[index];
      return {
        create: () => tx(txBody(`tx/d${made++}`, [], list[0].bytes)),
        change: () => {
          const n = at[index]++;
          const i = n % list.length;
          // When the changes made beforehand are used up they begin again, in another document.
          const doc = `tx/c${index}-${Math.floor(n / list.length)}`;
          return tx(txBody(doc, i === 0 ? [] : [list[i - 1].hash], list[i].bytes));
        },
      };
    },
  };
}

async function automergeRepo(dir, closing) {
  mkdirSync(dir, { recursive: true });
  const program = await startProgram([path.join(HERE, "automerge-repo-server.mjs"), path.join(dir, "data")], {
    ready: /listening (\d+)/,
    cwd: dir,
  });
  closing.push(() => program.stop());
  const { RepoClient } = await import("./peers/automerge-repo-client.mjs");
  const clients = [];
  closing.push(() => clients.forEach((client) => client.close()));
  let made = 0;
  return {
    name: "automerge-repo",
    kinds: ["create", "change"],
    program,
    client: async (index) => {
      const client = (clients[index] ??= await RepoClient.open(`ws://127.0.0.1:${program.match[1]}`));
      return {
        prepare: async (kind) => {
          if (kind !== "change") return undefined;
          const held = client.make(valueOf(made++));
          await client.sync(held);
          return held;
        },
        create: () => client.sync(client.make(valueOf(made++))),
        change: (i, held) => {
          client.change(held, (draft) => {
            draft.count = made++;
            draft.state = i % 2 === 0 ? "open" : "closed";
          });
          return client.sync(held);
        },
      };
    },
  };
}

async function pouchDb(dir, closing) {
  mkdirSync(dir, { recursive: true });
  const program = await startProgram([path.join(HERE, "pouchdb-server.mjs"), path.join(dir, "data")], {
    ready: /listening (\d+)/,
    cwd: dir,
  });
  closing.push(() => program.stop());
  const port = Number(program.match[1]);
  const wireOf = await pool(port, closing);
  await asker(await wireOf(0))({ method: "PUT", path: "/bench" });
  let made = 0;
  return {
    name: "PouchDB server",
    kinds: ["create", "change"],
    program,
    client: async (index) => {
      const ask = asker(await wireOf(index));
      const put = async (id, value) =>
        JSON.parse(await ask({ method: "PUT", path: `/bench/${id}`, body: JSON.stringify(value) })).rev;
      return {
        prepare: async (kind) => {
          if (kind !== "change") return undefined;
          const id = `c${made++}`;
          return { id, rev: await put(id, valueOf(made)) };
        },
        create: () => put(`d${made++}`, valueOf(made)),
        change: async (i, held) => {
          const value = { ...valueOf(made++), state: i % 2 === 0 ? "open" : "closed", _rev: held.rev };
          held.rev = await put(held.id, value);
        },
      };
    },
  };
}
