import { LIMITS } from "../../src/limits.ts";
import * as A from "@automerge/automerge";
import { readChange } from "../../src/log/change.ts";
import { changeOf, spoil } from "../support/change-chunks.ts";
import { API } from "../http/fixture.ts";
import { outcomeIn, type ProbeSpec } from "./probe.ts";
import { DB, TX, ask, seeded } from "./server.ts";

const x = (count: number): string => "x".repeat(count);
const put = (path: string, query = "") => ask("PUT", `${DB}/docs/${path}${query}`, { body: {} });
const tx = (body: object) => ask("POST", `${TX}?dry_run=true`, { body });

/** A small change that anyone may send. */
export const CHANGE = Buffer.from(
  changeOf([
    [0x15, [0x7f, 1, 0x61]],
    [0x34, [1]],
    [0x42, [0x7f, 1]],
    [0x56, [0x7f, 0x14]],
    [0x57, [1]],
    [0x70, [0x7f, 0]],
  ]),
);

/** First changes of `count` actors, none of which builds on another: as many heads. */
export function apart(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) =>
    spoil(CHANGE, (parts) => {
      parts.actor = new Uint8Array(16).fill(0x31);
      new DataView(parts.actor.buffer).setUint32(0, i);
    }),
  );
}

export const nameProbes: Readonly<Record<string, ProbeSpec>> = {
  dbIdCharacters: { cheap: true, run: async (n) => outcomeIn(await ask("PUT", `${API}/db/${x(n)}`)) },
  collectionCharacters: { cheap: true, run: async (n) => outcomeIn(await put(`${x(n)}/a`)) },
  keyBytes: {
    cheap: true,
    run: async (n) => outcomeIn(await put(`k/${"%C3%A9".repeat(n >> 1)}${x(n & 1)}`)),
  },
  txIdCharacters: {
    cheap: true,
    run: async (n) => {
      const ways = [
        await ask("PUT", `${DB}/docs/k/tx`, { body: {}, headers: { "idempotency-key": x(n) } }),
        await ask("POST", TX, { body: { client_tx_id: x(n), writes: [{ doc: "k/tx", value: {} }] } }),
      ];
      const [first, second] = ways.map((reply) => outcomeIn(reply));
      return first === second ? String(first) : `${first} and ${second}`;
    },
  },
};

let pages: Promise<{ rest: number }> | undefined;
/** Three documents whose JSON is just below a page's, and what is left for a fourth. */
function largeDocs(most: number): Promise<{ rest: number }> {
  pages ??= (async () => {
    let rest = most;
    for (const name of ["a", "b", "c"]) {
      rest -= (await largeDoc(name, 2_500_000)).length;
    }
    return { rest };
  })();
  return pages;
}

/** Writes a document whose JSON is `length` characters, and gives the JSON. */
async function largeDoc(name: string, wanted: number): Promise<string> {
  // Beside the text, a value of bytes says what it is.
  const length = wanted - 16;
  // {"kkk":"base64"}: the key's length makes up for base64's steps of four.
  const pad = (length - 7) % 4;
  const bytes = new Uint8Array(((length - 7 - pad) / 4) * 3 - (pad === 0 ? 3 : 0));
  const key = "k".repeat(pad === 0 ? 4 : pad);
  const doc = A.from({ [key]: bytes }, { actor: Buffer.from(name.padEnd(16, "_")).toString("hex") });
  const reply = await ask("PATCH", `${DB}/docs/large/${name}`, {
    body: A.getLastLocalChange(doc) as Uint8Array,
    headers: { "content-type": "application/automerge" },
  });
  if (reply.status >= 300) throw new Error(reply.text);
  return (await ask("GET", `${DB}/docs/large/${name}`)).text;
}

/** A time after every commit, as long as it is asked for. */
const timeOf = (length: number): string => {
  const whole = "2020-01-01T00:00:00.";
  return `${whole}${"0".repeat(length - whole.length - 1)}Z`;
};

export const queryProbes: Readonly<Record<string, ProbeSpec>> = {
  pageItems: { cheap: true, run: async (n) => outcomeIn(await ask("GET", `${DB}/docs?limit=${n}`)) },
  diffPointCharacters: {
    cheap: true,
    run: async (n) => outcomeIn(await ask("GET", `${DB}/diff?from=main@${timeOf(n - 5)}`)),
  },
  pointCharacters: {
    cheap: true,
    run: async (n) => {
      const found = new Set<string>();
      for (const query of [
        `docs?at=${timeOf(n)}`,
        `commits?since=${timeOf(n)}`,
        `docs/k/seed/diff?from=${timeOf(n)}`,
      ]) {
        found.add(outcomeIn(await ask("GET", `${DB}/${query}`)));
      }
      return [...found].join(" and ");
    },
  },
  cursorCharacters: {
    run: async (n) => {
      const text = Buffer.from(`dbs ${x(n)}`)
        .toString("base64url")
        .slice(0, n);
      return outcomeIn(await ask("GET", `${API}/db?cursor=${text}`));
    },
  },
  prefixCharacters: {
    cheap: true,
    run: async (n) => outcomeIn(await ask("GET", `${DB}/docs?collection=k&prefix=${x(n)}`)),
  },
  paths: {
    cheap: true,
    run: async (n) => outcomeIn(await ask("GET", `${DB}/docs/k/seed?${Array(n).fill("path=/n").join("&")}`)),
  },
  valuesCharacters: {
    run: async (n) => {
      const { rest } = await largeDocs(LIMITS.query.valuesCharacters.value);
      const name = `d${n % 2}`;
      const json = await largeDoc(name, rest + n - LIMITS.query.valuesCharacters.value);
      const other = `d${(n + 1) % 2}`;
      await ask("DELETE", `${DB}/docs/large/${other}`);
      const page = await ask("GET", `${DB}/docs?collection=large&values=true&limit=4`);
      const docs = page.json["docs"] as unknown[];
      if (json.length !== rest + n - LIMITS.query.valuesCharacters.value)
        throw new Error(`made ${json.length} characters`);
      if (docs.length === 4) return "ok";
      const next = await ask("GET", `${DB}/docs?collection=large&cursor=${String(page.json["cursor"])}`);
      return docs.length === 3 && (next.json["docs"] as unknown[]).length === 1
        ? "shorter"
        : page.text.slice(0, 99);
    },
  },
  commitsBytes: {
    run: async (n) => {
      // Authors so long come from nowhere but from here: the fastest way to commits of a known size.
      const own = await seeded();
      const db = `b${n}`;
      await own.ask("PUT", `${API}/db/${db}`);
      const sizes = await own.service.engine.use(db, async ({ log }) => {
        const made: number[] = [];
        const write = async (author: string, change: Uint8Array): Promise<void> => {
          const { seq } = await log.write({
            author,
            clientTxId: "",
            writes: [{ doc: "c/a", changes: [readChange(change)] }],
          });
          made.push(log.commit(seq)?.bytes.length ?? 0);
        };
        const [one, two] = apart(2) as [Uint8Array, Uint8Array];
        const half = n / 2;
        await write(x(Math.floor(half) - 1000), one);
        const left = n - (made[0] as number);
        // What a commit has beside its author is known from a dry run of the same shape.
        const probe = await sizeBeside(two);
        await write(x(left - probe), two);
        return made;
      });
      const total = sizes.reduce((sum, size) => sum + size, 0);
      if (total !== n) throw new Error(`made ${total} bytes`);
      const page = await own.ask("GET", `${API}/db/${db}/commits`);
      const commits = page.json["commits"] as unknown[];
      if (commits.length === 2) return "ok";
      const next = await own.ask("GET", `${API}/db/${db}/commits?cursor=${String(page.json["cursor"])}`);
      return commits.length === 1 && (next.json["commits"] as unknown[]).length === 1 ? "shorter" : "lost";
    },
  },
};

let measured = 0;
/** Bytes of such a commit beside its author: measured on one of the same length of numbers. */
async function sizeBeside(change: Uint8Array): Promise<number> {
  const own = await seeded();
  const db = `m${(measured += 1)}`;
  await own.ask("PUT", `${API}/db/${db}`);
  return own.service.engine.use(db, async ({ log }) => {
    const [one] = apart(1) as [Uint8Array];
    let size = 0;
    for (const next of [one, change]) {
      const { seq } = await log.write({
        author: x(100_000),
        clientTxId: "",
        writes: [{ doc: "c/a", changes: [readChange(next)] }],
      });
      size = log.commit(seq)?.bytes.length ?? 0;
    }
    return size - 100_000;
  });
}

export const txProbes: Readonly<Record<string, ProbeSpec>> = {
  writes: {
    run: async (n) => {
      const changes = [CHANGE.toString("base64")];
      return outcomeIn(
        await tx({ writes: Array.from({ length: n }, (_, i) => ({ doc: `w/${i}`, changes })) }),
      );
    },
  },
  reads: {
    cheap: true,
    run: async (n) =>
      outcomeIn(
        await tx({
          reads: Array.from({ length: n }, (_, i) => ({ doc: `none/${i}`, heads: [] })),
          writes: [{ doc: "w/a", value: {} }],
        }),
      ),
  },
  changes: {
    run: async (n) => {
      const ways = [
        await tx({ writes: [{ doc: "w/a", changes: Array<string>(n).fill(CHANGE.toString("base64")) }] }),
        await ask("PATCH", `${DB}/docs/w/a?dry_run=true`, {
          body: Buffer.concat(Array<Buffer>(n).fill(CHANGE)),
          headers: { "content-type": "application/automerge" },
        }),
      ];
      const [first, second] = ways.map((reply) => outcomeIn(reply));
      return first === second ? String(first) : `${first} and ${second}`;
    },
  },
  heads: {
    run: async (n) => {
      // Heads that are not the document's are a conflict, once they are looked at.
      const heads = Array.from({ length: n }, (_, i) => i.toString(16).padStart(64, "0"));
      const write = await tx({ writes: [{ doc: "k/seed", base_heads: heads, value: {} }] });
      const read = await tx({ reads: [{ doc: "k/seed", heads }], writes: [{ doc: "w/a", value: {} }] });
      const [first, second] = [write, read].map((reply) => outcomeIn(reply, "HEADS_CONFLICT"));
      return first === second ? String(first) : `${first} and ${second}`;
    },
  },
  messageCharacters: {
    cheap: true,
    run: async (n) => outcomeIn(await tx({ message: x(n), writes: [{ doc: "w/a", value: {} }] })),
  },
};

const token = (more: object) =>
  ask("POST", `${API}/admin/tokens`, { body: { label: "probe", scopes: ["*:doc.read"], ...more } });

const place = { seq: 0, commit: null };
export const syncProbes: Readonly<Record<string, ProbeSpec>> = {
  places: {
    cheap: true,
    run: async (n) =>
      outcomeIn(
        await ask("POST", `${DB}/sync/compare`, { body: { have: Array.from({ length: n }, () => place) } }),
      ),
  },
  pageBytes: {
    run: async (n) => {
      // Bytes of no page: that is found once they are all there.
      const headers = { "content-type": "application/cbor-seq" };
      return outcomeIn(await ask("POST", `${DB}/sync/push`, { headers, body: Buffer.alloc(n) }), "BAD_CBOR");
    },
  },
  urlCharacters: {
    cheap: true,
    run: async (n) => {
      const url = "https://example.org/";
      return outcomeIn(await ask("PUT", `${DB}/sync/remote`, { body: { url: url + x(n - url.length) } }));
    },
  },
};

export const tokenProbes: Readonly<Record<string, ProbeSpec>> = {
  labelCharacters: {
    cheap: true,
    run: async (n) => {
      const [first, second] = [
        outcomeIn(await token({ label: "🎉".repeat(n) })),
        outcomeIn(await token({ subject: x(n) })),
      ];
      return first === second ? first : `${first} and ${second}`;
    },
  },
  scopes: {
    cheap: true,
    run: async (n) =>
      outcomeIn(await token({ scopes: Array.from({ length: n }, (_, i) => `db${i}:doc.read`) })),
  },
  prefixBytes: { cheap: true, run: async (n) => outcomeIn(await token({ scopes: [`*:doc.read:${x(n)}`] })) },
  overlapSeconds: {
    cheap: true,
    run: async (n) => {
      const id = (await token({})).json["id"] as string;
      return outcomeIn(
        await ask("POST", `${API}/admin/tokens/${id}/rotate`, { body: { overlap_seconds: n } }),
      );
    },
  },
  expiresCharacters: {
    cheap: true,
    run: async (n) => outcomeIn(await token({ expires: timeOf(n).replace("2020", "2999") })),
  },
};
