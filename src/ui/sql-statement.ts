/** What the console has to know of a statement before the server says anything: nothing here decides what may run. */
export type StatementKind = "none" | "read" | "write" | "schema" | "explain" | "pragma";

const KINDS: Readonly<Record<string, StatementKind>> = {
  SELECT: "read",
  VALUES: "read",
  WITH: "read",
  EXPLAIN: "explain",
  PRAGMA: "pragma",
  INSERT: "write",
  UPDATE: "write",
  DELETE: "write",
  REPLACE: "write",
  CREATE: "schema",
  ALTER: "schema",
  DROP: "schema",
};

interface Token {
  readonly text: string;
  readonly at: number;
}

/** Comments, texts, quoted names, parameters and words, in this order; whatever else is one character. */
const TOKEN =
  /--[^\n]*|\/\*[^]*?(?:\*\/|$)|'(?:[^']|'')*(?:'|$)|"(?:[^"]|"")*(?:"|$)|`(?:[^`]|``)*(?:`|$)|\[[^\]]*(?:\]|$)|\?\d*|[:@$][\p{L}_][\p{L}\p{N}_]*|[\p{L}_][\p{L}\p{N}_$]*|\d[\w.]*|\s+|[^]/gu;

/** Without blanks and comments. */
function tokensOf(sql: string): Token[] {
  const found: Token[] = [];
  for (const match of sql.matchAll(TOKEN)) {
    const [text] = match;
    if (/^(?:\s|--|\/\*)/.test(text)) continue;
    found.push({ text, at: match.index });
  }
  return found;
}

export function kindOf(sql: string): StatementKind {
  const tokens = tokensOf(sql);
  const first = tokens[0]?.text.toUpperCase();
  if (first === undefined) return "none";
  if (first === "WITH") {
    // What comes behind the tables that WITH names, at no depth of brackets, says what it does.
    let depth = 0;
    for (const { text } of tokens) {
      if (text === "(") depth += 1;
      else if (text === ")") depth -= 1;
      else if (depth === 0 && KINDS[text.toUpperCase()] === "write") return "write";
    }
  }
  return KINDS[first] ?? "read";
}

/** Names of the parameters in the order they are first named: `:year`, or `?1`, `?2` for those by their place. */
export function parametersIn(sql: string): string[] {
  const names = new Set<string>();
  let last = 0;
  for (const { text } of tokensOf(sql)) {
    if (/^[:@$]./.test(text)) names.add(text);
    else if (text.startsWith("?")) {
      last = text === "?" ? last + 1 : Number(text.slice(1));
      // Places that are left out are given all the same.
      for (let place = 1; place <= last && last <= MOST_PLACES; place += 1) names.add(`?${place}`);
    }
  }
  return [...names];
}

const MOST_PLACES = 100;

/** A field's text as an argument: `null`, `true`, `12`, `1.5` and `"12"` are what JSON says, the rest is a text. */
export function argumentOf(text: string): unknown {
  const trimmed = text.trim();
  if (!/^(?:null|true|false|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|".*")$/s.test(trimmed)) return text;
  try {
    return JSON.parse(trimmed) as unknown;
  } catch {
    return text;
  }
}

/** `args` for the server as JSON text, which keeps all digits of an integer; undefined when there are none. */
export function argsText(
  parameters: readonly string[],
  values: Readonly<Record<string, string>>,
): string | undefined {
  if (parameters.length === 0) return undefined;
  const texts = parameters.map((name) => {
    const value = values[name] ?? "";
    return /^\s*-?(?:0|[1-9]\d*)\s*$/.test(value) ? value.trim() : JSON.stringify(argumentOf(value));
  });
  if (parameters.every((name) => name.startsWith("?"))) return `[${texts.join()}]`;
  return `{${parameters.map((name, i) => `${JSON.stringify(name.slice(1))}:${texts[i]}`).join()}}`;
}

export interface Place {
  readonly from: number;
  readonly to: number;
}

/**
 * Where in the statement an error is, as far as its words say: the server's `offset`, else the one place of the name
 * that it speaks of; the end, when something is missing there.
 */
export function errorPlace(sql: string, detail: string, offset: unknown): Place | undefined {
  const named =
    /^near "((?:[^"]|"")+)": |^(?:ambiguous column name|no such (?:column|table|function|index|view|collation sequence)): "?([^"]+?)"?$|^unrecognized token: "((?:[^"]|"")+)"|^table \S+ has no column named (\S+)|^(?:wrong number of arguments to function|misuse of \S+ function|misuse of \S+) (\S+?)\(\)/.exec(
      detail,
    );
  const name = named?.slice(1).find((part) => part !== undefined);
  if (typeof offset === "number") return { from: offset, to: offset + Math.max(1, name?.length ?? 0) };
  if (detail.startsWith("incomplete input")) return { from: sql.trimEnd().length, to: sql.trimEnd().length };
  if (name === undefined) return undefined;
  const wanted = (name.split(".").at(-1) as string).toLowerCase();
  const whole = name.toLowerCase();
  const found = tokensOf(sql).filter(({ text }) => {
    const plain = text.toLowerCase().replaceAll(/^["`[]|["`\]]$/g, "");
    return plain === wanted || plain === whole;
  });
  const [only] = found;
  return only && found.length === 1 ? { from: only.at, to: only.at + only.text.length } : undefined;
}

/** The line and column of a place, from 1 on. */
export function lineOf(sql: string, at: number): { readonly line: number; readonly column: number } {
  const before = sql.slice(0, at).split("\n");
  return { line: before.length, column: (before.at(-1) as string).length + 1 };
}

export interface PlanStep {
  readonly depth: number;
  readonly detail: string;
  /** Goes through everything there is. */
  readonly scans: boolean;
}

/** The tree of an EXPLAIN QUERY PLAN, whose rows are `[id, parent, notused, detail]`. */
export function planOf(rows: readonly (readonly [number, number, unknown, string])[]): PlanStep[] {
  const depths = new Map<number, number>([[0, -1]]);
  return rows.map(([id, parent, , detail]) => {
    const depth = (depths.get(parent) ?? -1) + 1;
    depths.set(id, depth);
    return { depth, detail, scans: /^SCAN (?!CONSTANT ROW)/.test(detail) && !/ USING .*INDEX/.test(detail) };
  });
}
