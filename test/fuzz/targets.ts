import type { Target } from "./harness.ts";
import { backupTargets } from "./targets-backup.ts";
import { archiveTargets } from "./targets-archives.ts";
import { changeTargets } from "./targets-changes.ts";
import { logTargets } from "./targets-log.ts";
import { repoTargets } from "./targets-repo.ts";
import { syncTargets } from "./targets-sync.ts";
import { subscriptionTargets } from "./targets-subscriptions.ts";
import { textTargets } from "./targets-text.ts";

/** Everything that is fuzzed. A new decoder gets a target in one of these lists. */
export const TARGETS: readonly Target[] = [
  ...changeTargets,
  ...logTargets,
  ...syncTargets,
  ...repoTargets,
  ...textTargets,
  ...subscriptionTargets,
  ...backupTargets,
  ...archiveTargets,
];
