/**
 * What may be answered to what was sent. An answer that is not here, for what was sent and what was going
 * on meanwhile, is a finding. An answer is its status, and its code when it is a problem document.
 */
const CHANGE_REFUSALS = [
  "400 CHANGE_MALFORMED",
  "400 CHANGE_CHECKSUM",
  "413 CHANGE_TOO_LARGE",
  "403 CHANGE_ACTOR",
  "422 CHANGE_DEPS_MISSING",
  "422 CHANGE_SEQ",
  "422 CHANGE_START_OP",
  "422 CHANGE_EQUIVOCATION",
  "422 CHANGE_REFUSED",
];

export const EXPECTED = {
  "db.create": ["200", "201"],
  "db.info": ["200"],
  "db.delete": ["204"],
  "db.list": ["200"],
  "doc.put": ["200", "201"],
  "doc.merge-patch": ["200", "201"],
  "doc.json-patch": ["200", "409 PATCH_FAILED"],
  "doc.automerge-patch": ["200", "201"],
  "doc.delete": ["200"],
  "doc.read": ["200"],
  "doc.read-maybe": ["200", "304", "404 DOC_NOT_FOUND"],
  "doc.save": ["200"],
  "doc.list": ["200"],
  "doc.history": ["200", "404 DOC_NOT_FOUND"],
  "doc.diff": ["200", "404 DOC_NOT_FOUND"],
  "doc.import": ["200", "201"],
  tx: ["200"],
  "tx.expecting": ["200", "409 HEADS_CONFLICT", "409 SEQ_CONFLICT"],
  "log.commits": ["200"],
  "log.commit": ["200"],
  "log.block": ["200"],
  // Old addresses of a compacted log are looked for within a share of the time.
  "log.old": ["200", "503 WORK_BUSY"],
  verify: ["200"],
  rebuild: ["200"],
  compact: ["200"],
  "token.create": ["201"],
  "token.revoke": ["200", "204"],
  "token.list": ["200"],
  status: ["200"],
  metrics: ["200"],
  "bad.change": ["200", ...CHANGE_REFUSALS],
  "bad.oversized": ["413 TOO_LARGE"],
  "bad.json": ["400 BAD_JSON", "400 BAD_REQUEST"],
  "bad.name": ["400 NAME_INVALID", "400 BAD_REQUEST", "404 NOT_FOUND"],
  "bad.token": ["401 UNAUTHENTICATED"],
  "bad.confirm": ["400 DB_CONFIRM"],
  "bad.method": ["405 METHOD_NOT_ALLOWED"],
  "bad.point": ["400 POINT_INVALID", "400 POINT_IN_FUTURE", "404 COMMIT_NOT_FOUND"],
  "bad.cursor": ["400 CURSOR_INVALID"],
  "bad.value": ["422 VALUE_INVALID"],
};

/** What else may be answered while something goes on, or just after. */
export const WEATHER = {
  stopping: ["503 UNAVAILABLE"],
  full: ["507 STORAGE_FULL"],
  brim: ["507 STORAGE_FULL"],
  // A pause of the whole process counts against a job's deadline.
  paused: ["422 WORK_TIMEOUT"],
  flood: ["503 WORK_BUSY"],
  deleting: ["404 DB_NOT_FOUND", "503 UNAVAILABLE"],
};

/** Reads go on while the disk is full. */
const READS =
  /^(doc\.(read|read-maybe|save|list|history|diff)|db\.(info|list)|log\..*|verify|status|metrics)$/;

/** Codes of the server's own `failure` lines, which it writes for every answer from 500 on. */
const QUIET_FAILURES = new Set(["WORK_BUSY"]);
const WEATHER_FAILURES = { stopping: "UNAVAILABLE", full: "STORAGE_FULL", deleting: "UNAVAILABLE" };

export function answerName(status, code) {
  return code === undefined ? String(status) : `${status} ${code}`;
}

/** Whether the answer may be given to `kind` in this weather (names of WEATHER). */
export function isExpected(kind, answer, weather = []) {
  const known = EXPECTED[kind];
  if (known === undefined) throw new Error(`nothing says what ${kind} may be answered`);
  return (
    known.includes(answer) ||
    weather.some((name) => WEATHER[name]?.includes(answer) && !(name === "full" && READS.test(kind)))
  );
}

/** Whether a line of the server's log may be there. `line` is its JSON. */
export function isExpectedFailure(line, weather = []) {
  const code = line.err?.code;
  if (code === undefined) return false;
  return QUIET_FAILURES.has(code) || weather.some((name) => WEATHER_FAILURES[name] === code);
}
