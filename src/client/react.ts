/** `skald/react`: documents of a Skald server in React components. See specs/18-client.md. */
import {
  createContext,
  createElement,
  useCallback,
  useContext,
  useMemo,
  useSyncExternalStore,
  type ReactNode,
} from "react";
import type { SkaldClient } from "./client.ts";
import { documentStore, type DocumentState } from "./document-store.ts";
import { SkaldError } from "./error.ts";
import type { Status } from "./live-core.ts";
import type { OpenOptions } from "./live-document.ts";

const Context = createContext<SkaldClient | undefined>(undefined);

/** Gives the client to the components inside. */
export function SkaldProvider({
  client,
  children,
}: {
  readonly client: SkaldClient;
  readonly children?: ReactNode;
}): ReactNode {
  return createElement(Context.Provider, { value: client }, children);
}

/** The client of the nearest `SkaldProvider`. */
export function useSkald(): SkaldClient {
  const client = useContext(Context);
  if (client) return client;
  throw new SkaldError("BAD_REQUEST", "There is no SkaldProvider around this component.");
}

export interface UsedDocument<T extends object> extends DocumentState<T> {
  /** Writes into the document, as Automerge does; the same function on every rendering. */
  readonly change: (fn: (doc: T) => void) => Promise<void>;
}

/** A live document: the component renders anew whenever it changes, whoever changed it. */
export function useDocument<T extends object = Record<string, unknown>>(
  doc: string,
  options?: OpenOptions,
): UsedDocument<T> {
  const client = useSkald();
  // What `initial` holds is looked at when the document is opened, and not again on each rendering.
  const store = useMemo(() => documentStore<T>(client, doc, options), [client, doc]);
  const subscribe = useCallback((listener: () => void) => store.subscribe(listener), [store]);
  const snapshot = useCallback(() => store.snapshot(), [store]);
  const state = useSyncExternalStore(subscribe, snapshot, snapshot);
  const change = useCallback((fn: (draft: T) => void) => store.change(fn), [store]);
  return useMemo(() => ({ ...state, change }), [state, change]);
}

/** How the client stands: its connection, and how much is not saved yet. */
export function useStatus(): { readonly status: Status; readonly unsaved: number } {
  const client = useSkald();
  const subscribe = useCallback((listener: () => void) => client.subscribe(listener), [client]);
  // One text, so that what did not change is equal.
  const snapshot = useCallback(() => `${client.status} ${client.unsaved}`, [client]);
  const [status, unsaved] = useSyncExternalStore(subscribe, snapshot, snapshot).split(" ");
  return { status: status as Status, unsaved: Number(unsaved) };
}
