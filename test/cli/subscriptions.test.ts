import { runSkald, startServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";

test("subscriptions are listed, shown, moved and deleted from the command line", async () => {
  const server = await startServer(tempDir());
  const env = { SKALD_URL: server.url, SKALD_TOKEN: server.token ?? "" };
  const run = (line: string) => runSkald(line.split(" "), { env });
  const skald = async (line: string): Promise<string> => {
    const { code, out, err } = await run(line);
    expect({ line, code, err: code === 0 ? "" : err }).toEqual({ line, code: 0, err: "" });
    return out;
  };
  const put = (path: string, body: object): Promise<Response> =>
    fetch(`${server.url}/api/v1/db/shop${path}`, {
      method: "PUT",
      headers: { authorization: `Bearer ${env.SKALD_TOKEN}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  await put("", {});
  for (const key of ["a", "b", "c"]) await put(`/docs/c/${key}`, {});
  const made = await put("/subscriptions/mailer", { mode: "shared", docs: ["c/a", "c/b"] });
  expect(made.status).toBe(201);
  expect(await skald("subscriptions list shop")).toMatch(
    /^mailer {2}shared {2}at 0 {2}3 behind {2}0 consumers {2}0 parked/,
  );
  expect((await run("subscriptions ack shop mailer 2")).code).toBe(0);
  const shown = await skald("subscriptions show shop mailer");
  expect(shown).toMatch(/^seq +2$/m);
  expect(shown).toMatch(/^docs +c\/a c\/b$/m);
  expect(shown).toMatch(/^lag +1 behind$/m);
  const info = await fetch(`${server.url}/api/v1/db/shop`, {
    headers: { authorization: `Bearer ${env.SKALD_TOKEN}` },
  });
  const { cursor } = (await info.json()) as { cursor: string };
  await skald(`subscriptions ack shop mailer ${cursor}`);
  expect(JSON.parse(await skald("subscriptions list shop --json"))).toMatchObject({
    seq: 3,
    lag: { commits: 0 },
  });
  expect(await skald("status")).toMatch(
    /^subscriptions +1, 0 consumers, at most 0 commits behind, 0 events parked$/m,
  );
  expect((await run("subscriptions ack shop mailer 99")).err).toMatch(/^CURSOR_FUTURE: /);
  expect((await run("subscriptions delete shop mailer")).code).toBe(2);
  await skald("subscriptions delete shop mailer --yes");
  expect((await run("subscriptions show shop mailer")).err).toMatch(/^SUBSCRIPTION_NOT_FOUND: /);
}, 60_000);
