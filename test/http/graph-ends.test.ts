import { randomBytes } from "node:crypto";
import * as A from "@automerge/automerge";
import { request, type IncomingMessage } from "node:http";
import { readConfig } from "../../src/config.ts";
import type { Db } from "../../src/db/db.ts";
import type { ServerLimits } from "../../src/http/load.ts";
import { startService, type Service } from "../../src/service.ts";
import { tempDir } from "../support/temp-dir.ts";
import { API } from "./fixture.ts";

const made: Service[] = [];
afterAll(() => Promise.all(made.map((service) => service.stop("the tests are over"))));

const put = (db: Db, doc: string, value: object): Promise<unknown> =>
  db.tx({ author: "a", writes: [{ doc, edit: { kind: "put", value: JSON.stringify(value) } }] });

const link = (id: string): object => ({ "/": { "link@1": { id } } });
/** Answers of some megabytes, of which little changes. */
const LARGE = 8;
const LARGEST = 400_000;
const TIMES = 12;

interface Reader {
  readonly response: IncomingMessage;
  /** Takes what there is from now on, until the stream is over or it holds what is looked for. */
  rest(until?: string): Promise<string>;
}

/** A server, and a reader of a watch that takes nothing after the first event. */
async function watched(limits: Partial<ServerLimits>): Promise<{ service: Service; reader: Reader }> {
  const config = readConfig({ dir: tempDir(), port: "0", logLevel: "silent", workers: "1" }, {});
  const service = await startService(config, { listen: true, limits });
  made.push(service);
  await service.engine.create("g");
  await service.engine.use("g", async (db) => {
    const large = Array.from({ length: LARGE }, (_, i) => `large/${i}`);
    for (const name of large) {
      // Bytes of one value: quick to make.
      const [doc] = A.applyChanges(A.init<{ bytes: Uint8Array }>(), [db.genesis(name).bytes]);
      const next = A.change(doc, (draft) => {
        draft.bytes = randomBytes(LARGEST);
      });
      await db.tx({
        author: "a",
        writes: [{ doc: name, changes: [A.getLastLocalChange(next) as Uint8Array] }],
      });
    }
    await put(db, "k/1", { i: 0 });
    await put(db, "p/0", { all: [...large, "k/1"].map(link) });
  });
  const q = encodeURIComponent(
    JSON.stringify({ doc: "p/0", schema: { properties: { all: { items: true } } } }),
  );
  const reader = await new Promise<Reader>((resolve, reject) => {
    const req = request(`${service.url as string}${API}/db/g/query/graph/watch?q=${q}`, {
      headers: { authorization: `Bearer ${service.firstToken as string}` },
    });
    req.on("error", reject);
    req.on("response", (response) => {
      const parts: Buffer[] = [];
      const over = new Promise<void>((ended) => response.once("close", ended).on("error", () => {}));
      response.once("readable", () => {
        response.pause();
        resolve({
          response,
          rest: async (until) => {
            response
              .on("data", (part: Buffer) => {
                parts.push(part);
                const end = Buffer.concat(parts.slice(-2));
                if (until !== undefined && end.includes(until)) response.destroy();
              })
              .resume();
            await over;
            return Buffer.concat(parts).toString();
          },
        });
      });
    });
    req.end();
  });
  return { service, reader };
}

const numbersIn = (text: string): number[] =>
  [...text.matchAll(/"value":\{"i":(\d+)\}/g)].map(([, n]) => Number(n));

test("a reader that takes nothing for a while gets the newest answer then, and not all that it missed", async () => {
  const { service, reader } = await watched({ behindBytes: 1000, behindMs: 60_000 });
  await service.engine.use("g", async (db) => {
    for (let i = 1; i <= TIMES; i += 1) await put(db, "k/1", { i });
  });
  const numbers = numbersIn(await reader.rest(`"value":{"i":${TIMES}}`));
  expect(numbers.at(-1)).toBe(TIMES);
  expect(numbers.length).toBeLessThan(TIMES);
  expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
});

test("and one that takes nothing for longer than the patience is ended, with a place to go on from", async () => {
  const { service, reader } = await watched({ behindBytes: 1000, behindMs: 100 });
  await service.engine.use("g", async (db) => {
    for (let i = 1; i <= TIMES; i += 1) await put(db, "k/1", { i });
  });
  const headers = { authorization: `Bearer ${service.firstToken as string}` };
  const metrics = async (): Promise<string> =>
    (await fetch(`${service.url as string}/metrics`, { headers })).text();
  while (!(await metrics()).includes('skald_feeds_open{kind="sse"} 0'));
  const text = await reader.rest();
  // What the kernel took before is delivered, and the end behind it as far as the connection still could.
  expect(numbersIn(text).length).toBeLessThan(TIMES);
  if (text.includes("event: error"))
    expect(text).toMatch(/event: error\ndata: \{"code":"READER_SLOW",.*"cursor":"/);
});
