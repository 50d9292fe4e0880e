/** `skald/client`: a Skald server from a browser or a Node program. See specs/18-client.md. */
export { automergeReady, type AutomergeWasm } from "./automerge.ts";
export { SkaldClient, type ClientOptions } from "./client.ts";
export { Collection } from "./collection.ts";
export type * from "./documents.ts";
export { SkaldError, isSkaldError, type OwnCode } from "./error.ts";
export type { ChangeEvent, ChangedDoc, ChangesOptions, Include } from "./feed.ts";
export { indexedDbStorage } from "./indexed-db.ts";
export { documentStore, type DocumentState, type DocumentStore } from "./document-store.ts";
export type { Ephemeral, Status } from "./live-core.ts";
export { LiveDocument, type OpenOptions, type ReadyOptions } from "./live-document.ts";
export type {
  FetchLike,
  Platform,
  RequestLike,
  ResponseLike,
  SocketConstructor,
  SocketLike,
  StreamLike,
} from "./platform.ts";
export type {
  SqlArg,
  SqlArgs,
  SqlBatchResult,
  SqlReadOptions,
  SqlRows,
  SqlStatement,
  SqlValue,
  SqlWriteOptions,
  SqlWritten,
} from "./sql.ts";
export { localStorageStorage, memoryStorage, type ClientStorage, type WebStorageLike } from "./storage.ts";
export type {
  ConsumeOptions,
  Delivery,
  Subscription,
  SubscriptionInfo,
  SubscriptionOptions,
} from "./subscription.ts";
export type { SqlWatch, WatchOptions, WatchState } from "./watch.ts";
export type { KeptWrite, Receipt } from "./write-queue.ts";
