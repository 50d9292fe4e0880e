/** Answers of long work: one JSON object a line (`application/x-ndjson`), progress first and the result last. */
export async function* jsonLines(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Record<string, unknown>> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const part of stream) {
    rest += decoder.decode(part, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.trim() !== "") yield JSON.parse(line) as Record<string, unknown>;
  }
  rest += decoder.decode();
  if (rest.trim() !== "") yield JSON.parse(rest) as Record<string, unknown>;
}

/** The chunks of a body; not every browser lets `for await` at a stream itself. */
export async function* chunksOf(body: {
  getReader(): {
    read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
    cancel(): Promise<void>;
  };
}): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      if (value) yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** How far long work is, 0 to 1; undefined when the line does not say. */
export function shareOf(line: Readonly<Record<string, unknown>>): number | undefined {
  const done = line["done"] ?? line["checked"];
  const { of } = line;
  if (typeof done !== "number" || typeof of !== "number") return undefined;
  return of <= 0 ? 1 : Math.min(1, Math.max(0, done / of));
}
