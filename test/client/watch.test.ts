import type { FetchLike } from "../../src/client/platform.ts";
import type { WatchState } from "../../src/client/watch.ts";
import { startServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";
import { makeNet, startDb, until } from "./fixture.ts";

const { server, clientOf } = await startDb(tempDir());
const writer = clientOf();

interface Item {
  readonly id: string;
  readonly price: number;
}
const CHEAP = "SELECT id, price FROM items WHERE price < ? ORDER BY id";

beforeAll(async () => {
  await writer.exec("CREATE TABLE items (id TEXT PRIMARY KEY, price REAL)");
  for (let n = 10; n < 30; n += 1) await writer.exec("INSERT INTO items VALUES (?, ?)", [`r${n}`, n]);
});

/** The states of a watch as they come, until the test leaves. */
function collect<T>(watch: AsyncIterable<WatchState<T>>): {
  states: WatchState<T>[];
  ended: Promise<unknown>;
} {
  const states: WatchState<T>[] = [];
  const run = async (): Promise<void> => {
    for await (const state of watch) states.push(state);
  };
  return { states, ended: run().catch((error: unknown) => error) };
}

/** Streams of watches pass through `edit`, event by event, which gives what the client is to see. */
function editing(edit: (event: string, stream: number) => string | undefined): {
  fetch: FetchLike;
  bodies: string[];
} {
  const bodies: string[] = [];
  return {
    bodies,
    fetch: async (url, request) => {
      const response = await fetch(url, request);
      if (!url.endsWith("/query/watch") || !response.ok) return response;
      bodies.push(String(request.body));
      const stream = bodies.length;
      let text = "";
      const through = new TransformStream<Uint8Array, Uint8Array>({
        transform: (part, controller) => {
          text += new TextDecoder().decode(part);
          for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
            const edited = edit(text.slice(0, end), stream);
            text = text.slice(end + 2);
            if (edited === undefined) return controller.error(new TypeError("terminated"));
            controller.enqueue(new TextEncoder().encode(`${edited}\n\n`));
          }
        },
      });
      return new Response(response.body?.pipeThrough(through), response);
    },
  };
}

test("a watch gives the result and each that follows, and rows that stay are the same objects", async () => {
  const stop = new AbortController();
  const { states, ended } = collect(writer.watch<Item>(CHEAP, [15], { signal: stop.signal }));
  await until(() => states.length === 1);
  expect(states[0]).toMatchObject({ columns: ["id", "price"], types: ["TEXT", "REAL"] });
  expect(states[0]?.rows.map(({ id }) => id)).toEqual(["r10", "r11", "r12", "r13", "r14"]);
  const { seq } = await writer.exec("UPDATE items SET price = 12.5 WHERE id = 'r12'");
  await until(() => states.length === 2);
  expect(states[1]).toMatchObject({ seq });
  expect(states[1]?.rows[2]).toEqual({ id: "r12", price: 12.5 });
  for (const at of [0, 1, 3, 4]) expect(states[1]?.rows[at]).toBe(states[0]?.rows[at]);
  // What the statement does not select is no state.
  await writer.exec("UPDATE items SET price = 100 WHERE id = 'r29'");
  const gone = await writer.exec("DELETE FROM items WHERE id = 'r10'");
  await until(() => states.length === 3);
  expect(states[2]).toMatchObject({ seq: gone.seq });
  expect(states[2]?.rows.map(({ id }) => id)).toEqual(["r11", "r12", "r13", "r14"]);
  const read = await writer.query<Item>(CHEAP, [15]);
  expect(states[2]?.rows).toEqual(read.rows);
  stop.abort();
  expect(await ended).toBeUndefined();
});

test("integers keep their digits, bytes are bytes, an infinite real is one, names of columns are distinct", async () => {
  for await (const { rows, columns } of writer.watch("SELECT :n AS n, :b AS b, 9e999 AS x, 2.0 AS n", {
    n: 9007199254740993n,
    b: new Uint8Array([1, 2, 255]),
  })) {
    expect(columns).toEqual(["n", "b", "x", "n_2"]);
    expect(rows).toEqual([{ n: 9007199254740993n, b: new Uint8Array([1, 2, 255]), x: Infinity, n_2: 2 }]);
    break;
  }
});

test("subscribe calls back until it is ended, and tells what is wrong with a statement", async () => {
  const seen: number[] = [];
  const end = writer
    .watch<{ n: number }>("SELECT count(*) AS n FROM items")
    .subscribe(({ rows }) => void seen.push(rows[0]?.n as number));
  await until(() => seen.length === 1);
  await writer.exec("INSERT INTO items VALUES ('x1', 1000)");
  await until(() => seen.length === 2);
  end();
  await writer.exec("DELETE FROM items WHERE id = 'x1'");
  expect(seen[1]).toBe((seen[0] as number) + 1);
  const failed = await new Promise((resolve) => {
    writer.watch("SELEC 1").subscribe(() => {}, resolve);
  });
  expect(failed).toMatchObject({ code: "SQL_ERROR", status: 400 });
  expect(seen).toHaveLength(2);
});

test("after a cut it goes on from the last event: what is the same is not given again, what came between is", async () => {
  const net = makeNet();
  const open: AbortController[] = [];
  const client = clientOf({
    fetch: (url, request) => {
      const cut = new AbortController();
      if (url.endsWith("/query/watch")) open.push(cut);
      const signal = AbortSignal.any([cut.signal, request.signal as AbortSignal]);
      return net.fetch(url, { ...request, signal });
    },
  });
  const stop = new AbortController();
  const { states, ended } = collect(client.watch<Item>(CHEAP, [13], { signal: stop.signal }));
  await until(() => states.length === 1);
  const cut = (): void => open.at(-1)?.abort(new TypeError("terminated"));
  net.down = true;
  cut();
  net.down = false;
  await until(() => open.length > 1);
  net.down = true;
  cut();
  const { seq } = await writer.exec("UPDATE items SET price = 11.5 WHERE id = 'r11'");
  net.down = false;
  await until(() => states.length === 2);
  expect(states[1]).toMatchObject({ seq });
  stop.abort();
  await ended;
  expect(states).toHaveLength(2);
});

test("what comes after a cut is a delta from the result that is here", async () => {
  const events: string[] = [];
  const { fetch, bodies } = editing((event, stream) => {
    events.push(
      `${stream} ${/event: (\w+)/.exec(event)?.[1] ?? ""}${event.includes('"from"') ? " delta" : ""}`,
    );
    return stream === 1 && event.includes("event: update") ? undefined : event;
  });
  const stop = new AbortController();
  const { states, ended } = collect(
    clientOf({ fetch }).watch<Item>("SELECT * FROM items WHERE id > 'r' ORDER BY id", [], {
      signal: stop.signal,
    }),
  );
  await until(() => states.length === 1);
  await writer.exec("UPDATE items SET price = price + 1 WHERE id = 'r20'");
  await until(() => states.length === 2);
  expect(events.filter((event) => / (snapshot|update|resumed)/.test(event))).toEqual([
    "1 snapshot",
    "1 update delta",
    "2 update delta",
  ]);
  expect(JSON.parse(bodies[1] as string)).toMatchObject({ since: states[0]?.cursor });
  stop.abort();
  await ended;
});

test("a result that has not the server's hash is never given: the whole is asked for again", async () => {
  // A build that loses an added row, as a careless reading of a delta would.
  const { fetch, bodies } = editing((event, stream) =>
    stream === 1 ? event.replace(/"added":\[\[.*\]\]/, '"added":[]') : event,
  );
  const stop = new AbortController();
  const { states, ended } = collect(
    clientOf({ fetch }).watch<Item>("SELECT * FROM items WHERE id > 'r' ORDER BY id", [], {
      signal: stop.signal,
    }),
  );
  await until(() => states.length === 1);
  const { seq } = await writer.exec("INSERT INTO items VALUES ('r99', 99)");
  await until(() => states.length === 2);
  expect(bodies).toHaveLength(2);
  expect(JSON.parse(bodies[1] as string)).not.toHaveProperty("since");
  expect(states[1]).toMatchObject({ seq });
  expect(states[1]?.rows.at(-1)).toEqual({ id: "r99", price: 99 });
  stop.abort();
  await ended;
  const wrong = editing((event) => event.replace('"r11"', '"r12"'));
  const failed = await collect(clientOf({ fetch: wrong.fetch }).watch("SELECT id FROM items")).ended;
  expect(failed).toMatchObject({ code: "BAD_ANSWER" });
});

test("a watch ends with the token, unless there is another one", async () => {
  const mint = async (): Promise<{ id: string; token: string }> => {
    const response = await fetch(`${server.url}/api/v1/admin/tokens`, {
      method: "POST",
      headers: { authorization: `Bearer ${server.token}`, "content-type": "application/json" },
      body: JSON.stringify({ label: "watcher", scopes: ["notes:query.read"] }),
    });
    return (await response.json()) as { id: string; token: string };
  };
  const revoke = (id: string) =>
    fetch(`${server.url}/api/v1/admin/tokens/${id}`, {
      method: "DELETE",
      headers: { authorization: `Bearer ${server.token}` },
    });
  const [first, second] = [await mint(), await mint()];
  const ends = collect(clientOf({ token: first.token }).watch("SELECT count(*) AS n FROM items"));
  const stop = new AbortController();
  const goesOn = collect(
    clientOf({ token: first.token, getToken: () => second.token }).watch(
      "SELECT count(*) AS n FROM items",
      [],
      { signal: stop.signal },
    ),
  );
  await until(() => ends.states.length === 1 && goesOn.states.length === 1);
  await revoke(first.id);
  expect(await ends.ended).toMatchObject({ code: "UNAUTHENTICATED" });
  await writer.exec("INSERT INTO items VALUES ('t1', 1000)");
  await until(() => goesOn.states.length === 2);
  stop.abort();
  await goesOn.ended;
});

test("a watch of a branch ends with it; one that is closed with the client says so", async () => {
  const branches = `${server.url}/api/v1/db/notes/branches`;
  const headers = { authorization: `Bearer ${server.token}`, "content-type": "application/json" };
  await fetch(branches, { method: "POST", headers, body: JSON.stringify({ name: "draft" }) });
  const draft = collect(writer.watch("SELECT count(*) AS n FROM items", [], { branch: "draft" }));
  const closing = clientOf();
  const open = collect(closing.watch("SELECT 1 AS one"));
  await until(() => draft.states.length === 1 && open.states.length === 1);
  await fetch(`${branches}/draft`, { method: "DELETE", headers });
  expect(await draft.ended).toMatchObject({ code: "WATCH_ENDED" });
  closing.close();
  expect(await open.ended).toMatchObject({ code: "CLOSED" });
});

test("a watch goes on when the server was killed and is back", async () => {
  const stop = new AbortController();
  const { states, ended } = collect(
    writer.watch("SELECT max(price) AS top FROM items", [], { signal: stop.signal }),
  );
  await until(() => states.length === 1);
  await server.stop("SIGKILL");
  await startServer(server.dir, { args: ["--port", new URL(server.url).port] });
  const { seq } = await writer.exec("INSERT INTO items VALUES ('top', 5000)");
  await until(() => states.length === 2);
  expect(states[1]).toMatchObject({ seq, rows: [{ top: 5000 }] });
  stop.abort();
  await ended;
});
