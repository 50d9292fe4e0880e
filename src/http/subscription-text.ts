import type { Db } from "../db/db.ts";
import { Cursors } from "../subscriptions/cursor.ts";
import { writeEvent } from "../subscriptions/event-json.ts";
import { JsonBytes } from "../subscriptions/json-bytes.ts";
import type { Delivered } from "../subscriptions/subscription-consumer.ts";

/** Writes what a subscription delivers: events as the feed has them, each with its `attempt`. */
export class DeliveryText {
  readonly #cursors: Cursors;
  readonly #out = new JsonBytes(4096);

  constructor(db: Db) {
    this.#cursors = new Cursors(db);
  }

  /** JSON objects, with `before` and `after` around each and `between` two. */
  bytes(events: readonly Delivered[], around: Around): Buffer {
    const out = this.#out;
    out.ascii(around.start ?? "");
    events.forEach(({ event, attempt }, i) => {
      if (i > 0) out.ascii(around.between ?? "");
      out.ascii(around.before?.(event.seq) ?? "");
      writeEvent(out, this.#cursors, event);
      out.cut(out.length - 1);
      out.ascii(`,"attempt":${attempt}}${around.after ?? ""}`);
    });
    out.ascii(around.end ?? "");
    return out.take();
  }
}

/** ASCII that stands around events. */
export interface Around {
  readonly start?: string;
  readonly before?: (seq: number) => string;
  readonly between?: string;
  readonly after?: string;
  readonly end?: string;
}
