// Mutants that no test can notice, each with why: they change what something costs, or nothing. An entry
// names a line of a source by its text (trimmed), or by how that begins, and, where not all of its edits are
// meant, the edits. One that fits nothing any more fails the run; `--equivalent` tries them too and names those
// that a test noticed after all.
const LOG = "src/log/log.ts";
const RECORDS = "src/log/records.ts";
const WRITE = "src/db/write.ts";
const GROUP = "src/log/group.ts";
const CATALOG = "src/log/catalog.ts";
const TRANSACTION = "src/log/transaction.ts";
const STORAGE = "src/store/sqlite-log.ts";

const BUDGET = "a budget: another one costs more or less and answers the same";
const WORDS = "words of a message";
const REPEATED = "what a repeat adds to the bytes of a group, which only a budget looks at";

export const EQUIVALENT = [
  { file: RECORDS, line: "const PAGE = 512;", reason: BUDGET },
  { file: RECORDS, line: "const RANGE_BYTES = 8 * 1024 * 1024;", reason: BUDGET },
  { file: LOG, line: "const GROUP_MAX = 512;", reason: BUDGET },
  { file: LOG, line: "const GROUP_BYTES = 8 * 1024 * 1024;", what: ["becomes 1025"], reason: BUDGET },
  {
    file: "src/log/group-ground.ts",
    line: "for (let seq = last; seq > 0 && seq > last - 1000; seq -= 1) {",
    what: ["becomes 1001", "> becomes >="],
    reason: BUDGET,
  },
  {
    file: CATALOG,
    line: "if (state.id !== undefined) this.#keep(state);",
    what: ["is left out", "if (false)"],
    reason: "spares reading the row again",
  },
  {
    file: CATALOG,
    line: "this.#keep(state);",
    what: ["is left out"],
    reason: "spares reading the row again",
  },
  ...["heads", "actors", "count"].map((list) => ({
    file: "src/log/doc-state.ts",
    line: new RegExp(`^for \\(let left = ${list}; left > 0;`),
    what: ["becomes 1"],
    reason: "a length that is no multiple is refused after it, however much of it was read",
  })),
  {
    file: TRANSACTION,
    line: "if (fresh.length > 0) checkGrowth(write.doc, fresh, state);",
    what: ["if (true)", "> becomes >="],
    reason: "spares a count: without changes nothing grows",
  },
  {
    file: TRANSACTION,
    line: /^const (?:actors|before) = state\?\.\w+\.size \?\? 0;$/,
    what: ["becomes 1"],
    reason: "spares a count, and one too many is counted again",
  },
  ...[
    "if (write.changes.length === 1 && isNext(write.changes[0] as ChangeHeader, state, tx, write))",
    "if (state.refused.size > 0) return false;",
    "if (known.principal !== tx.author && !tx.anyActor && !write.authored) return false;",
    "if (change.deps.length !== state.heads.size) return false;",
    "if (maxOp === undefined) return false;",
  ].map((line, i) => ({
    file: TRANSACTION,
    line,
    what: i === 0 ? ["if (false)"] : ["if (true)", "> becomes >="],
    reason: "the common case in short: the long way says the same",
  })),
  {
    file: TRANSACTION,
    line: "const found = within.has(hash) ? undefined : find(hash);",
    what: ["the second of two"],
    reason: "spares a look: what comes with it is not there yet",
  },
  {
    file: TRANSACTION,
    line: "if (!seen.has(dep)) {",
    what: ["if (true)"],
    reason: "spares looking at a change twice",
  },
  {
    file: TRANSACTION,
    line: "seen.add(dep);",
    what: ["is left out"],
    reason: "spares looking at a change twice",
  },
  {
    file: GROUP,
    line: "if (found.has(hash)) continue;",
    what: ["if (false)", "does not continue"],
    reason: "spares reading a commit again",
  },
  {
    file: GROUP,
    line: "const stored = seen.has(seq) ? undefined : read(seq);",
    what: ["the second of two"],
    reason: "spares reading a commit again",
  },
  {
    file: GROUP,
    line: "seen.add(seq);",
    what: ["is left out"],
    reason: "spares reading a commit again",
  },
  {
    file: GROUP,
    line: "if (hashes.every((hash) => found.has(hash))) break;",
    what: ["if (false)", "does not break"],
    reason: "spares reading bundles that hold nothing more of it",
  },
  {
    file: LOG,
    line: "if (group.records.length > 0) {",
    what: ["if (true)", "> becomes >="],
    reason: "an empty group ends where it began",
  },
  {
    file: WRITE,
    line: "if (request.clientTxId !== undefined) checkTxId(request.clientTxId);",
    what: ["if (true)"],
    reason: "no id passes for one",
  },
  {
    file: CATALOG,
    line: /^(?:if \(clean\) \{|this\.#clean\.(?:delete|set)\((?:name, clean|name|oldest|state\.name, state)\);)$/,
    what: ["if (false)", "is left out"],
    reason: "what is kept of the table's rows, or for how long",
  },
  {
    file: "src/log/doc-state.ts",
    line: "last: 0,",
    reason: "set before anybody asks: a state is made with its first commit",
  },
  {
    file: STORAGE,
    line: "const left = walBytes(file) > 0;",
    what: ["becomes 1"],
    reason: "a write-ahead log begins with 32 bytes",
  },
  { file: STORAGE, line: "let bytes = 0;", what: ["becomes 1"], reason: BUDGET },
  {
    file: STORAGE,
    line: "if (this.#sinceTidy <= this.#walBytes) return;",
    what: ["<= becomes <"],
    reason: BUDGET,
  },
  {
    file: LOG,
    line: "return last.last - last.first + 1 < BUNDLE_COMMITS / 2 ? last.first : last.last + 1;",
    what: ["< becomes <=", "+ becomes -", "becomes 2", "becomes 3", "/ becomes *"],
    reason: "how full a bundle may be to be made anew: a matter of cost",
  },
  {
    file: STORAGE,
    line: "this.#walBytes = options.walBytes ?? 16 * 1024 * 1024;",
    what: ["* becomes /", "becomes 17", "becomes 1025"],
    reason: BUDGET,
  },
  {
    file: STORAGE,
    line: "export const DEFAULT_RESERVE = 32 * 1024 * 1024;",
    what: ["becomes 33", "becomes 1025"],
    reason: BUDGET,
  },
  {
    file: "src/log/group-write.ts",
    line: "return { cid, seq, time: commit.time, entries: commit.entries, duplicate: true, bytes: 0 };",
    what: ["becomes 1"],
    reason: REPEATED,
  },
  {
    file: "src/log/group-write.ts",
    line: "return { cid, seq, time: commit.time, entries, duplicate: true, bytes: 0 };",
    what: ["becomes 1"],
    reason: REPEATED,
  },
  {
    file: "src/log/group-write.ts",
    line: "return { cid: cid ?? new Uint8Array(0), seq: at, time, entries, duplicate: true, bytes: 0 };",
    what: ["becomes 1"],
    reason: REPEATED,
  },
  {
    file: "src/log/recover.ts",
    line: "const upTo = (same < 0 ? noted : noted.slice(0, same)).at(-1)?.last ?? 0;",
    what: ["without -", "?? becomes &&"],
    reason: "what is noted already is noted again, to the same",
  },
  {
    file: CATALOG,
    line: "return id === undefined ? [] : this.#table.bundlesOf(id);",
    what: ["the second of two"],
    reason: "the table finds nothing for no id",
  },
  {
    file: CATALOG,
    line: "if (this.#flushed()) return this.#table.list(prefix, after, limit, withDeleted).map(decodeDocState);",
    what: ["if (false)"],
    reason: "memory and the table give the same",
  },
  {
    file: CATALOG,
    line: "if (this.#flushed()) return this.#table.counts();",
    what: ["if (false)"],
    reason: "memory and the table give the same",
  },
  {
    file: STORAGE,
    line: "this.#sinceTidy = 0;",
    what: ["is left out", "becomes 1"],
    reason: "how often it is tidied: a matter of cost",
  },
  {
    file: STORAGE,
    line: "const body = this.#last > 0 ? this.read(this.#last) : undefined;",
    what: ["> becomes >=", "the first of two"],
    reason: "there is no record 0",
  },
  {
    file: "src/log/record.ts",
    line: 'if (end < 34 || body[0] !== FORMAT) throw damaged(seq, "its envelope is not one");',
    what: ["< becomes <=", "becomes 35"],
    reason: "no record is that short: one without anything in it is longer",
  },
  {
    file: WRITE,
    line: "const named = request.writes.some((write) => write.doc === moved && write.base !== undefined);",
    what: ["some becomes every"],
    reason: "spares tries that end in the same refusal",
  },
  {
    file: CATALOG,
    line: "constructor(table: CatalogTable, uid: Uint8Array, cachedDocs = 10_000) {",
    what: ["becomes 10001"],
    reason: BUDGET,
  },
  {
    file: TRANSACTION,
    line: "if (change.seq <= 2 && isGenesis(write.doc, change, lookup) && state.changes + fresh.length > 0) continue;",
    what: ["becomes 3"],
    reason: "spares the working out of a genesis: nothing of its actor can have that number",
  },
  {
    file: TRANSACTION,
    line: "if (!known || change.seq !== known.seq + 1 || change.seq === 2) return false;",
    what: ["if (true)"],
    reason: "the common case in short: the long way says the same",
  },
  {
    file: TRANSACTION,
    line: "if (before + fresh.length > mostHeads.value) {",
    what: ["> becomes >=", "if (true)"],
    reason: "spares a count",
  },
  {
    file: TRANSACTION,
    line: "if (actors + fresh.length > mostActors.value) {",
    what: ["> becomes >=", "if (true)"],
    reason: "spares a count",
  },
  {
    file: TRANSACTION,
    line: 'checkText("message", tx.message ?? "");',
    what: ["an empty text"],
    reason: WORDS,
  },
  { file: TRANSACTION, line: 'checkText("author", tx.author);', what: ["an empty text"], reason: WORDS },
  {
    file: TRANSACTION,
    line: "if (state.refused.size > 0 && !write.merging) refuseDescendants(change, state);",
    what: ["> becomes >="],
    reason: "spares a look: nothing builds on what was not set aside",
  },
  {
    file: WRITE,
    line: "if (!request.dryRun && !receipt.duplicate) {",
    what: ["if (false)"],
    reason: "spares the next reader a worker's time",
  },
  {
    file: WRITE,
    line: 'checkCount("writes of a transaction", writes.length, mostWrites.value);',
    what: ["an empty text"],
    reason: WORDS,
  },
  {
    file: WRITE,
    line: 'checkCount("reads of a transaction", request.reads?.length ?? 0, reads.value);',
    what: ["an empty text"],
    reason: WORDS,
  },
  {
    file: WRITE,
    line: 'checkCount("heads of a write", write.base?.length ?? 0, heads.value);',
    what: ["an empty text"],
    reason: WORDS,
  },
  {
    file: WRITE,
    line: 'for (const read of request.reads ?? []) checkCount("heads of a read", read.heads.length, heads.value);',
    what: ["an empty text"],
    reason: WORDS,
  },
];

/** The reason why a mutant is on the list, or undefined. */
export function reasonOf(file, text, what) {
  return EQUIVALENT.find((entry) => fits(entry, file, text, what))?.reason;
}

export function fits(entry, file, text, what) {
  const { line } = entry;
  const isLine = typeof line === "string" ? line === text : line.test(text);
  return entry.file === file && isLine && (!entry.what || entry.what.includes(what));
}
