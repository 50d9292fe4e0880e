import type { Component } from "svelte";
import type { PageName } from "./routes.ts";

export type Pages = Partial<Record<PageName, () => Promise<{ default: Component<Record<string, unknown>> }>>>;
