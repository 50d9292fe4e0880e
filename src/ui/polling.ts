import { isAbort, sleep } from "./api.ts";

/**
 * Asks again every `ms` for as long as `signal` lets it, one question at a time; rests while nobody looks at the page.
 * An error is told and does not end it.
 */
export async function poll(
  work: (signal: AbortSignal) => Promise<void>,
  ms: number,
  signal: AbortSignal,
  failed: (error: unknown) => void,
): Promise<void> {
  while (!signal.aborted) {
    try {
      if (!document.hidden) {
        await work(signal);
        failed(undefined);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!isAbort(error)) failed(error);
    }
    await sleep(ms, signal);
  }
}
