import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { World } from "../world.ts";

/**
 * Asks the identity provider something. Whatever it answers or does not, the outcome is a JSON object or
 * PROVIDER_FAILED, within a time and a size; nothing of an answer is repeated in an error.
 */
export interface Asked {
  readonly method?: "GET" | "POST";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface Told {
  readonly status: number;
  readonly json: Readonly<Record<string, unknown>>;
}

const { answerMs, answerBytes } = LIMITS.signin;

/** `what` names the answer in errors. Redirects are not followed: each address is checked where it is learnt. */
export async function askProvider(world: World, what: string, url: string, asked: Asked = {}): Promise<Told> {
  const ended = new AbortController();
  const enough = world.timer(answerMs.value, () => ended.abort());
  try {
    const answer = await fetch(url, {
      method: asked.method ?? "GET",
      headers: { accept: "application/json", ...asked.headers },
      redirect: "manual",
      signal: ended.signal,
      ...(asked.body === undefined ? {} : { body: asked.body }),
    });
    const text = await bodyOf(answer, what);
    if (answer.status >= 300 && answer.status < 400) throw failed(what, "it is a redirect");
    return { status: answer.status, json: objectOf(text, what, answer.status) };
  } catch (error) {
    if ((error as { code?: unknown } | null)?.code === "PROVIDER_FAILED") throw error;
    if (ended.signal.aborted) throw failed(what, `it took longer than ${answerMs.value} ms`, error);
    throw failed(what, "the connection failed", error);
  } finally {
    enough();
    // Also lets go of an answer that was not read to its end.
    ended.abort();
  }
}

async function bodyOf(answer: Response, what: string): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of (answer.body ?? []) as AsyncIterable<Uint8Array>) {
    size += part.length;
    if (size > answerBytes.value) throw failed(what, `it is larger than ${answerBytes.value} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

function objectOf(text: string, what: string, status: number): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's own error repeats what it was given, which may be a token, and this one is logged with its cause.
    throw failed(what, `it is not JSON (status ${status})`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw failed(what, `it is no JSON object (status ${status})`);
  }
  return value as Record<string, unknown>;
}

export function failed(what: string, why: string, cause?: unknown): SkaldError {
  return new SkaldError("PROVIDER_FAILED", `The identity provider's ${what}: ${why}.`, { cause });
}
