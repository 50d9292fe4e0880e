import { createHash } from "node:crypto";
import { ERROR_CODES } from "../errors.ts";
import type { Answer } from "./route.ts";

interface OpenApi {
  readonly info: { readonly title: string; readonly version: string; readonly description: string };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components?: { readonly schemas?: Readonly<Record<string, unknown>> };
}

interface Operation {
  readonly summary: string;
  readonly description?: string;
  readonly tags: readonly string[];
  readonly "x-action"?: string;
  readonly parameters?: readonly {
    readonly in: string;
    readonly name: string;
    readonly description?: string;
  }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema?: unknown }>> };
  readonly responses: Readonly<
    Record<string, { readonly description: string; readonly content?: Readonly<Record<string, unknown>> }>
  >;
}

const STYLE = `
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: #2f6f5e; --write: #3b5ba5; --drop: #a8403a; }
@media (prefers-color-scheme: dark) { :root { --accent: #7fc8b2; --write: #9db8f2; --drop: #f0a29c; } }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem 1.25rem 6rem; }
h1 { margin: 1.5rem 0 0; } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); text-transform: capitalize; }
code, pre { font: 14px/1.5 ui-monospace, monospace; } pre { background: var(--soft); padding: .75rem; overflow-x: auto; border-radius: 6px; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: .35rem .75rem; }
summary { cursor: pointer; } summary b { display: inline-block; min-width: 4.2rem; color: var(--accent); font-family: ui-monospace, monospace; }
summary span { opacity: .75; margin-left: .5rem; } nav a { display: inline-block; margin-right: 1rem; text-transform: capitalize; }
summary b.PUT, summary b.POST, summary b.PATCH { color: var(--write); } summary b.DELETE { color: var(--drop); }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line); } a { color: var(--accent); }
`;
const STYLE_HASH = createHash("sha256").update(STYLE).digest("base64");

/** The reference as one page: no script, nothing loaded from anywhere. */
export function docsPage(openApi: string): Answer {
  const api = JSON.parse(openApi) as OpenApi;
  const tags = new Map<string, string[]>();
  for (const { path, method, operation } of operationsOf(api)) {
    const tag = operation.tags[0] ?? "other";
    tags.set(tag, [...(tags.get(tag) ?? []), operationHtml(path, method, operation)]);
  }
  const sections = [...tags].map(
    ([tag, items]) => `<section id="tag-${escape(tag)}"><h2>${escape(tag)}</h2>${items.join("")}</section>`,
  );
  const schemas = Object.entries(api.components?.schemas ?? {}).map(
    ([name, schema]) =>
      `<details id="schema-${escape(name)}"><summary>${escape(name)}</summary><pre>${escape(JSON.stringify(schema, null, 2))}</pre></details>`,
  );
  const codes = Object.entries(ERROR_CODES).map(
    ([code, { status, hint }]) =>
      `<tr id="${code}"><td><code>${code}</code></td><td>${status}</td><td>${escape(hint)}</td></tr>`,
  );
  const body = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${escape(api.info.title)} API</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,"><style>${STYLE}</style></head><body>
<h1>${escape(api.info.title)} <small>${escape(api.info.version)}</small></h1><p>${escape(api.info.description)}</p>
<p>Everything but the health checks and this page needs <code>Authorization: Bearer &lt;token&gt;</code>. Errors are problem details (RFC 9457) with a stable <a href="#codes">code</a>.
For tools: <a href="/api/openapi.json">OpenAPI document</a>, <a href="/docs/llm">plain text</a>.</p>
<nav>${[...tags.keys()].map((tag) => `<a href="#tag-${escape(tag)}">${escape(tag)}</a>`).join("")}<a href="#shapes">shapes</a><a href="#codes">error codes</a></nav>
${sections.join("\n")}
<section id="shapes"><h2>Shapes</h2>${schemas.join("")}</section>
<section id="codes"><h2>Error codes</h2><table><thead><tr><th>code</th><th>status</th><th>what to do</th></tr></thead><tbody>${codes.join("")}</tbody></table></section>
</body></html>`;
  return {
    status: 200,
    headers: {
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; img-src data:; base-uri 'none'; frame-ancestors 'none'`,
    },
    body,
  };
}

/** The same as plain text, for tools that read rather than render. */
export function docsText(openApi: string): string {
  const api = JSON.parse(openApi) as OpenApi;
  const lines = [
    `# ${api.info.title} ${api.info.version}`,
    "",
    api.info.description,
    "Credentials: `Authorization: Bearer <token>`. Errors: application/problem+json with a stable `code` and a `hint`.",
    "",
  ];
  for (const { path, method, operation } of operationsOf(api)) {
    lines.push(
      `## ${method} ${path}`,
      operation.summary + (operation.description ? `. ${operation.description}` : ""),
    );
    if (operation["x-action"]) lines.push(`- needs: ${operation["x-action"]}`);
    for (const parameter of operation.parameters ?? []) {
      if (parameter.in === "query")
        lines.push(`- query ${parameter.name}: ${parameter.description ?? ""}`.trimEnd());
    }
    for (const [type, content] of Object.entries(operation.requestBody?.content ?? {})) {
      lines.push(`- takes ${type}${content.schema ? `: ${JSON.stringify(content.schema)}` : ""}`);
    }
    for (const [status, answer] of Object.entries(operation.responses)) {
      const types = Object.keys(answer.content ?? {}).join(", ");
      lines.push(`- ${status}: ${answer.description}${types ? ` (${types})` : ""}`);
    }
    lines.push("");
  }
  lines.push("## Shapes", JSON.stringify(api.components?.schemas ?? {}), "", "## Error codes");
  for (const [code, { status, hint }] of Object.entries(ERROR_CODES))
    lines.push(`- ${code} (${status}): ${hint}`);
  return `${lines.join("\n")}\n`;
}

function* operationsOf(api: OpenApi): Generator<{ path: string; method: string; operation: Operation }> {
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods))
      yield { path, method: method.toUpperCase(), operation };
  }
}

function operationHtml(path: string, method: string, operation: Operation): string {
  const query = (operation.parameters ?? []).filter((parameter) => parameter.in === "query");
  const takes = Object.entries(operation.requestBody?.content ?? {}).map(
    ([type, { schema }]) =>
      `<p>Takes <code>${escape(type)}</code></p>${schema && Object.keys(schema).length ? `<pre>${escape(JSON.stringify(schema, null, 2))}</pre>` : ""}`,
  );
  const gives = Object.entries(operation.responses).map(
    ([status, answer]) =>
      `<tr><td>${escape(status)}</td><td>${escape(answer.description)}</td><td>${Object.keys(
        answer.content ?? {},
      )
        .map((type) => `<code>${escape(type)}</code>`)
        .join("<br>")}</td></tr>`,
  );
  return `<details id="${method}-${escape(path)}"><summary><b class="${method}">${method}</b> <code>${escape(path)}</code><span>${escape(operation.summary)}</span></summary>
${operation.description ? `<p>${escape(operation.description)}</p>` : ""}<p>Needs ${needs(operation["x-action"])}.</p>
${query.length ? `<table><tbody>${query.map((parameter) => `<tr><td><code>?${escape(parameter.name)}</code></td><td>${escape(parameter.description ?? "")}</td></tr>`).join("")}</tbody></table>` : ""}
${takes.join("")}<table><tbody>${gives.join("")}</tbody></table></details>`;
}

function needs(action: string | undefined): string {
  if (action === undefined) return "nothing";
  return action === "any" ? "any token" : `<code>${escape(action)}</code>`;
}

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

function escape(text: string): string {
  return text.replaceAll(/[&<>"]/g, (c) => ENTITIES[c] as string);
}
