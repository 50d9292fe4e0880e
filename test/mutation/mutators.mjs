// What is changed in a source file to see whether a test notices: a list of small edits, each a span of
// the text and what takes its place. The set follows that of Stryker (stryker-mutator.io, "Supported
// mutators"); edits that cannot change what a program does are left out.
import { parse } from "@babel/parser";

const OPERATORS = {
  "===": ["!=="],
  "!==": ["==="],
  "<": ["<=", ">="],
  "<=": ["<", ">"],
  ">": [">=", "<="],
  ">=": [">", "<"],
  "+": ["-"],
  "-": ["+"],
  "*": ["/"],
  "/": ["*"],
  "%": ["*"],
  "&&": ["||"],
  "||": ["&&"],
  "??": ["&&"],
  "+=": ["-="],
  "-=": ["+="],
  "??=": ["="],
  "||=": ["="],
};

/** Array methods whose absence, or whose opposite, should be noticed. */
const CALLS = {
  some: "every",
  every: "some",
  toSorted: undefined,
  sort: undefined,
  toReversed: undefined,
  reverse: undefined,
  filter: undefined,
  slice: undefined,
  min: "max",
  max: "min",
};

/**
 * Edits of a TypeScript source: `{ start, end, text, what, line }`, offsets in characters of `source`.
 * Types, imports, where exports come from, error texts and comments are left alone.
 */
export function mutantsOf(source) {
  const tree = parse(source, { sourceType: "module", plugins: ["typescript"] });
  const found = [];
  const add = (node, text, what) =>
    found.push({ start: node.start, end: node.end, text, what, line: node.loc.start.line });
  const textOf = (node) => source.slice(node.start, node.end);

  /** Comparisons where it is all one what two of the same size lead to. */
  const evenIsEither = new WeakSet();

  function operator(node) {
    const between = source.slice(node.left.end, node.right.start);
    const at = node.left.end + between.indexOf(node.operator);
    for (const other of OPERATORS[node.operator] ?? []) {
      if (other === `${node.operator}=` && evenIsEither.has(node)) continue;
      found.push({
        start: at,
        end: at + node.operator.length,
        text: other,
        what: `${node.operator} becomes ${other}`,
        line: node.loc.start.line,
      });
    }
  }

  const visitors = {
    BinaryExpression: operator,
    LogicalExpression: operator,
    AssignmentExpression: operator,
    IfStatement(node) {
      if (takesLarger(node)) evenIsEither.add(node.test);
      add(node.test, "true", "if (true)");
      add(node.test, "false", "if (false)");
    },
    ConditionalExpression(node) {
      add(node.test, "true", "the first of two");
      if (!leavesOut(node)) add(node.test, "false", "the second of two");
    },
    WhileStatement(node) {
      add(node.test, "false", "while (false)");
    },
    ForStatement(node) {
      if (node.test) add(node.test, "false", "for (; false;)");
    },
    UnaryExpression(node) {
      if (node.operator === "!") add(node, textOf(node.argument), "without !");
      else if (node.operator === "-") add(node, textOf(node.argument), "without -");
    },
    UpdateExpression(node) {
      const other = node.operator === "++" ? "--" : "++";
      add(
        node,
        node.prefix ? other + textOf(node.argument) : textOf(node.argument) + other,
        `becomes ${other}`,
      );
    },
    BooleanLiteral(node) {
      add(node, String(!node.value), `becomes ${!node.value}`);
    },
    NumericLiteral(node) {
      add(node, String(node.value + 1), `becomes ${node.value + 1}`);
    },
    StringLiteral(node) {
      if (node.value !== "" && !(throwing > 0 && node.value.includes(" "))) add(node, '""', "an empty text");
    },
    ArrayExpression(node) {
      if (node.elements.length > 0) add(node, "[]", "an empty list");
    },
    ReturnStatement(node) {
      const { argument } = node;
      // Whoever asks for false takes nothing for the same.
      const isFalse = argument?.type === "BooleanLiteral" && !argument.value;
      if (argument && argument.type !== "Identifier" && !isFalse)
        add(node, "return undefined as never;", "returns nothing");
    },
    ThrowStatement(node) {
      add(node, ";", "does not throw");
    },
    BreakStatement(node) {
      add(node, ";", "does not break");
    },
    ContinueStatement(node) {
      add(node, ";", "does not continue");
    },
    ExpressionStatement(node) {
      const { type } = node.expression;
      if (type === "CallExpression" || type === "AwaitExpression" || type === "AssignmentExpression")
        add(node, ";", "is left out");
    },
    OptionalMemberExpression(node) {
      const at = source.indexOf("?.", node.object.end);
      if (node.optional && !node.computed)
        found.push({ start: at, end: at + 2, text: ".", what: "?. becomes .", line: node.loc.start.line });
    },
    CallExpression(node) {
      const { callee } = node;
      if (
        callee.type !== "MemberExpression" ||
        callee.computed ||
        !Object.hasOwn(CALLS, callee.property.name)
      )
        return;
      const other = CALLS[callee.property.name];
      if (other) add(callee.property, other, `${callee.property.name} becomes ${other}`);
      else add(node, textOf(callee.object), `without ${callee.property.name}`);
    },
  };

  /** Nothing below these changes what a program does, or only what an error says. */
  function isLeftAlone(node, parent) {
    if (/^(TS|Import|ExportAll)/.test(node.type) && !/^TS(As|NonNull|Satisfies)/.test(node.type)) return true;
    if (node.type === "NewExpression" && node.callee.name?.endsWith("Error")) return "error";
    return parent?.type === "ObjectProperty" && node === parent.key;
  }

  /** Depth of `throw`: a text of several words below it is what a message says. */
  let throwing = 0;

  function visit(node, parent) {
    if (node.type === "ThrowStatement") throwing += 1;
    visitWithin(node, parent);
    if (node.type === "ThrowStatement") throwing -= 1;
  }

  function visitWithin(node, parent) {
    const left = isLeftAlone(node, parent);
    if (left === true) return;
    if (left === "error") {
      // The code is part of the surface; message, hint and cause are words.
      const [first] = node.arguments;
      if (first?.type === "StringLiteral") add(first, '"INTERNAL"', "another error code");
      return;
    }
    visitors[node.type]?.(node);
    for (const [key, value] of Object.entries(node)) {
      if (NOT_RUN.has(key)) continue;
      for (const child of Array.isArray(value) ? value : [value]) {
        if (child && typeof child.type === "string" && typeof child.start === "number") visit(child, node);
      }
    }
  }

  visit(tree.program, undefined);
  return found;
}

/** `if (a > most) most = a;`, or the same with less. */
function takesLarger({ test, consequent, alternate }) {
  const { type, operator, left, right } = consequent.expression ?? {};
  return (
    !alternate &&
    type === "AssignmentExpression" &&
    operator === "=" &&
    test.type === "BinaryExpression" &&
    /^[<>]$/.test(test.operator) &&
    same(test.left, right) &&
    same(test.right, left)
  );
}

/** Whether two names, or chains of names, are the same. */
function same(a, b) {
  if (a.type !== b.type) return false;
  if (a.type === "Identifier") return a.name === b.name;
  if (a.type === "ThisExpression") return true;
  return (
    a.type === "MemberExpression" && !a.computed && same(a.object, b.object) && same(a.property, b.property)
  );
}

/** `x === undefined ? {} : { x }`: with the second of two `x` is undefined instead of not there. */
function leavesOut({ test, consequent }) {
  return (
    test.type === "BinaryExpression" &&
    test.operator === "===" &&
    test.right.name === "undefined" &&
    consequent.type === "ObjectExpression" &&
    consequent.properties.length === 0
  );
}

/** Parts of a node that say what it is and not what it does; `source` is where an export comes from. */
const NOT_RUN = new Set(["typeAnnotation", "typeParameters", "returnType", "loc", "source"]);

export function applied(source, { start, end, text }) {
  return source.slice(0, start) + text + source.slice(end);
}
