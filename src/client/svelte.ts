/** `skald/svelte`: documents of a Skald server as Svelte stores. See specs/18-client.md. */
import type { SkaldClient } from "./client.ts";
import { documentStore, type DocumentState } from "./document-store.ts";
import type { Status } from "./live-core.ts";
import type { OpenOptions } from "./live-document.ts";
import { copyOf } from "./write-value.ts";

/** Svelte's contract of a readable store. */
export interface Readable<T> {
  subscribe(run: (value: T) => void): () => void;
}

/**
 * Svelte's contract of a writable store over a live document. The value is a copy of its own, which a component
 * may write into and set (`$task.title = "…"`); only what differs is then changed in the document.
 */
export interface DocumentWritable<T extends object> extends Readable<T | undefined> {
  set(value: T): Promise<void>;
  update(fn: (value: T | undefined) => T): Promise<void>;
  /** Writes into the document, as Automerge does. */
  change(fn: (doc: T) => void): Promise<void>;
  /** Everything else about it: status, unsaved, missing, error. */
  readonly state: Readable<DocumentState<T>>;
}

/** A store of one document; open for as long as something subscribes. */
export function document<T extends object = Record<string, unknown>>(
  client: SkaldClient,
  doc: string,
  options?: OpenOptions,
): DocumentWritable<T> {
  const store = () => documentStore<T>(client, doc, options);
  const state: Readable<DocumentState<T>> = {
    subscribe: (run) => {
      const own = store();
      const end = own.subscribe(() => run(own.snapshot()));
      run(own.snapshot());
      return end;
    },
  };
  return {
    state,
    subscribe: (run) => {
      let first = true;
      let last: unknown;
      return state.subscribe(({ value }) => {
        if (!first && value === last) return;
        first = false;
        last = value;
        run(value && (copyOf(value) as T));
      });
    },
    set: (value) => store().update(() => value),
    update: (fn) => store().update(fn),
    change: (fn) => store().change(fn),
  };
}

/** How the client stands: its connection, and how much is not saved yet. */
export function status(client: SkaldClient): Readable<{ readonly status: Status; readonly unsaved: number }> {
  return {
    subscribe: (run) => {
      let last = "";
      const look = (): void => {
        const now = { status: client.status, unsaved: client.unsaved };
        const text = `${now.status} ${now.unsaved}`;
        if (text === last) return;
        last = text;
        run(now);
      };
      look();
      return client.subscribe(look);
    },
  };
}
