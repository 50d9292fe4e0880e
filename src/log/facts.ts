import type { Stage } from "./stage.ts";
import { eventsIn } from "./erased.ts";
import { RETENTION_SET, ruleOf } from "./retention.ts";
import { SCHEMA_CHANGE, encodeSchemaEvent, schemaEventsIn, schemaStepsOf } from "./schema-events.ts";
import { encodeSchemaStep } from "./schema-steps.ts";
import type { StoredCommit } from "./stored-commit.ts";

/** Takes in what the events of a commit say of the db as a whole, where the last word on each name counts, and of its schema. */
export function stageFacts(stored: StoredCommit, stage: Stage): void {
  if (stored.commit.events.length === 0) return;
  const { seq } = stored.commit;
  for (const event of eventsIn(stored)) {
    if (event.type !== RETENTION_SET) continue;
    const rule = ruleOf(event);
    if (rule) stage.facts.push({ kind: "retention", name: rule.collection, seq, value: rule.bytes });
  }
  for (const { event } of schemaEventsIn(stored)) {
    if (event.type === SCHEMA_CHANGE) continue;
    stage.facts.push({ kind: "statement", name: event.name, seq, value: encodeSchemaEvent(event) });
  }
  schemaStepsOf(stored, stage.branches).forEach((step, i) => {
    stage.facts.push({ kind: "schema", name: stepName(seq, i), seq, value: encodeSchemaStep(step) });
  });
}

/** Names sort as the steps do. */
function stepName(seq: number, i: number): string {
  return `${String(seq).padStart(16, "0")}.${String(i).padStart(6, "0")}`;
}
