import { CliError } from "./failure.ts";

/** Lines without their ends, blank ones left out. Throws TOO_LARGE for one above `maxBytes`. */
export async function* splitLines(
  chunks: AsyncIterable<Uint8Array>,
  maxBytes: number,
): AsyncGenerator<Buffer> {
  let parts: Uint8Array[] = [];
  let size = 0;
  let line = 1;
  const keep = (part: Uint8Array): void => {
    size += part.length;
    if (size > maxBytes) throw new CliError("TOO_LARGE", `Line ${line} has more than ${maxBytes} bytes.`);
    parts.push(part);
  };
  const take = (): Buffer => {
    const bytes = Buffer.concat(parts);
    parts = [];
    size = 0;
    line += 1;
    return bytes;
  };
  for await (const chunk of chunks) {
    let from = 0;
    for (let to = chunk.indexOf(0x0a); to >= 0; to = chunk.indexOf(0x0a, from)) {
      keep(chunk.subarray(from, to));
      from = to + 1;
      const bytes = take();
      if (!isBlank(bytes)) yield bytes;
    }
    keep(chunk.subarray(from));
  }
  const last = take();
  if (!isBlank(last)) yield last;
}

function isBlank(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0x20 || byte === 0x0d || byte === 0x09);
}
