import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";

const { dbIdCharacters, collectionCharacters, keyBytes, txIdCharacters, statementCharacters } = LIMITS.names;
const DB_ID = new RegExp(`^[A-Za-z0-9._-]{1,${dbIdCharacters.value}}$`);

/**
 * Checks a db id. `.` and `..` fit the alphabet but name folders, so they are refused.
 * Throws NAME_INVALID.
 */
export function checkDbId(id: string): string {
  if (!DB_ID.test(id) || id === "." || id === "..") {
    throw new SkaldError(
      "NAME_INVALID",
      `A db id is 1 to ${dbIdCharacters.value} of A-Z a-z 0-9 . _ - and neither "." nor "..".`,
    );
  }
  return id;
}

/** The db that holds the server's audit log: the server alone writes it, see specs/29-audit.md. */
export const AUDIT_DB = "_audit";

/** Whether the name is one that only the server gives to dbs. Dbs of earlier versions may have such a name too. */
export function isReservedName(id: string): boolean {
  return id.startsWith("_");
}

/**
 * The folder name of a db. File systems that fold case would give "A" and "a" one folder, and a
 * leading dot hides it, so capitals and leading dots are escaped with "=", which no id can hold.
 */
export function dbFolder(id: string): string {
  return checkDbId(id)
    .replace(/[A-Z]/g, (c) => `=${c.toLowerCase()}`)
    .replace(/^\./, "=.");
}

const COLLECTION = new RegExp(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,${collectionCharacters.value - 1}}$`);
const TX_ID = new RegExp(`^[\\x21-\\x7e]{1,${txIdCharacters.value}}$`);

/** Checks a collection name: letters, digits, `. _ -`, first one no dot or dash. Throws NAME_INVALID. */
export function checkCollection(name: string): string {
  if (!COLLECTION.test(name)) {
    throw new SkaldError(
      "NAME_INVALID",
      `A collection is 1 to ${collectionCharacters.value} of A-Z a-z 0-9 . _ - and starts with a letter, a digit or _.`,
    );
  }
  return name;
}

/** Checks a document key: 1 to 512 bytes of UTF-8 without control characters. Throws NAME_INVALID. */
export function checkKey(key: string): string {
  if (key === "" || Buffer.byteLength(key) > keyBytes.value || /\p{Cc}/u.test(key) || !key.isWellFormed()) {
    throw new SkaldError(
      "NAME_INVALID",
      `A document key is 1 to ${keyBytes.value} bytes of UTF-8 without control characters.`,
    );
  }
  return key;
}

export interface DocName {
  readonly collection: string;
  readonly key: string;
}

// Names repeat far more often than they change, and checking one costs more than finding it here.
const checked = new Map<string, DocName>();
const CHECKED_MAX = 10_000;

/** Splits `collection/key`; the key may hold further slashes. Throws NAME_INVALID. */
export function parseDocName(doc: string): DocName {
  const known = checked.get(doc);
  if (known) return known;
  const slash = doc.indexOf("/");
  if (slash < 0) throw new SkaldError("NAME_INVALID", "A document is named collection/key.");
  const name = { collection: checkCollection(doc.slice(0, slash)), key: checkKey(doc.slice(slash + 1)) };
  if (checked.size >= CHECKED_MAX) checked.clear();
  checked.set(doc, name);
  return name;
}

/** Checks the name of a branch, which has the form of a db id. Throws NAME_INVALID. */
export function checkBranchName(name: string): string {
  if (!DB_ID.test(name) || name === "." || name === "..") {
    throw new SkaldError(
      "NAME_INVALID",
      `A branch is named with 1 to ${dbIdCharacters.value} of A-Z a-z 0-9 . _ - and neither "." nor "..".`,
    );
  }
  return name;
}

/** Checks a client_tx_id: 1 to 128 printable ASCII characters. Throws NAME_INVALID. */
export function checkTxId(id: string): string {
  if (!TX_ID.test(id)) {
    throw new SkaldError(
      "NAME_INVALID",
      `A client_tx_id is 1 to ${txIdCharacters.value} printable ASCII characters without spaces.`,
    );
  }
  return id;
}

const STATEMENT = new RegExp(`^[A-Za-z0-9_][A-Za-z0-9_-]{0,${statementCharacters.value - 1}}$`);

/** Checks the name of a stored statement: it stands in URLs with the format behind a dot, so it has none. Throws NAME_INVALID. */
export function checkStatementName(name: string): string {
  if (!STATEMENT.test(name)) {
    throw new SkaldError(
      "NAME_INVALID",
      `A stored statement is named with 1 to ${statementCharacters.value} of A-Z a-z 0-9 _ - and starts with no dash.`,
    );
  }
  return name;
}
