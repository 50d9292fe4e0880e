import * as z from "zod";
import { LIMITS, valuesOf } from "../limits.ts";
import { Status } from "../protocol/wire.ts";
import { docsPage, docsText } from "./docs-page.ts";
import { json, type Route } from "./route.ts";

const tag = "operations";
/** By the names of the table. */
const TOLD: Readonly<Record<string, number>> = valuesOf({
  "http.bodyBytes": LIMITS.http.bodyBytes,
  "http.importBytes": LIMITS.http.importBytes,
  "http.urlBytes": LIMITS.http.urlBytes,
  "query.pageItems": LIMITS.query.pageItems,
  "tx.writes": LIMITS.tx.writes,
  "tx.changes": LIMITS.tx.changes,
  "socket.frameBytes": LIMITS.socket.frameBytes,
  "socket.frameItems": LIMITS.socket.frameItems,
  "socket.cborItems": LIMITS.socket.cborItems,
  "document.levels": LIMITS.document.levels,
  "change.inflatedBytes": LIMITS.change.inflatedBytes,
  "change.ops": LIMITS.change.ops,
});

const ok = z.object({ ok: z.boolean() });

/** Mounted at the root, not below /api/v1. */
export const opsRoutes: readonly Route[] = [
  {
    method: "GET",
    path: "/healthz",
    summary: "The process answers",
    tag,
    access: "public",
    answers: { 200: { description: "Yes.", types: { "application/json": ok } } },
    handle: () => json(200, { ok: true }),
  },
  {
    method: "GET",
    path: "/readyz",
    summary: "The storage can be written",
    tag,
    access: "public",
    answers: { 200: { description: "Yes.", types: { "application/json": ok } }, 503: { description: "No." } },
    handle: ({ services }) => {
      services.engine.checkWritable();
      return json(200, { ok: true });
    },
  },
  {
    method: "GET",
    path: "/status",
    summary: "Versions, uptime, what is open",
    tag,
    access: "any",
    answers: { 200: { description: "Numbers.", types: { "application/json": Status } } },
    handle: ({ services }) => {
      const { progress, findings, lastPass } = services.scrub();
      return json(200, {
        version: services.version,
        node: process.version,
        automerge: services.automerge,
        uptime_seconds: Math.round((services.world.monotonic() - services.started) / 1000),
        dbs: services.engine.stats(),
        workers: { ...services.engine.documents.stats() },
        subscriptions: services.subscriptions.totals(),
        limits: TOLD,
        memory: { rss: process.memoryUsage.rss() },
        scrub: {
          progress,
          findings,
          last_pass: lastPass === undefined ? null : new Date(lastPass).toISOString(),
        },
      } satisfies z.infer<typeof Status>);
    },
  },
  {
    method: "GET",
    path: "/metrics",
    summary: "Metrics for Prometheus",
    tag,
    access: "any",
    answers: { 200: { description: "Text.", types: { "text/plain": "raw" } } },
    handle: async ({ services }) => {
      const { type, text } = await services.metrics();
      return { status: 200, headers: { "content-type": type }, body: text };
    },
  },
  {
    method: "GET",
    path: "/api/openapi.json",
    summary: "This surface as an OpenAPI document",
    tag,
    access: "public",
    answers: { 200: { description: "OpenAPI 3.1.", types: { "application/json": z.looseObject({}) } } },
    handle: ({ services }) => ({
      status: 200,
      headers: { "content-type": "application/json" },
      body: services.openApi(),
    }),
  },
  {
    method: "GET",
    path: "/docs",
    summary: "This surface as a page",
    tag,
    access: "public",
    answers: {
      200: { description: "A page that loads nothing from elsewhere.", types: { "text/html": "raw" } },
    },
    handle: ({ services }) => docsPage(services.openApi()),
  },
  {
    method: "GET",
    path: "/docs/llm",
    summary: "This surface as plain text",
    tag,
    access: "public",
    answers: { 200: { description: "Text.", types: { "text/plain": "raw" } } },
    handle: ({ services }) => ({
      status: 200,
      headers: { "content-type": "text/plain; charset=utf-8" },
      body: docsText(services.openApi()),
    }),
  },
];
