/** Gives the browser something to save under a name. */
export function save(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // The browser has begun by then; nothing holds the bytes any longer.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
