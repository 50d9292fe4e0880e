import type { AuditEntry } from "../audit/audit.ts";
import type { Call } from "./route.ts";

/** What a request did, as the audit log has it: who it is from, from where, its id, and the db of its path. */
export function entryOf(
  { principal, address, requestId: request_id, params }: Caller,
  action: string,
  more: Pick<AuditEntry, "db" | "detail"> = {},
): AuditEntry {
  const { db } = params;
  return { principal, action, ...(db === undefined ? {} : { db }), address, request_id, ...more };
}

/** Notes it; wait for this before the answer to what people must be able to rely on. Never rejects. */
export function noted(
  call: Caller & Pick<Call, "services">,
  action: string,
  more: Pick<AuditEntry, "db" | "detail"> = {},
): Promise<boolean> {
  return call.services.audit.note(entryOf(call, action, more));
}

type Caller = Pick<Call, "principal" | "address" | "requestId" | "params">;
