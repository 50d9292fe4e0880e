import type { IncomingMessage } from "node:http";
import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Held, Load } from "./load.ts";
import type { Body, Route } from "./route.ts";

/**
 * The body of a request as its route takes it. Throws UNSUPPORTED_MEDIA_TYPE, TOO_LARGE, BAD_JSON and
 * BAD_REQUEST (the schema refuses it, or it broke off), UNAVAILABLE (too much is held already). What it
 * holds is counted in `load` and `held`; the caller gives it back.
 */
export async function readBody(route: Route, req: IncomingMessage, load: Load, held: Held): Promise<Body> {
  const spec = route.body;
  if (!spec) return NO_BODY;
  const type = (req.headers["content-type"] ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
  const schema = Object.hasOwn(spec.types, type) ? spec.types[type] : undefined;
  if (schema === undefined) {
    throw new SkaldError(
      "UNSUPPORTED_MEDIA_TYPE",
      `This route takes ${Object.keys(spec.types).join(", ")}.`,
      {
        details: { accept: Object.keys(spec.types) },
      },
    );
  }
  const encoding = req.headers["content-encoding"];
  if (encoding !== undefined && encoding !== "identity") {
    throw new SkaldError(
      "UNSUPPORTED_MEDIA_TYPE",
      `This route takes no content-encoding, and got ${encoding}.`,
    );
  }
  if (spec.streamed) return { ...NO_BODY, type, stream: asItComes(req) };
  const bytes = await collect(req, spec.maxBytes ?? LIMITS.http.bodyBytes.value, (bytes) =>
    load.hold(held, bytes),
  );
  if (schema === "raw") return { type, bytes, value: undefined };
  return { type, bytes, value: checked(schema, parseJson(bytes), "body") };
}

async function* asItComes(req: IncomingMessage): AsyncGenerator<Uint8Array> {
  try {
    // What a handler leaves is dealt with like the rest of any refused body.
    for await (const part of req.iterator({ destroyOnReturn: false })) yield part as Buffer;
  } catch (cause) {
    throw new SkaldError("BAD_REQUEST", "The request broke off.", { cause });
  }
  if (!req.complete) throw new SkaldError("BAD_REQUEST", "The request broke off.");
}

const NO_BODY: Body = { type: "", bytes: Buffer.alloc(0), value: undefined };

function collect(req: IncomingMessage, most: number, hold: (bytes: number) => void): Promise<Buffer> {
  if (Number(req.headers["content-length"] ?? 0) > most) return Promise.reject(tooLarge(most));
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    const refuse = (error: unknown): void => {
      // From here on only counted: `send` decides how much more of it is listened to.
      parts.length = 0;
      size = Infinity;
      reject(error);
    };
    req.on("data", (part: Buffer) => {
      size += part.length;
      if (size > most) return refuse(tooLarge(most));
      try {
        hold(part.length);
        parts.push(part);
      } catch (error) {
        refuse(error);
      }
    });
    req.on("end", () => resolve(parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)));
    req.on("error", reject);
    req.on("aborted", () => reject(new SkaldError("BAD_REQUEST", "The request broke off.")));
  });
}

function tooLarge(most: number): SkaldError {
  return new SkaldError("TOO_LARGE", `The body is larger than ${most} bytes.`, {
    details: { max_bytes: most },
  });
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Text of a JSON body; a byte order mark at its start is left out. Throws BAD_JSON. */
export function jsonText(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new SkaldError("BAD_JSON", "The body is not UTF-8.", { cause });
  }
}

function parseJson(bytes: Uint8Array): unknown {
  const text = jsonText(bytes);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new SkaldError("BAD_JSON", `The body is not JSON: ${(cause as Error).message}.`, { cause });
  }
}

/** The query of a request as its route takes it. Throws BAD_REQUEST. */
export function readQuery(route: Pick<Route, "query">, search: string): Readonly<Record<string, unknown>> {
  if (search === "" && !route.query) return EMPTY;
  const given = Object.create(null) as Record<string, string | string[]>;
  for (const [name, value] of new URLSearchParams(search)) {
    const known = given[name];
    if (Array.isArray(known)) known.push(value);
    else given[name] = known === undefined ? value : [known, value];
  }
  if (!route.query) {
    const [name] = Object.keys(given);
    if (name === undefined) return EMPTY;
    throw new SkaldError("BAD_REQUEST", `This route takes no query parameter "${name.slice(0, 80)}".`);
  }
  return checked(route.query, { ...given }, "query") as Readonly<Record<string, unknown>>;
}

const EMPTY: Readonly<Record<string, unknown>> = Object.freeze({});

/** What a schema makes of a value. Throws BAD_REQUEST with pointers to what is wrong. */
export function checked(
  schema: {
    safeParse(value: unknown): {
      success: boolean;
      data?: unknown;
      error?: { issues: { path: PropertyKey[]; message: string }[] } | undefined;
    };
  },
  value: unknown,
  where: "query" | "body",
): unknown {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issues = result.error?.issues ?? [];
  const errors = issues.slice(0, 20).map((issue) => ({
    pointer: issue.path
      .map((part) => `/${String(part).replaceAll("~", "~0").replaceAll("/", "~1")}`)
      .join("")
      .slice(0, 500),
    message: issue.message.slice(0, 500),
  }));
  const first = errors[0];
  throw new SkaldError(
    "BAD_REQUEST",
    `The ${where} is wrong${first ? ` at "${first.pointer}": ${first.message}` : ""}.`,
    {
      details: { errors },
    },
  );
}
