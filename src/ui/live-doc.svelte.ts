import { ask, del, events, isAbort, isApiError, path, query, send } from "./api.ts";
import {
  arrive,
  begin,
  decide,
  isDirty,
  mineOf,
  patchOf,
  saved,
  typed,
  type Decision,
  type Editing,
  type Stored,
} from "./doc-editing.ts";
import { printJson, readJson, type JsonObject } from "./exact-json.ts";

export interface Conflict {
  readonly path: string;
  readonly values: readonly { readonly value: unknown; readonly op: string; readonly author: string }[];
}

export interface Name {
  readonly db: string;
  readonly collection: string;
  readonly key: string;
  readonly at: string | undefined;
}

interface State {
  editing: Editing | undefined;
  conflicts: readonly Conflict[];
  /** It is not there: never was, or not any more. */
  missing: boolean;
  failed: unknown;
  /** Of the last write that was refused. */
  refused: unknown;
  live: boolean;
  /** The last commit that came in while looking. */
  last: { readonly author: string; readonly time: string } | undefined;
  automergeUrl: string;
  saving: boolean;
}

const TRIES = 3;

/** One document: as the server has it, as it is being edited, and what others do to it meanwhile. */
export class LiveDoc {
  readonly name: Name;
  readonly #where: string;
  readonly #over = new AbortController();
  #state = $state.raw<State>({
    editing: undefined,
    conflicts: [],
    missing: false,
    failed: undefined,
    refused: undefined,
    live: false,
    last: undefined,
    automergeUrl: "",
    saving: false,
  });

  constructor(name: Name) {
    this.name = name;
    this.#where = path("db", name.db, "docs", name.collection, name.key);
    void this.#begin();
  }

  get state(): State {
    return this.#state;
  }

  get dirty(): boolean {
    const { editing } = this.#state;
    return editing !== undefined && isDirty(editing);
  }

  end(): void {
    this.#over.abort();
  }

  retry(): void {
    void this.#begin();
  }

  type(text: string): void {
    const { editing } = this.#state;
    if (editing && text !== editing.text) this.#set({ editing: typed(editing, text) });
  }

  decide(decision: Decision): void {
    const { editing } = this.#state;
    if (!editing) return;
    if (editing.theirs === null && decision === "drop") this.#set({ editing: undefined, missing: true });
    else this.#set({ editing: decide(editing, decision), refused: undefined });
  }

  discard(): void {
    const { editing } = this.#state;
    if (editing) this.#set({ editing: begin(editing.theirs ?? editing.base), refused: undefined });
  }

  /** Sends what differs, under the condition that nobody else was faster; if somebody was, both are brought together. */
  async save(): Promise<void> {
    this.#set({ refused: undefined, saving: true });
    try {
      for (let tries = 0; ; tries += 1) {
        const { editing } = this.#state;
        const mine = editing && mineOf(editing);
        if (!editing || !mine || editing.theirs) return;
        const gone = editing.theirs === null;
        const steps = patchOf(editing);
        if (!gone && steps.length === 0) return this.#set({ editing: begin(editing.base) });
        try {
          const { headers } = gone
            ? await ask("PUT", this.#where, { body: printJson(mine), type: "application/json" })
            : await ask("PATCH", this.#where, {
                body: printJson(steps),
                type: "application/json-patch+json",
                headers: { "if-match": editing.base.etag },
              });
          const now = this.#state.editing ?? editing;
          return this.#set({ editing: saved(now, mine, headers.get("etag") ?? ""), missing: false });
        } catch (error) {
          if (!isApiError(error) || ![404, 412].includes(error.status) || tries >= TRIES) throw error;
          await this.#read();
        }
      }
    } catch (error) {
      this.#set({ refused: error });
    } finally {
      this.#set({ saving: false });
    }
  }

  /** Makes the chosen value the only one. */
  async resolve(conflict: Conflict, chosen: number): Promise<void> {
    const value = conflict.values[chosen]?.value;
    await ask("PATCH", this.#where, {
      body: printJson([{ op: "replace", path: conflict.path, value }]),
      type: "application/json-patch+json",
    });
    await this.#read();
  }

  async remove(): Promise<void> {
    await del(this.#where);
    this.#set({ editing: undefined, missing: true, conflicts: [] });
  }

  /** Writes a document of this name where there is none. */
  async make(): Promise<void> {
    this.#set({ refused: undefined });
    try {
      await ask("PUT", this.#where, { body: {}, headers: { "if-none-match": "*" } });
    } catch (error) {
      if (!isApiError(error, "PRECONDITION_FAILED")) return this.#set({ refused: error });
    }
    await this.#read();
  }

  #set(more: Partial<State>): void {
    this.#state = { ...this.#state, ...more };
  }

  async #begin(): Promise<void> {
    this.#set({ failed: undefined });
    try {
      const since = await this.#read();
      if (this.name.at === undefined) await this.#follow(since);
    } catch (error) {
      if (!isAbort(error)) this.#set({ failed: error });
    }
  }

  /** Gives the place in the feed that what was read is of. */
  async #read(): Promise<string | null> {
    const { at } = this.name;
    const signal = this.#over.signal;
    let found: Stored | null = null;
    let since: string | null = null;
    try {
      const response = await askText(`${this.#where}${query({ conflicts: 1, at })}`, signal);
      const { value, conflicts } = readJson(response.text) as {
        value: JsonObject;
        conflicts: readonly Conflict[];
      };
      found = { value, etag: response.headers.get("etag") ?? "" };
      since = response.headers.get("skald-cursor");
      this.#set({ conflicts, automergeUrl: response.headers.get("automerge-url") ?? "" });
    } catch (error) {
      if (!isApiError(error, "DOC_NOT_FOUND")) throw error;
    }
    const { editing } = this.#state;
    if (editing && (found || isDirty(editing)))
      this.#set({ editing: arrive(editing, found), missing: false });
    else this.#set({ editing: found ? begin(found) : undefined, missing: !found });
    return since;
  }

  async #follow(since: string | null): Promise<void> {
    const { db, collection, key } = this.name;
    let reading: Promise<unknown> | undefined;
    let again = false;
    const read = async (): Promise<void> => {
      do {
        again = false;
        await this.#read().catch(() => undefined);
      } while (again);
      reading = undefined;
    };
    await events(
      `${path("db", db)}/changes${query({ feed: "sse", doc: `${collection}/${key}`, since: since ?? "now" })}`,
      {
        signal: this.#over.signal,
        onOpen: (live) => this.#set({ live }),
        onEvent: ({ event, data }) => {
          if (event !== "change") return;
          const change = JSON.parse(data) as {
            author: string;
            time: string;
            docs: readonly { heads: readonly string[]; deleted?: boolean }[];
          };
          const { editing, missing } = this.#state;
          this.#set({ last: { author: change.author, time: change.time } });
          // What was saved here comes back as an event too.
          const heads = `"${change.docs[0]?.heads.join(".") ?? ""}"`;
          if (!missing && editing?.base.etag === heads && editing.theirs === undefined) {
            if (this.#state.conflicts.length === 0) return;
          }
          if (change.docs[0]?.deleted === true) {
            const gone = editing !== undefined && isDirty(editing);
            this.#set(gone ? { editing: arrive(editing, null) } : { editing: undefined, missing: true });
            return;
          }
          if (reading) again = true;
          else reading = read();
        },
      },
    );
  }
}

/** The text as it came: numbers in it may have more digits than a number here. */
async function askText(where: string, signal: AbortSignal): Promise<{ text: string; headers: Headers }> {
  const response = await send("GET", where, { signal });
  return { text: await response.text(), headers: response.headers };
}
