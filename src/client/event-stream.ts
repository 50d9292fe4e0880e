import { createParser, type EventSourceMessage } from "eventsource-parser";
import { SkaldError } from "./error.ts";
import type { Platform } from "./platform.ts";
import type { Ask, Requests } from "./request.ts";

/**
 * The server-sent events of one answer, until it ends, breaks off or falls silent for `silence` milliseconds:
 * the last two throw OFFLINE. It is read as fast as the events are taken and no faster, so a slow taker slows
 * the server down and nothing piles up here.
 */
export async function* eventsOf(
  requests: Requests,
  platform: Platform,
  ask: Ask,
  silence: number,
): AsyncGenerator<EventSourceMessage> {
  const over = new AbortController();
  const end = (): void => over.abort(ask.signal?.reason);
  ask.signal?.addEventListener("abort", end);
  if (ask.signal?.aborted) end();
  let quiet = (): void => {};
  const heard = (): void => {
    quiet();
    quiet = platform.timer(silence, () => over.abort(new Error("the stream fell silent")));
  };
  try {
    const response = await requests.send({
      ...ask,
      headers: { ...ask.headers, accept: "text/event-stream" },
      signal: over.signal,
      streams: true,
      retries: 0,
    });
    if (!response.body) throw new SkaldError("BAD_ANSWER", "The answer is no stream.");
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let events: EventSourceMessage[] = [];
    const parser = createParser({ onEvent: (event) => events.push(event) });
    try {
      for (;;) {
        heard();
        const { done, value } = await reader.read();
        quiet();
        if (done) return;
        parser.feed(decoder.decode(value, { stream: true }));
        const taken = events;
        events = [];
        yield* taken;
      }
    } finally {
      quiet();
      // Leaving early must close the connection, or the server goes on for nobody.
      over.abort();
      reader.cancel().catch(() => undefined);
    }
  } catch (error) {
    if (ask.signal?.aborted) throw ask.signal.reason;
    if (error instanceof Error && error.name === "SkaldError") throw error;
    throw new SkaldError("OFFLINE", "The stream broke off.", { cause: error });
  } finally {
    ask.signal?.removeEventListener("abort", end);
  }
}
