import { ApiError, problemIn } from "./api-error.ts";

/**
 * Sends a file as a body and tells how far it is. `fetch` says nothing of what it has sent, so this goes the old way.
 * Rejects with the server's problem, or with what `signal` was aborted for.
 */
export function upload<T>(
  url: string,
  file: Blob,
  options: {
    readonly type: string;
    readonly signal: AbortSignal;
    readonly onSent: (sent: number, of: number) => void;
  },
): Promise<T> {
  const { type, signal, onSent } = options;
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const stop = (): void => request.abort();
    const end = (): void => signal.removeEventListener("abort", stop);
    request.open("POST", url);
    request.setRequestHeader("content-type", type);
    request.upload.onprogress = (event) => onSent(event.loaded, event.total);
    request.onload = () => {
      end();
      if (request.status >= 200 && request.status < 300) resolve(JSON.parse(request.responseText) as T);
      else reject(problemIn(request.status, request.responseText));
    };
    request.onerror = () => {
      end();
      reject(
        new ApiError(0, { code: "OFFLINE", detail: "The server cannot be reached, or ended the upload." }),
      );
    };
    request.onabort = () => {
      end();
      reject(new DOMException("The upload was stopped.", "AbortError"));
    };
    signal.addEventListener("abort", stop);
    request.send(file);
  });
}
