import { once } from "node:events";
import { WebSocket } from "ws";
import { API, type Client } from "./fixture.ts";

export interface Event {
  readonly seq: number;
  readonly cursor: string;
  readonly attempt: number;
  readonly docs: readonly { readonly doc: string; readonly value?: unknown }[];
}

export interface Said {
  readonly consumer?: string;
  readonly seq?: number;
  readonly events?: readonly Event[];
  readonly acked?: readonly number[];
  readonly error?: { readonly code: string };
}

/** A consumer over a WebSocket. */
export interface Line {
  readonly ws: WebSocket;
  readonly events: Event[];
  readonly acked: Set<number>;
  readonly errors: string[];
  send(frame: object): void;
  /** Waits until what has come fits. */
  until(fits: () => boolean): Promise<void>;
  readonly closed: Promise<readonly [code: number, reason: string]>;
}

export const SUBS = `${API}/db/notes/subscriptions`;

/** Opens a consumer; `ack` acknowledges each event as it comes. */
export async function consume(
  ask: Client,
  name: string,
  {
    token = ask.admin,
    query = "",
    ack = false,
    port = ask.port,
  }: Readonly<{ token?: string; query?: string; ack?: boolean; port?: number }> = {},
): Promise<Line> {
  const ws = new WebSocket(`ws://127.0.0.1:${port}${SUBS}/${name}/events${query}`, "skald.subscription.1", {
    headers: { authorization: `Bearer ${token}` },
  });
  const events: Event[] = [];
  const acked = new Set<number>();
  const errors: string[] = [];
  const waiting = new Set<() => void>();
  const look = (): void => waiting.forEach((one) => one());
  ws.on("message", (data: Buffer) => {
    const said = JSON.parse(data.toString()) as Said;
    if (said.events) {
      events.push(...said.events);
      if (ack) ws.send(JSON.stringify({ ack: said.events.map(({ seq }) => seq) }));
    }
    said.acked?.forEach((seq) => acked.add(seq));
    if (said.error) errors.push(said.error.code);
    look();
  });
  ws.on("error", () => {});
  const closed = once(ws, "close").then(([code, reason]) => [code as number, String(reason)] as const);
  void closed.then(look);
  await Promise.race([once(ws, "open"), closed]);
  return {
    ws,
    events,
    acked,
    errors,
    closed,
    send: (frame) => ws.send(JSON.stringify(frame)),
    until: (fits) =>
      new Promise((resolve, reject) => {
        const one = (): void => {
          if (fits()) resolve();
          else if (ws.readyState === ws.CLOSED) reject(new Error(`closed after ${events.length} events`));
          else return;
          waiting.delete(one);
        };
        waiting.add(one);
        one();
      }),
  };
}

/** Writes `count` commits, each to one document, and gives the last seq. */
export async function write(
  ask: Client,
  count: number,
  doc: (i: number) => string = (i) => `c/d${i}`,
): Promise<number> {
  let seq = 0;
  for (let i = 0; i < count; i += 1) {
    const [collection, key] = doc(i).split("/") as [string, string];
    const reply = await ask("PUT", `${API}/db/notes/docs/${collection}/${key}`, {
      body: { i, at: Math.random() },
    });
    if (reply.status >= 300) throw new Error(reply.text);
    seq = reply.json["seq"] as number;
  }
  return seq;
}
