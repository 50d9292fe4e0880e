/** The filters of the audit page, and the requests that they become. */

export interface AuditFilters {
  readonly db: string;
  readonly who: string;
  readonly action: string;
  /** As `<input type="datetime-local">` gives them: local time without a zone. */
  readonly since: string;
  readonly until: string;
}

export interface AuditEntry {
  readonly id: string;
  readonly time: string;
  readonly who: string;
  readonly subject: string | null;
  readonly action: string;
  readonly db: string | null;
  readonly detail: string | null;
  readonly address: string | null;
  readonly request_id: string | null;
  readonly count: number;
}

export const NO_FILTERS: AuditFilters = { db: "", who: "", action: "", since: "", until: "" };

/** The query string of the filters, with what the page adds; "" or `?…`. */
export function auditQuery(filters: AuditFilters, more: Readonly<Record<string, string>> = {}): string {
  const query = new URLSearchParams();
  for (const name of ["db", "who", "action"] as const) {
    const text = filters[name].trim();
    if (text !== "") query.set(name, text);
  }
  for (const name of ["since", "until"] as const) {
    const time = instant(filters[name]);
    if (time !== undefined) query.set(name, time);
  }
  for (const [name, value] of Object.entries(more)) query.set(name, value);
  const text = query.toString();
  return text === "" ? "" : `?${text}`;
}

function instant(local: string): string | undefined {
  const time = local === "" ? Number.NaN : Date.parse(local);
  return Number.isNaN(time) ? undefined : new Date(time).toISOString();
}

/** How the file of an export is called: of when it is, and sorted by that. */
export function exportName(form: "csv" | "ndjson", now: Date): string {
  return `skald-audit-${now.toISOString().slice(0, 19).replaceAll(":", "")}.${form}`;
}

/** The filters that an address has. */
export function filtersIn(query: Readonly<Record<string, string>>): AuditFilters {
  const { db = "", who = "", action = "", since = "", until = "" } = query;
  return { db, who, action, since, until };
}
