import { seedOf, seeded } from "../support/fault-process.ts";
import { QUERIES, SCHEMA, answerOf, edited, madeDocuments, oracleOf } from "../support/sql-queries.mjs";
import { tempDir } from "../support/temp-dir.ts";
import { API, startHttp, type Reply } from "../http/fixture.ts";

/**
 * Twenty statements of the kind people write give the same rows as a plain SQLite database with the same rows: now,
 * and at three points of a past in which documents were changed, deleted and added.
 */
const seed = seedOf();
const random = seeded(seed);
const { ask } = await startHttp(tempDir());
const documents = madeDocuments(random, 200, 60);
const DB = `${API}/db/films`;

interface Point {
  readonly at: string | undefined;
  readonly documents: ReadonlyMap<string, object>;
}
const points: Point[] = [];

async function ok(reply: Promise<Reply>): Promise<Reply> {
  const answer = await reply;
  if (answer.status >= 300) throw new Error(`seed ${seed}: ${answer.status} ${answer.text}`);
  return answer;
}

const write = async (changes: readonly { name: string; value?: object }[]): Promise<void> => {
  for (let at = 0; at < changes.length; at += 100) {
    const writes = changes
      .slice(at, at + 100)
      .map(({ name, value }) => (value ? { doc: name, value } : { doc: name, delete: true }));
    await ok(ask("POST", `${DB}/branches/main/tx`, { body: { writes } }));
  }
};

const head = async (): Promise<Reply> => ok(ask("GET", DB));

beforeAll(async () => {
  await ok(ask("PUT", DB));
  for (const sql of SCHEMA) await ok(ask("POST", `${DB}/query/exec`, { body: { sql } }));
  await write(Array.from(documents, ([name, value]) => ({ name, value })));
  for (const kind of ["seq", "commit", "time"]) {
    const { json } = await head();
    const { time } = (await ok(ask("GET", `${DB}/commits/${json["commit"] as string}`))).json;
    const at = { seq: String(json["seq"]), commit: json["commit"] as string, time: time as string }[kind];
    points.push({ at, documents: new Map(documents) });
    // A time means the last commit of its millisecond.
    await new Promise((resolve) => setTimeout(resolve, 5));
    await write(edited(documents, random));
  }
  points.push({ at: undefined, documents });
}, 120_000);

test.each([
  [0, "a seq"],
  [1, "a commit"],
  [2, "a time"],
  [3, "now"],
])(
  "the rows are those of a plain database with the same documents, at point %i: %s",
  async (i) => {
    const { at, documents: there } = points[i] as Point;
    const oracle = oracleOf(there);
    let rows = 0;
    for (const query of QUERIES) {
      const { sql, args, name } = query;
      const reply = await ask("POST", `${DB}/query/exec`, {
        body: { sql, ...(args ? { args } : {}), ...(at ? { at } : {}) },
      });
      const wanted = answerOf(oracle, query);
      rows += wanted.rows.length;
      expect({
        seed,
        name,
        status: reply.status,
        columns: reply.json["columns"],
        rows: reply.json["rows"],
      }).toEqual({
        seed,
        name,
        status: 200,
        ...wanted,
      });
      expect(reply.json["row_count"]).toBe(wanted.rows.length);
    }
    oracle.close();
    // Statements that find nothing would agree with anything.
    expect(rows).toBeGreaterThan(200);
  },
  120_000,
);
