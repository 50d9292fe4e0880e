import { DELETE, INCREMENT, MARK, SEQUENCE, SET } from "./change-layout.ts";
import { NULL } from "./change-columns.ts";
import { malformed } from "./chunk.ts";

/** Checks that what an operation carries goes with its action. `meta` is its value's metadata number. */
export function checkAction(
  action: number,
  insert: boolean,
  meta: number,
  name: number,
  expand: boolean,
  kind: number,
  preds: number,
  op: number,
): void {
  if (action < 0 || action > MARK) malformed("action", "An operation has an unknown action", { op, action });
  if (insert && (preds > 0 || action === DELETE || action === INCREMENT)) {
    malformed("insert", "An insertion replaces, deletes or counts", { op, action });
  }
  if (action === MARK) {
    if (kind !== SEQUENCE || !insert) malformed("mark", "A mark is not in a text", { op });
    if (name === NULL && meta !== 0) malformed("mark", "The end of a mark has a value", { op });
    return;
  }
  if (name !== NULL || expand) malformed("mark", "An operation that is no mark has a mark's name", { op });
  if (action === SET) return;
  if (action === INCREMENT) {
    if ((meta & 15) !== 4 || meta === NULL) malformed("increment", "A count is not a signed number", { op });
    if (preds === 0) malformed("pred", "An increment names no counter", { op });
    return;
  }
  if (meta !== 0) malformed("value", "An operation that takes none has a value", { op, action });
  if (action === DELETE && preds === 0) malformed("pred", "A deletion deletes nothing", { op });
}

/** Pairs the beginnings of marks with their ends; a document with half a mark does not load. */
export class MarkPairs {
  #open = false;
  #objA = NULL;
  #objC = NULL;

  get open(): boolean {
    return this.#open;
  }

  /** The beginning and the end of a mark are two operations in a row on one text. */
  check(action: number, name: number, objA: number, objC: number, op: number, n: number): void {
    const begins = action === MARK && name !== NULL;
    if (this.#open) {
      if (action !== MARK || begins || n !== 1 || objA !== this.#objA || objC !== this.#objC) {
        malformed("mark", "The beginning of a mark is not followed by its end", { op });
      }
      this.#open = false;
      return;
    }
    if (!begins || n !== 1) malformed("mark", "The end of a mark has no beginning", { op });
    this.#open = true;
    this.#objA = objA;
    this.#objC = objC;
  }
}
