import { request, type ClientRequest, type IncomingMessage } from "node:http";
import { createParser } from "eventsource-parser";

export interface Event {
  readonly id: string | undefined;
  readonly event: string;
  readonly data: Record<string, unknown>;
}

/** A client of server-sent events as a browser has one, whose stream tests can look at and break off. */
export interface EventStream {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly events: readonly Event[];
  readonly comments: number;
  /** What it would send as Last-Event-ID; ids without an event count. */
  lastId(): string | undefined;
  /** Waits until this many changes have come, and gives their seqs. */
  changes(count: number): Promise<number[]>;
  /** Waits until the stream is over and gives its `end` event, if there was one. */
  ended(): Promise<Record<string, unknown> | undefined>;
  until(done: () => boolean): Promise<void>;
  readonly response: IncomingMessage;
  close(): void;
}

export function openEvents(
  port: number,
  path: string,
  token: string | undefined,
  headers: Readonly<Record<string, string>> = {},
  body?: object,
): Promise<EventStream> {
  return new Promise((resolve, reject) => {
    const req: ClientRequest = request({
      host: "127.0.0.1",
      port,
      path,
      agent: false,
      method: body ? "POST" : "GET",
      headers: {
        accept: "text/event-stream",
        ...(body ? { "content-type": "application/json" } : {}),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...headers,
      },
    });
    req.on("error", reject);
    req.on("response", (response) => {
      const events: Event[] = [];
      let comments = 0;
      let over = false;
      let last: string | undefined;
      const waiting = new Set<() => void>();
      const look = (): void => waiting.forEach((wake) => wake());
      const parser = createParser({
        onEvent: ({ id, event = "message", data }) => {
          events.push({ id, event, data: JSON.parse(data) as Record<string, unknown> });
        },
        onComment: () => {
          comments += 1;
        },
      });
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => {
        parser.feed(part);
        text += part;
        // The parser tells of events only, and an id may come alone.
        for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
          last = /^id: (.*)$/m.exec(text.slice(0, end))?.[1] ?? last;
          text = text.slice(end + 2);
        }
        look();
      });
      const close = (): void => {
        over = true;
        look();
      };
      response.on("close", close).on("error", close);
      const until = (done: () => boolean): Promise<void> =>
        new Promise((done1, fail) => {
          const wake = (): void => {
            if (done()) done1();
            else if (over) fail(new Error(`the stream ended after ${JSON.stringify(events.at(-1))}`));
            else return;
            waiting.delete(wake);
          };
          waiting.add(wake);
          wake();
        });
      const changed = (): Event[] => events.filter(({ event }) => event === "change");
      resolve({
        status: response.statusCode ?? 0,
        headers: response.headers,
        events,
        get comments() {
          return comments;
        },
        lastId: () => last,
        changes: async (count) => {
          await until(() => changed().length >= count);
          return changed().map(({ data }) => data["seq"] as number);
        },
        ended: async () => {
          await until(() => over);
          return events.find(({ event }) => event === "end")?.data;
        },
        until,
        response,
        close: () => req.destroy(),
      });
    });
    req.end(body && JSON.stringify(body));
  });
}
