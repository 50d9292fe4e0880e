import { answerName, isExpected } from "./expected.mjs";
import { Broken, HttpClient } from "./http-client.mjs";
import { Tally } from "./tally.mjs";
import { Gate, Weather } from "./weather.mjs";

/** Kinds whose answer is a stream that may break off when the disk is full or the db goes. */
const STREAMS = new Set(["verify", "rebuild", "compact"]);

/** How everybody talks to the server: each answer is looked up, each receipt goes into its db's book. */
export class Calls {
  gate = new Gate();
  weather = new Weather();
  tally = new Tally();
  #server;
  #http;
  #finding;

  constructor({ server, finding }) {
    this.#server = server;
    this.#finding = finding;
    this.#http = new HttpClient(() => server);
  }

  get server() {
    return this.#server;
  }

  finding(what, details) {
    this.#finding(what, details);
  }

  dropConnections() {
    this.#http.reset();
  }

  /**
   * Gives the answer, `ok` when it is 2xx, `broken` when there was none. With `slot` the answer may also be
   * that of a db which was deleted meanwhile.
   */
  send(kind, request, slot) {
    return this.gate.through(() => this.sendNow(kind, request, slot));
  }

  /** The same past a closed gate. */
  async sendNow(kind, request, slot) {
    const from = Date.now();
    const { life } = this.#server;
    const generation = slot?.generation;
    if (slot) slot.underWay += 1;
    const weather = () => [
      ...this.weather.since(from),
      ...(slot && (slot.generation !== generation || slot.leaving) ? ["deleting"] : []),
    ];
    try {
      const answer = await this.#http.send(request);
      const name = answerName(answer.status, answer.code);
      this.tally.add(kind, name, answer.ms);
      if (!isExpected(kind, name, weather())) {
        const said = answer.body.toString("utf8").slice(0, 600);
        this.#finding(`unexpected answer to ${kind}: ${name}`, {
          path: request.path,
          weather: weather(),
          said,
        });
      }
      return Object.assign(answer, { ok: answer.status < 300 });
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      this.tally.add(kind, "broken");
      const now = weather();
      const explained =
        now.includes("restart") ||
        this.#server.life !== life ||
        (STREAMS.has(kind) && (now.includes("full") || now.includes("deleting")));
      if (!explained) this.#finding(`no answer to ${kind}: ${error.message}`, { weather: now });
      return { broken: true, ok: false };
    } finally {
      if (slot) slot.underWay -= 1;
    }
  }

  /**
   * A write: its receipt, refusal or silence goes into the book of the db. `tx` is its client_tx_id; `named`
   * says that its commit carries that name, `docs` which documents it is certain to change.
   */
  async write(kind, request, { slot, tx, docs, named }) {
    const { book } = slot;
    const answer = await this.send(kind, request, slot);
    if (slot.book !== book) return { ...answer, gone: true };
    this.note(book, answer, { tx, docs, named });
    return answer;
  }

  note(book, answer, { tx, docs, named }) {
    if (answer.broken || answer.code === "STORAGE_FAILED") return book.lost({ tx, docs, named });
    if (!answer.ok) return book.refusedFor(named ? tx : undefined);
    const { seq, commit, duplicate } = answer.json();
    this.acknowledged(book, { seq, commit, tx, duplicate });
  }

  acknowledged(book, receipt) {
    const before = book.commits.size;
    book.acknowledged(receipt);
    if (book.commits.size > before) this.tally.committed();
  }
}
