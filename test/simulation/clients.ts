import { createHash } from "node:crypto";
import { cidToString } from "../../src/ids/cid.ts";
import { genesisOf } from "../../src/log/genesis.ts";
import { setChange } from "../support/plain-change.mjs";
import type { Effect, History, Intent, Json, Value } from "./history.ts";
import { HttpConnection, type Reply, type Request } from "./http-client.ts";
import type { Connection, Weather } from "./network.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Server } from "./server.ts";
import { TxConnection } from "./socket-client.ts";

/** What clients share. */
export interface Peers {
  readonly scheduler: Scheduler;
  readonly history: History;
  /** The server as it is now; undefined while nobody listens. */
  readonly server: () => Server | undefined;
  /** The uid of each db. */
  readonly uids: ReadonlyMap<string, Uint8Array>;
  /** Once true, no client goes away or slow by itself. */
  readonly calm: () => boolean;
  readonly wrong: (what: string) => void;
}

/** Refusals that say "not now". */
const AGAIN: ReadonlySet<string> = new Set([
  "STORAGE_FULL",
  "STORAGE_FAILED",
  "UNAVAILABLE",
  "WORK_BUSY",
  "WORK_TIMEOUT",
  "WORK_FAILED",
  "HEADS_CONFLICT",
]);
const API = "/api/v1/db";

/** One who speaks HTTP: comes back when the connection breaks, and repeats what was not answered. */
export class HttpPeer {
  readonly name: string;
  readonly weather: Weather = { blockedUntil: 0 };
  protected readonly peers: Peers;
  readonly #token: string;
  readonly #latency: number;
  #http: HttpConnection | undefined;

  constructor(peers: Peers, name: string, token: string) {
    this.peers = peers;
    this.name = name;
    this.#token = token;
    this.#latency = peers.scheduler.between(0.2, 20);
  }

  get connection(): Connection | undefined {
    return this.#http?.connection;
  }

  /** Until it is answered; `undefined` when `once` and there was no answer. */
  protected async ask(request: Request, once = false): Promise<Reply | undefined> {
    const { scheduler, calm } = this.peers;
    for (;;) {
      if (!this.#http?.connection.open) {
        const made = this.peers.server()?.connect(this.name, this.weather, this.#latency);
        if (!made) {
          await scheduler.sleep(scheduler.between(50, 500), `${this.name} waits for a server`);
          continue;
        }
        this.#http = new HttpConnection(scheduler, made);
      }
      const patience = calm() ? 200_000 : scheduler.between(2000, 40_000);
      const headers = { authorization: `Bearer ${this.#token}`, ...request.headers };
      const reply = await this.#http.ask({ ...request, headers }, patience);
      if (reply || once) return reply;
      await scheduler.sleep(scheduler.between(1, 300), `${this.name} repeats`);
    }
  }

  /** Until it is written or refused for good. Gives the code of the refusal. */
  protected async write(intent: Intent, request: Request): Promise<string | undefined> {
    const { scheduler, history } = this.peers;
    for (;;) {
      history.sending(intent);
      const reply = await this.ask(
        { ...request, headers: { ...request.headers, "idempotency-key": intent.id } },
        true,
      );
      if (!reply) {
        await scheduler.sleep(scheduler.between(1, 300), `${this.name} repeats ${intent.id}`);
        continue;
      }
      const body = JSON.parse(reply.body) as Record<string, Json>;
      if (reply.status < 300) {
        scheduler.note(
          `${this.name} ${intent.id} is ${body["seq"] as number}${body["duplicate"] === true ? " again" : ""}`,
        );
        history.acknowledge(intent, {
          seq: body["seq"] as number,
          commit: body["commit"] as string,
          time: Date.parse(body["time"] as string),
          duplicate: body["duplicate"] as boolean,
        });
        return undefined;
      }
      const code = body["code"] as string;
      scheduler.note(`${this.name} ${intent.id} refused: ${code}`);
      if (!AGAIN.has(code)) {
        intent.refused = code;
        return code;
      }
      await scheduler.sleep(scheduler.between(20, 2000), `${this.name} tries ${intent.id} again`);
    }
  }

  /** One answer is sent for and nobody waits for it; its like is then asked again. */
  protected async read(db: string, doc: string, at?: number): Promise<{ etag: string } | undefined> {
    const { history, scheduler } = this.peers;
    const floor = at === undefined ? history.floor(db) : 0;
    const reply = await this.ask({
      method: "GET",
      path: `${API}/${db}/docs/${doc}${at === undefined ? "" : `?at=${at}`}`,
    });
    if (!reply) return undefined;
    const seq = Number(reply.headers.get("skald-seq"));
    if (reply.status === 200) {
      if (at !== undefined && seq !== at) this.peers.wrong(`${this.name} asked for ${at} and got ${seq}`);
      history.read({ who: this.name, db, doc, floor, seq, json: reply.body });
      return { etag: reply.headers.get("etag") ?? "" };
    }
    const { code } = JSON.parse(reply.body) as { code: string };
    scheduler.note(`${this.name} read ${doc}: ${code}`);
    if (code === "DOC_NOT_FOUND") history.read({ who: this.name, db, doc, floor, seq: at, json: undefined });
    else if (!READ_REFUSALS.has(code)) this.peers.wrong(`${this.name} read ${doc} and was refused: ${code}`);
    return undefined;
  }
}

/** An author of values: puts, patches, deletes, reads. */
export class Author extends HttpPeer {
  readonly #done: { intent: Intent; request: Request }[] = [];

  /** Also when it was answered long ago: the answer must be the same. */
  protected override async write(intent: Intent, request: Request): Promise<string | undefined> {
    const code = await super.write(intent, request);
    if (code === undefined) this.#done.push({ intent, request });
    return code;
  }

  async live(dbs: readonly string[], count: number): Promise<void> {
    const { scheduler } = this.peers;
    for (let i = 0; i < count; i += 1) {
      await scheduler.sleep(
        scheduler.chance(0.3) ? scheduler.between(100, 4000) : scheduler.between(0, 50),
        `${this.name} wakes`,
      );
      // Mostly one db; the others take its place in memory.
      await this.#act(scheduler.chance(0.75) ? (dbs[0] as string) : scheduler.pick(dbs), i);
    }
  }

  async #act(db: string, i: number): Promise<void> {
    const { scheduler, history } = this.peers;
    const doc = `e/${scheduler.below(4)}`;
    const path = `${API}/${db}/docs/${doc}`;
    const value = (): Value => ({
      n: scheduler.below(1000),
      by: this.name,
      [`k${scheduler.below(3)}`]: { i, list: [i, "x"] },
    });
    const what = scheduler.random();
    const earlier = scheduler.chance(0.12) ? scheduler.pick(this.#done) : undefined;
    if (earlier) {
      await super.write(earlier.intent, earlier.request);
    } else if (what < 0.3) {
      const put = value();
      await this.write(history.intend(db, this.name, [{ doc, kind: "put", value: put }]), {
        method: "PUT",
        path,
        headers: { "content-type": "application/json" },
        body: JSON.stringify(put),
      });
    } else if (what < 0.42) {
      const patch: Value = { [`k${scheduler.below(3)}`]: scheduler.chance(0.3) ? null : { p: i }, n: i };
      await this.write(history.intend(db, this.name, [{ doc, kind: "patch", value: patch }]), {
        method: "PATCH",
        path,
        headers: { "content-type": "application/merge-patch+json" },
        body: JSON.stringify(patch),
      });
    } else if (what < 0.48) {
      const target = scheduler.chance(0.5) ? doc : `c/${scheduler.below(3)}`;
      const code = await this.write(history.intend(db, this.name, [{ doc: target, kind: "delete" }]), {
        method: "DELETE",
        path: `${API}/${db}/docs/${target}`,
      });
      if (code !== undefined && code !== "DOC_NOT_FOUND")
        this.peers.wrong(`${this.name} could not delete: ${code}`);
    } else if (what < 0.56) {
      const read = await this.read(db, doc);
      if (!read) return;
      const put = value();
      const base = read.etag.replaceAll('"', "").split(".");
      const code = await this.write(history.intend(db, this.name, [{ doc, kind: "put", value: put, base }]), {
        method: "PUT",
        path,
        headers: { "content-type": "application/json", "if-match": read.etag },
        body: JSON.stringify(put),
      });
      if (code !== undefined && code !== "PRECONDITION_FAILED")
        this.peers.wrong(`${this.name} could not put: ${code}`);
    } else if (what < 0.64) {
      const others = [doc, `e/${scheduler.below(4)}`];
      const effects: Effect[] = [...new Set(others)].map((one) => ({
        doc: one,
        kind: "put",
        value: value(),
      }));
      const intent = history.intend(db, this.name, effects);
      await this.write(intent, {
        method: "POST",
        path: `${API}/${db}/branches/main/tx`,
        headers: { "content-type": "application/json" },
        body: JSON.stringify({
          client_tx_id: intent.id,
          writes: effects.map((effect) => ({ doc: effect.doc, value: (effect as { value: Value }).value })),
        }),
      });
    } else if (what < 0.85) {
      await this.read(db, scheduler.chance(0.3) ? `c/${scheduler.below(3)}` : doc);
    } else if (what < 0.93) {
      const floor = history.floor(db);
      if (floor > 0)
        await this.read(
          db,
          scheduler.chance(0.5) ? `c/${scheduler.below(3)}` : doc,
          1 + scheduler.below(floor),
        );
    } else if (what < 0.96) await this.#atTime(db, doc);
    else await this.#list(db);
  }

  /** As of the moment of something that this author has written. */
  async #atTime(db: string, doc: string): Promise<void> {
    const { scheduler, history } = this.peers;
    const { intent } = scheduler.pick(this.#done) ?? {};
    if (intent?.receipt === undefined || intent.db !== db) return;
    const { seq, time } = intent.receipt;
    const at = new Date(time).toISOString();
    const reply = await this.ask({ method: "GET", path: `${API}/${db}/docs/${doc}?at=${at}` });
    if (reply?.status === 200)
      history.timed(this.name, db, time, Number(reply.headers.get("skald-seq")), seq);
    else if (reply) {
      const { code } = JSON.parse(reply.body) as { code: string };
      if (code !== "DOC_NOT_FOUND" && !READ_REFUSALS.has(code))
        this.peers.wrong(`${this.name} asked for ${at} and was refused: ${code}`);
    }
  }

  async #list(db: string): Promise<void> {
    const { scheduler, history } = this.peers;
    const floor = history.floor(db);
    const reply = await this.ask({
      method: "GET",
      path: `${API}/${db}/docs?values=true&collection=e&limit=${1 + scheduler.below(5)}`,
    });
    if (reply?.status !== 200) {
      const code = reply ? (JSON.parse(reply.body) as { code: string }).code : "";
      if (reply && !READ_REFUSALS.has(code)) this.peers.wrong(`${this.name} listed and was refused: ${code}`);
      return;
    }
    const { docs, seq } = JSON.parse(reply.body) as { docs: { doc: string; value: Json }[]; seq: number };
    history.heard(this.name, db, seq, floor);
    for (const { doc, value } of docs)
      history.read({ who: this.name, db, doc, floor: 0, seq, json: JSON.stringify(value) });
  }
}

const READ_REFUSALS: ReadonlySet<string> = new Set([
  "UNAVAILABLE",
  "WORK_FAILED",
  "WORK_TIMEOUT",
  "WORK_BUSY",
  "STORAGE_FAILED",
]);

/** One who follows the log page by page and puts old commits into bundles now and then. */
export class Follower extends HttpPeer {
  #after = 0;
  #cursor: string | undefined;

  async live(
    db: string,
    count: number,
    faults: { readonly compacts: boolean; readonly rebuilds: boolean },
  ): Promise<void> {
    const { scheduler } = this.peers;
    for (let i = 0; i < count; i += 1) {
      await scheduler.sleep(scheduler.between(50, 3000), `${this.name} wakes`);
      const what = scheduler.random();
      if (what < 0.15 && faults.compacts)
        await this.ask({ method: "POST", path: `${API}/${db}/compact` }, true);
      else if (what < 0.2 && faults.rebuilds)
        await this.ask({ method: "POST", path: `${API}/${db}/rebuild` }, true);
      else if (what < 0.3) await this.#verify(db);
      else if (what < 0.4) await this.#comeAndGo(i);
      else await this.follow(db);
    }
  }

  async follow(db: string): Promise<void> {
    const { scheduler, history } = this.peers;
    const floor = history.floor(db);
    const from = this.#cursor === undefined ? "" : `&cursor=${encodeURIComponent(this.#cursor)}`;
    const reply = await this.ask({
      method: "GET",
      path: `${API}/${db}/commits?limit=${1 + scheduler.below(20)}${from}`,
    });
    if (reply?.status !== 200) {
      const code = reply ? (JSON.parse(reply.body) as { code: string }).code : "";
      if (reply && !READ_REFUSALS.has(code))
        this.peers.wrong(`${this.name} followed and was refused: ${code}`);
      return;
    }
    const { commits, seq, cursor } = JSON.parse(reply.body) as {
      commits: { seq: number; cid: string }[];
      seq: number;
      cursor: string;
    };
    history.heard(this.name, db, seq, floor);
    for (const commit of commits) {
      if (commit.seq !== this.#after + 1)
        this.peers.wrong(`${this.name} got ${commit.seq} after ${this.#after}`);
      this.#after = commit.seq;
      history.listed(db, commit.seq, commit.cid);
    }
    if (commits.length === 0 && seq > this.#after)
      this.peers.wrong(`${this.name} got nothing after ${this.#after} of ${seq}`);
    this.#cursor = cursor;
  }

  /** A db is made, written to and deleted; whichever of it was answered has happened. */
  async #comeAndGo(i: number): Promise<void> {
    const { wrong, scheduler } = this.peers;
    const path = `${API}/x${i}`;
    const codeOf = (reply: Reply | undefined): string =>
      reply && reply.status >= 300 ? (JSON.parse(reply.body) as { code: string }).code : "";
    const may = (what: string, code: string, allowed: readonly string[]): void => {
      scheduler.note(`${this.name} ${what}: ${code}`);
      if (code !== "" && !AGAIN.has(code) && !allowed.includes(code)) wrong(`${this.name} ${what}: ${code}`);
    };
    const made = await this.ask({ method: "PUT", path });
    may("makes a db", codeOf(made), []);
    if (codeOf(made) !== "") return;
    const put = await this.ask({
      method: "PUT",
      path: `${path}/docs/e/1`,
      headers: { "content-type": "application/json" },
      body: '{"n":1}',
    });
    may("writes to it", codeOf(put), []);
    // When the answer was lost it is gone at the second try.
    const gone = await this.ask({ method: "DELETE", path: `${path}?confirm=x${i}` });
    may("deletes it", codeOf(gone), ["DB_NOT_FOUND"]);
    if (codeOf(gone) === "")
      may("looks for it", codeOf(await this.ask({ method: "GET", path })), ["DB_NOT_FOUND"]);
  }

  async #verify(db: string): Promise<void> {
    const reply = await this.ask({ method: "GET", path: `${API}/${db}/verify` }, true);
    const last = reply?.body.trim().split("\n").at(-1) ?? "";
    if (reply?.status !== 200 || !last.includes('"verdict"')) return;
    const { problems } = JSON.parse(last) as { problems: unknown[] };
    if (problems.length > 0) this.peers.wrong(`${this.name} verified and heard ${last}`);
  }
}

/** One who writes changes of its own over a socket, several under way at once. */
export class SocketPeer {
  readonly name: string;
  readonly weather: Weather = { blockedUntil: 0 };
  readonly #peers: Peers;
  readonly #token: string;
  readonly #latency: number;
  readonly #chains = new Map<string, { actor: string; seq: number; head: string }>();
  #tx: TxConnection | undefined;
  #answered: (() => void) | undefined;

  constructor(peers: Peers, name: string, token: string) {
    this.#peers = peers;
    this.name = name;
    this.#token = token;
    this.#latency = peers.scheduler.between(0.2, 20);
  }

  get connection(): Connection | undefined {
    return this.#tx?.connection;
  }

  async live(db: string, count: number, makeHostile?: (doc: string) => Uint8Array): Promise<void> {
    const { scheduler, history } = this.#peers;
    let queue: { intent: Intent; changes: Uint8Array[]; doc: string; hostile: boolean }[] = [];
    for (let made = 0; made < count || queue.length > 0;) {
      await scheduler.sleep(scheduler.between(0, 200), `${this.name} wakes`);
      for (let n = scheduler.below(6); n > 0 && made < count; n -= 1, made += 1) {
        if (makeHostile && scheduler.chance(0.25)) {
          const doc = `h/${scheduler.below(2)}`;
          queue.push({
            intent: history.intend(db, this.name, [{ doc, kind: "hostile" }]),
            changes: [makeHostile(doc)],
            doc,
            hostile: true,
          });
        } else queue.push(this.#next(db));
      }
      if (queue.length > 0) queue = await this.#send(db, queue);
    }
    // Left open: the server has to see to its end.
  }

  /** A change on this peer's own, that sets a key of its own. */
  #next(db: string): { intent: Intent; changes: Uint8Array[]; doc: string; hostile: boolean } {
    const { scheduler, history, uids } = this.#peers;
    const doc = `c/${scheduler.below(3)}`;
    const chain = this.#chains.get(doc) ?? {
      actor: createHash("sha256").update(`${scheduler.seed} ${this.name} ${doc}`).digest("hex").slice(0, 32),
      seq: 0,
      head: genesisOf(uids.get(db) as Uint8Array, "c", doc.slice(2)).hash,
    };
    const key = `${this.name}${scheduler.below(3)}`;
    const value = scheduler.below(64);
    const seq = chain.seq + 1;
    const { hash, bytes } = setChange({
      deps: [chain.head],
      actor: chain.actor,
      seq,
      startOp: seq,
      key,
      value,
    });
    this.#chains.set(doc, { ...chain, seq, head: hash });
    return {
      intent: history.intend(db, this.name, [{ doc, kind: "set", key, value }]),
      changes: [bytes],
      doc,
      hostile: false,
    };
  }

  /** Sends what is not answered, in order. Gives what has to be sent again. */
  async #send<T extends { intent: Intent; changes: Uint8Array[]; doc: string; hostile: boolean }>(
    db: string,
    queue: T[],
  ): Promise<T[]> {
    const { scheduler, history, wrong, calm } = this.#peers;
    const socket = await this.#connect(db);
    if (!socket) return queue;
    const open = new Map(queue.map((item, id) => [id, item]));
    let over = false;
    const done = new Promise<void>((resolve) => {
      this.#answered = resolve;
    });
    socket.onEnd = (why) => {
      scheduler.note(`${this.name} socket ends: ${why}`);
      over = true;
      this.#answered?.();
    };
    socket.onAnswer = ({ id, seq, time, commit, duplicate, error }) => {
      const item = open.get(id);
      if (!item) return wrong(`${this.name} got an answer to nothing: ${id}`);
      const { intent } = item;
      scheduler.note(
        `${this.name} ${intent.id} ${error ? `refused: ${error.code}` : `is ${seq}${duplicate ? " again" : ""}`}`,
      );
      if (!error) {
        history.acknowledge(intent, { seq, time, commit: cidToString(commit), duplicate });
        open.delete(id);
      } else if (item.hostile && !AGAIN.has(error.code)) {
        intent.refused = error.code;
        open.delete(id);
      } else if (
        !AGAIN.has(error.code) &&
        !(error.code === "CHANGE_DEPS_MISSING" || error.code === "CHANGE_SEQ")
      ) {
        wrong(`${this.name} ${intent.id} was refused: ${error.code}`);
        open.delete(id);
      } else open.set(id, item);
      waiting.delete(id);
      if (waiting.size === 0) this.#answered?.();
    };
    const waiting = new Set(open.keys());
    const frames: number[][] = [];
    for (const id of open.keys()) {
      if (frames.length === 0 || scheduler.chance(0.4)) frames.push([]);
      frames.at(-1)?.push(id);
    }
    for (const ids of frames) {
      socket.send(
        ids.map((id) => {
          const { intent, changes, doc } = open.get(id) as T;
          history.sending(intent);
          return { id, tx: intent.id, writes: [{ doc, changes }] };
        }),
      );
    }
    const stop = scheduler.at(
      calm() ? 200_000 : scheduler.between(2000, 40_000),
      `${this.name} gives up`,
      () => {
        over = true;
        this.#answered?.();
      },
    );
    await done;
    stop();
    if (over) {
      socket.connection.leave(scheduler.chance(0.3));
      this.#tx = undefined;
    }
    return [...open.values()];
  }

  async #connect(db: string): Promise<TxConnection | undefined> {
    const { scheduler } = this.#peers;
    if (this.#tx?.connection.open) return this.#tx;
    const made = this.#peers.server()?.connect(this.name, this.weather, this.#latency);
    if (!made) {
      await scheduler.sleep(scheduler.between(50, 500), `${this.name} waits for a server`);
      return undefined;
    }
    const socket = new TxConnection(made, `${API}/${db}/branches/main/tx`, this.#token);
    const opened = await new Promise<boolean>((resolve) => {
      const stop = scheduler.at(20_000, `${this.name} waits no longer for a socket`, () => {
        made.leave(false);
        resolve(false);
      });
      socket.onOpen = () => {
        stop();
        resolve(true);
      };
      socket.onEnd = (why) => {
        stop();
        scheduler.note(`${this.name} has no socket: ${why}`);
        resolve(false);
      };
    });
    this.#tx = opened ? socket : undefined;
    return this.#tx;
  }
}
