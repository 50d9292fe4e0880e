import type { Target } from "./harness.ts";
import { backupTargets } from "./targets-backup.ts";
import { archiveTargets } from "./targets-archives.ts";
import { changeTargets } from "./targets-changes.ts";
import { graphTargets } from "./targets-graph.ts";
import { logTargets } from "./targets-log.ts";
import { repoTargets } from "./targets-repo.ts";
import { syncTargets } from "./targets-sync.ts";
import { subscriptionTargets } from "./targets-subscriptions.ts";
import { textTargets } from "./targets-text.ts";

/** In parts of about the same CPU time, each with a test file of its own. A new decoder gets a target in one of these lists. */
export const PARTS = {
  changes: [...changeTargets, ...syncTargets, ...repoTargets, ...backupTargets, ...archiveTargets],
  records: [...logTargets, ...textTargets, ...subscriptionTargets, ...graphTargets],
} as const satisfies Record<string, readonly Target[]>;

/** Everything that is fuzzed. */
export const TARGETS: readonly Target[] = Object.values(PARTS).flat();
