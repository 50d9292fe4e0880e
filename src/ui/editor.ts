import { autocompletion, completionKeymap, type CompletionSource } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { json, jsonParseLinter } from "@codemirror/lang-json";
import { sql, SQLite, type SQLConfig } from "@codemirror/lang-sql";
import {
  bracketMatching,
  foldGutter,
  foldKeymap,
  HighlightStyle,
  indentOnInput,
  syntaxHighlighting,
} from "@codemirror/language";
import { lintGutter, linter, lintKeymap } from "@codemirror/lint";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { Annotation, Compartment, EditorState, type Extension, type Transaction } from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  highlightSpecialChars,
  keymap,
  lineNumbers,
  placeholder,
} from "@codemirror/view";
import { closeBrackets, closeBracketsKeymap } from "@codemirror/autocomplete";
import { tags } from "@lezer/highlight";

export interface EditorOptions {
  readonly parent: HTMLElement;
  readonly value: string;
  readonly label: string;
  readonly language: "json" | "sql" | "text";
  readonly readonly: boolean;
  readonly placeholder: string;
  /** Of `sql`: tables and columns for completion, see CodeMirror's lang-sql. */
  readonly schema?: SQLConfig["schema"] | undefined;
  /** In the place of what the language offers. */
  readonly completion?: CompletionSource | undefined;
  readonly onChange: (value: string) => void;
  /** Control and Enter, or Command and Enter. */
  readonly onSubmit: () => boolean;
}

export interface Editor {
  /** Shows other text; the caret stays where it can. Not told as a change. */
  set(value: string): void;
  setSchema(schema: SQLConfig["schema"] | undefined): void;
  setReadonly(readonly: boolean): void;
  /** Puts the caret there, marks up to `to`, and scrolls to it. */
  mark(from: number, to?: number): void;
  selection(): string;
  focus(): void;
  destroy(): void;
}

const fromOutside = Annotation.define<boolean>();

/** Colours of the page, so that both themes hold. */
const theme = EditorView.theme({
  "&": { fontSize: "13px", backgroundColor: "var(--surface)", color: "var(--text)", height: "100%" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.55" },
  ".cm-content": { caretColor: "var(--text)", padding: "8px 0" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-gutters": { backgroundColor: "var(--sunken)", color: "var(--dim)", border: "none" },
  ".cm-activeLine": { backgroundColor: "color-mix(in oklab, var(--hover), transparent 45%)" },
  ".cm-activeLineGutter": { backgroundColor: "var(--hover)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "var(--chosen)",
  },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--chosen)", color: "inherit" },
  ".cm-tooltip, .cm-panels": {
    backgroundColor: "var(--raised)",
    color: "var(--text)",
    border: "1px solid var(--line)",
    borderRadius: "6px",
  },
  ".cm-tooltip-autocomplete ul li[aria-selected]": {
    backgroundColor: "var(--accent)",
    color: "var(--on-accent)",
  },
  ".cm-foldPlaceholder": { backgroundColor: "var(--hover)", border: "none", color: "var(--dim)" },
  ".cm-placeholder": { color: "var(--dim)" },
  ".cm-diagnostic": { fontFamily: "system-ui, sans-serif" },
});

const colours = HighlightStyle.define([
  { tag: [tags.keyword, tags.operatorKeyword, tags.modifier], color: "var(--info)" },
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: "var(--accent)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--ok)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--warn)" },
  { tag: [tags.comment, tags.lineComment, tags.blockComment], color: "var(--dim)", fontStyle: "italic" },
  { tag: tags.invalid, color: "var(--danger)" },
  { tag: [tags.typeName, tags.standard(tags.name)], color: "var(--info)" },
]);

/**
 * CodeMirror in a shadow root of `parent`. There its styles are constructed style sheets that the root adopts; in
 * the document they would be `<style>` elements, which the page's content security policy refuses.
 */
export function openEditor(options: EditorOptions): Editor {
  const root = options.parent.shadowRoot ?? options.parent.attachShadow({ mode: "open" });
  const language = new Compartment();
  const writable = new Compartment();
  const view = new EditorView({
    parent: root,
    root,
    state: EditorState.create({
      doc: options.value,
      extensions: [
        lineNumbers(),
        highlightActiveLineGutter(),
        highlightSpecialChars(),
        history(),
        foldGutter(),
        drawSelection(),
        indentOnInput(),
        bracketMatching(),
        closeBrackets(),
        highlightActiveLine(),
        highlightSelectionMatches(),
        autocompletion(options.completion ? { override: [options.completion] } : {}),
        syntaxHighlighting(colours),
        keymap.of([
          { key: "Mod-Enter", run: options.onSubmit },
          // Escape, then Tab leaves the editor: whoever has no mouse is not caught in it.
          ...closeBracketsKeymap,
          ...defaultKeymap,
          ...searchKeymap,
          ...historyKeymap,
          ...foldKeymap,
          ...completionKeymap,
          ...lintKeymap,
          indentWithTab,
        ]),
        EditorView.domEventHandlers({ beforeinput: typedOver }),
        EditorView.lineWrapping,
        EditorView.contentAttributes.of({ "aria-label": options.label, spellcheck: "false" }),
        theme,
        language.of(languageOf(options)),
        writable.of(writing(options.readonly)),
        options.placeholder === "" ? [] : placeholder(options.placeholder),
        EditorView.updateListener.of((update) => {
          if (!update.docChanged) return;
          if (update.transactions.some((transaction) => transaction.annotation(fromOutside))) return;
          options.onChange(update.state.doc.toString());
        }),
      ],
    }),
  });
  return {
    set(value) {
      const now = view.state.doc.toString();
      if (now === value) return;
      // Only what differs is replaced, so that the caret and the scroll position stay.
      let from = 0;
      while (from < now.length && from < value.length && now[from] === value[from]) from++;
      let end = 0;
      const most = Math.min(now.length, value.length) - from;
      while (end < most && now[now.length - 1 - end] === value[value.length - 1 - end]) end++;
      view.dispatch({
        changes: { from, to: now.length - end, insert: value.slice(from, value.length - end) },
        annotations: fromOutside.of(true),
      });
    },
    setSchema: (schema) =>
      view.dispatch({ effects: language.reconfigure(languageOf({ ...options, schema })) }),
    setReadonly: (readonly) => view.dispatch({ effects: writable.reconfigure(writing(readonly)) }),
    mark(from, to = from) {
      const most = view.state.doc.length;
      view.dispatch({
        selection: { anchor: Math.min(from, most), head: Math.min(to, most) },
        scrollIntoView: true,
      });
      view.focus();
    },
    selection() {
      const { main } = view.state.selection;
      return view.state.sliceDoc(main.from, main.to);
    },
    focus: () => view.focus(),
    destroy: () => view.destroy(),
  };
}

/**
 * Where text is typed over a selection, the browser puts in an element with the style of what was there, which the
 * page's policy refuses with an error. So the editor does it before the browser can.
 */
function typedOver(event: InputEvent, view: EditorView): boolean {
  const { main, ranges } = view.state.selection;
  const { data } = event;
  if (event.inputType !== "insertText" || data === null || main.empty || ranges.length > 1) return false;
  if (view.composing || event.isComposing || view.state.readOnly) return false;
  const insert = (): Transaction =>
    view.state.update({
      ...view.state.replaceSelection(data),
      userEvent: "input.type",
      scrollIntoView: true,
    });
  const handlers = view.state.facet(EditorView.inputHandler);
  if (!handlers.some((handle) => handle(view, main.from, main.to, data, insert))) view.dispatch(insert());
  event.preventDefault();
  return true;
}

function writing(readonly: boolean): Extension {
  return [EditorState.readOnly.of(readonly), EditorView.editable.of(!readonly)];
}

function languageOf({
  language,
  schema,
  readonly,
}: Pick<EditorOptions, "language" | "schema" | "readonly">): Extension {
  if (language === "sql")
    return sql({ dialect: SQLite, upperCaseKeywords: true, ...(schema ? { schema } : {}) });
  if (language === "json") return readonly ? json() : [json(), linter(jsonParseLinter()), lintGutter()];
  return [];
}
