import * as z from "zod";
import { createDocument } from "zod-openapi";
import { Problem } from "../protocol/wire.ts";
import type { AnswerSpec, Route } from "./route.ts";

type Operation = Record<string, unknown>;

/** The OpenAPI 3.1 document of a list of routes, made from the schemas that check the requests. */
export function openApiOf(
  mounts: readonly { readonly base: string; readonly routes: readonly Route[] }[],
  version: string,
): string {
  const paths: Record<string, Record<string, Operation>> = {};
  for (const { base, routes } of mounts) {
    for (const route of routes) {
      // OpenAPI 3.1 has no word for the method of RFC 10008.
      if (route.method === "QUERY") continue;
      const path = base + route.path.replaceAll(/:(\w+)/g, "{$1}");
      (paths[path] ??= {})[route.method.toLowerCase()] = operationOf(route);
    }
  }
  const document = createDocument({
    openapi: "3.1.0",
    info: {
      title: "Skald",
      version,
      description: "Documents whose every write is an Automerge change in a content-addressed log.",
    },
    components: { securitySchemes: { token: { type: "http", scheme: "bearer" } } },
    paths: paths as never,
  });
  return JSON.stringify(document);
}

function operationOf(route: Route): Operation {
  const names = [...route.path.matchAll(/:(\w+)/g)].map((match) => match[1] as string);
  return {
    operationId: operationId(route),
    summary: route.summary,
    ...(route.description === undefined ? {} : { description: route.description }),
    tags: [route.tag],
    ...(route.access === "public"
      ? { security: [] }
      : { security: [{ token: route.access === "any" ? [] : [route.access] }], "x-action": route.access }),
    requestParams: {
      ...(names.length > 0
        ? { path: z.object(Object.fromEntries(names.map((name) => [name, z.string()]))) }
        : {}),
      ...(route.query ? { query: route.query } : {}),
    },
    ...(route.body ? { requestBody: { required: true, content: contentOf(route.body.types) } } : {}),
    responses: {
      ...Object.fromEntries(
        Object.entries(route.answers).map(([status, answer]) => [status, responseOf(answer)]),
      ),
      default: {
        description: "What went wrong.",
        content: { "application/problem+json": { schema: Problem } },
      },
    },
  };
}

function responseOf(answer: AnswerSpec): Record<string, unknown> {
  return { description: answer.description, ...(answer.types ? { content: contentOf(answer.types) } : {}) };
}

function contentOf(types: Readonly<Record<string, z.ZodType | "raw">>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(types).map(([type, schema]) => [
      type,
      { schema: schema === "raw" ? rawSchema(type) : schema },
    ]),
  );
}

function rawSchema(type: string): Record<string, unknown> {
  if (type.endsWith("json")) return {};
  return type.startsWith("text/") || type === "application/x-ndjson"
    ? { type: "string" }
    : { type: "string", format: "binary" };
}

/** Such as `getDbDocsHistory`: from the method and the fixed parts of the path. */
function operationId(route: Route): string {
  const words = route.path.split("/").filter((part) => part !== "");
  // Beside the one without a slash at its end.
  if (words.length > 0 && route.path.endsWith("/")) words.push("index");
  return (
    route.method.toLowerCase() +
    words
      .map((word) => {
        const name = word
          .replace(/^:/, "By-")
          .replaceAll(/[^A-Za-z0-9]+(.)/g, (_, c: string) => c.toUpperCase());
        return name.charAt(0).toUpperCase() + name.slice(1);
      })
      .join("")
  );
}
