import { LIMITS } from "../limits.ts";
import type { Connection, Send } from "./connection.ts";
import { CliError } from "./failure.ts";
import { splitLines } from "./line-splitter.ts";

/** The JSON lines of a streamed answer. Throws FAILED when it breaks off. */
export async function* jsonLines<T>(connection: Connection, request: Send): AsyncGenerator<T> {
  const reply = await connection.send(request);
  try {
    // A verdict names at most so many problems that it stays far below.
    for await (const line of splitLines(reply, LIMITS.cli.recordBytes.value))
      yield JSON.parse(line.toString("utf8")) as T;
  } catch (cause) {
    throw new CliError("FAILED", "The server broke off its answer.", { hint: "Its log says why.", cause });
  }
}
