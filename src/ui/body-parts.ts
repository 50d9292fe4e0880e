/** Reads a body to its end and tells how many bytes there are so far. */
export async function partsOf(response: Response, onBytes: (bytes: number) => void): Promise<BlobPart[]> {
  const reader = response.body?.getReader();
  const parts: BlobPart[] = [];
  let bytes = 0;
  for (;;) {
    const part = await reader?.read();
    if (!part || part.done) return parts;
    parts.push(part.value as BlobPart);
    bytes += part.value.byteLength;
    onBytes(bytes);
  }
}
