import { inBatches } from "../../src/cli/import-batches.ts";
import { CliError } from "../../src/cli/failure.ts";
import type { ImportItem } from "../../src/cli/import-source.ts";

/** What is sent, and when it is done, is said by the test. */
function sender() {
  const sent: { docs: string[]; done: () => void }[] = [];
  return {
    sent,
    send: (records: readonly { readonly doc: string }[]): Promise<void> =>
      new Promise((done) => sent.push({ docs: records.map(({ doc }) => doc), done })),
  };
}

const item = (doc: string, json = "{}"): ImportItem => ({ label: doc, doc, json });
const source = (items: AsyncIterable<ImportItem>) => ({ items, done: () => undefined, stop: () => {} });
// eslint-disable-next-line @typescript-eslint/require-await -- what is there already is a source too
async function* given(items: readonly ImportItem[]): AsyncGenerator<ImportItem> {
  yield* items;
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("the first goes alone at once, and what gathers meanwhile goes together", async () => {
  const { sent, send } = sender();
  const run = inBatches(source(given(["c/1", "c/2", "c/3"].map((doc) => item(doc)))), {
    send,
    failed: () => {},
    over: () => false,
  });
  await turn();
  expect(sent.map(({ docs }) => docs)).toEqual([["c/1"], ["c/2", "c/3"]]);
  for (const { done } of sent) done();
  await run;
});

test("a source that gives one now and then does not wait for others", async () => {
  const { sent, send } = sender();
  let give: (value: ImportItem | undefined) => void = () => {};
  async function* slow(): AsyncGenerator<ImportItem> {
    for (;;) {
      const next = await new Promise<ImportItem | undefined>((resolve) => (give = resolve));
      if (!next) return;
      yield next;
    }
  }
  const run = inBatches(source(slow()), { send, failed: () => {}, over: () => false });
  for (const doc of ["c/1", "c/2"]) {
    await turn();
    give(item(doc));
    await turn();
    expect(sent.at(-1)?.docs).toEqual([doc]);
    sent.at(-1)?.done();
    await turn();
  }
  // What came while another was under way is sent when that is done, though nothing more comes.
  give(item("c/3"));
  await turn();
  give(item("c/4"));
  await turn();
  expect(sent).toHaveLength(3);
  sent[2]?.done();
  await turn();
  expect(sent[3]?.docs).toEqual(["c/4"]);
  sent[3]?.done();
  await turn();
  give(undefined);
  await run;
});

test("records of one document are in batches of their own, one after the other", async () => {
  const { sent, send } = sender();
  const items = ["c/0", "c/1", "c/2", "c/1", "c/3"].map((doc) => item(doc));
  const run = inBatches(source(given(items)), { send, failed: () => {}, over: () => false });
  await turn();
  expect(sent.map(({ docs }) => docs)).toEqual([["c/0"], ["c/1", "c/2"]]);
  sent[0]?.done();
  await turn();
  expect(sent).toHaveLength(2);
  sent[1]?.done();
  await turn();
  expect(sent[2]?.docs).toEqual(["c/1", "c/3"]);
  sent[2]?.done();
  await run;
});

test("a batch has at most 200 documents and half a MiB, and four are on their way at once", async () => {
  const { sent, send } = sender();
  const small = Array.from({ length: 401 }, (_, i) => item(`c/${i}`));
  const large = ["l/1", "l/2"].map((doc) => item(doc, `"${"x".repeat(300_000)}"`));
  const run = inBatches(source(given([...small, ...large])), { send, failed: () => {}, over: () => false });
  await turn();
  expect(sent.map(({ docs }) => docs.length)).toEqual([1, 200, 200, 1]);
  for (let i = 0; i < 6; i += 1) {
    for (const { done } of sent) done();
    await turn();
  }
  await run;
  expect(sent.map(({ docs }) => docs.length)).toEqual([1, 200, 200, 1, 1]);
});

test("what cannot be read is told, and a source that fails fails it, after what was under way", async () => {
  const { sent, send } = sender();
  const failed: string[] = [];
  // eslint-disable-next-line @typescript-eslint/require-await -- as above
  async function* broken(): AsyncGenerator<ImportItem> {
    yield item("c/1");
    yield { label: "record 1", failure: new CliError("BAD_JSON", "no") };
    yield item("c/2");
    throw new Error("the disk is gone");
  }
  let ended = false;
  const run = inBatches(source(broken()), {
    send,
    failed: ({ label }) => failed.push(label),
    over: () => false,
  }).finally(() => (ended = true));
  run.catch(() => {});
  await turn();
  expect(failed).toEqual(["record 1"]);
  expect([ended, sent.length]).toEqual([false, 2]);
  for (const { done } of sent) done();
  await expect(run).rejects.toThrow("the disk is gone");
});
