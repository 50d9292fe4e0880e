import * as A from "@automerge/automerge/slim";

/** Where Automerge's WebAssembly comes from: its bytes, a URL, or a response that brings them. */
export type AutomergeWasm = string | URL | Uint8Array | Response | Promise<Response>;

let loading: Promise<void> | undefined;

/**
 * Makes Automerge ready, once. `/slim` is Automerge without its WebAssembly, because bundlers break the one
 * that brings its own. Without `wasm` it is loaded as a module of base64, which every bundler takes and which
 * is a megabyte longer than the file `@automerge/automerge/automerge.wasm`.
 */
export function automergeReady(wasm?: AutomergeWasm): Promise<void> {
  // Whoever uses Automerge beside the client has readied it.
  if (A.isWasmInitialized()) return Promise.resolve();
  loading ??= load(wasm).catch((error: unknown) => {
    loading = undefined;
    throw error;
  });
  return loading;
}

async function load(wasm: AutomergeWasm | undefined): Promise<void> {
  if (wasm !== undefined) {
    await A.initializeWasm(wasm as Parameters<typeof A.initializeWasm>[0]);
    return;
  }
  const { automergeWasmBase64 } = await import("@automerge/automerge/automerge.wasm.base64");
  await A.initializeBase64Wasm(automergeWasmBase64);
}
