import type { Walk } from "./walk.ts";

/** Steps of time, tokens, people, the audit, snapshots and health. */
export async function health({ go, look }: Walk): Promise<void> {
  await go("#/health");
  await look("health");
}
