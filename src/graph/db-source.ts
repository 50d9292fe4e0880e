import type { Db } from "../db/db.ts";
import { isSkaldError } from "../errors.ts";
import { parseDocName } from "../ids/names.ts";
import { drawnName, parseAutomergeId } from "../log/automerge-ids.ts";
import { exactJson } from "./exact-json.ts";
import type { Absence, DocSource, LoadedDoc } from "./places.ts";
import { AUTOMERGE } from "./walk.ts";

/** What a reader may see of a db: everything, or what starts with one of these. */
export type Visible = "all" | readonly string[];

/** The documents of a db as they were on a branch after a commit, as far as a reader may see them. */
export class DbSource implements DocSource {
  readonly #db: Db;
  readonly #branch: string | undefined;
  readonly #seq: number;
  readonly #visible: Visible;

  constructor(db: Db, branch: string | undefined, seq: number, visible: Visible) {
    this.#db = db;
    this.#branch = branch;
    this.#seq = seq;
    this.#visible = visible;
  }

  nameOf(id: string): string | undefined {
    try {
      if (id.includes("/")) {
        parseDocName(id);
        return id;
      }
      const text = id.startsWith(AUTOMERGE) ? id.slice(AUTOMERGE.length) : id;
      const name = this.#db.log.named(parseAutomergeId(text), this.#branch);
      // What cannot be seen, and what was not yet, has no name that could be told.
      if (name !== undefined && this.#sees(name) && this.#db.log.stateAt(name, this.#seq, this.#branch))
        return name;
      return drawnName(text);
    } catch (error) {
      if (isSkaldError(error) && error.code === "NAME_INVALID") return undefined;
      throw error;
    }
  }

  async load(doc: string): Promise<LoadedDoc | Absence> {
    if (!this.#sees(doc)) return "missing";
    const { log } = this.#db;
    if (log.erasedAt(doc) !== undefined) return "erased";
    await log.ready(this.#branch, [doc]);
    const point = log.stateAt(doc, this.#seq, this.#branch);
    if (!point) return "missing";
    if (point.deleted) return "deleted";
    try {
      const branch = this.#branch === undefined ? {} : { branch: this.#branch };
      const { json, seq, heads } = await this.#db.read(doc, { at: String(this.#seq), ...branch });
      return { seq, heads, value: exactJson(json), size: json.length };
    } catch (error) {
      const code = isSkaldError(error) ? error.code : "";
      if (code === "ERASED") return "erased";
      if (code === "DOC_NOT_FOUND") return "missing";
      if (code === "DOC_UNREADABLE" || code === "WORK_TIMEOUT" || code === "WORK_FAILED") return "unreadable";
      throw error;
    }
  }

  #sees(doc: string): boolean {
    return this.#visible === "all" || this.#visible.some((start) => doc.startsWith(start));
  }
}
