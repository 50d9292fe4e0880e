/** What the server said no with (RFC 9457), or why nothing was heard: then `status` is 0 and `code` OFFLINE. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  readonly code: string;
  readonly hint: string;
  /** The whole problem document. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(status: number, details: Readonly<Record<string, unknown>>) {
    super(text(details["detail"]) || text(details["title"]) || `The server answered ${status}.`);
    this.status = status;
    this.code = text(details["code"]) || `HTTP_${status}`;
    this.hint = text(details["hint"]);
    this.details = details;
  }
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

export function isApiError(error: unknown, code?: string): error is ApiError {
  return error instanceof ApiError && (code === undefined || error.code === code);
}

/** The request was given up by us: nothing to tell anybody. */
export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

/** What a failed answer holds; anything but a problem document is told by its status. */
export function problemIn(status: number, body: string): ApiError {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === "object" && parsed !== null)
      return new ApiError(status, parsed as Record<string, unknown>);
  } catch {
    // A proxy in between answers with a page of its own.
  }
  return new ApiError(status, {
    detail: `The server answered ${status} without saying why.`,
    hint: "Something between this page and the server may have answered in its place.",
  });
}
