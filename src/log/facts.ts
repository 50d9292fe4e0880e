import type { Stage } from "./catalog.ts";
import { eventsIn } from "./erased.ts";
import { RETENTION_SET, ruleOf } from "./retention.ts";
import type { StoredCommit } from "./stored-commit.ts";

/** Takes in what the events of a commit say of the db as a whole: the last word on each name counts. */
export function stageFacts(stored: Pick<StoredCommit, "commit" | "blocks">, stage: Stage): void {
  if (stored.commit.events.length === 0) return;
  const { seq } = stored.commit;
  for (const event of eventsIn(stored)) {
    if (event.type !== RETENTION_SET) continue;
    const rule = ruleOf(event);
    if (rule) stage.facts.push({ kind: "retention", name: rule.collection, seq, value: rule.bytes });
  }
}
