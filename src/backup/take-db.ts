import { SkaldError } from "../errors.ts";
import { cidFromString, cidToString } from "../ids/cid.ts";
import { fromHex } from "../ids/hash.ts";
import { isBundle } from "../log/bundle.ts";
import type { Place } from "../log/log.ts";
import { placeJson, placeOf } from "../replication/peer.ts";
import { readFrames } from "../replication/frames.ts";
import { pause, type World } from "../world.ts";
import { RecordChain, beforeOf, isSame } from "./chain.ts";
import { packName, type BackupFolder } from "./folder.ts";
import { noteError, readNote, type Head, type PlaceJson } from "./frames.ts";
import type { DbEntry, PackEntry } from "./manifest.ts";
import { readPack, type PackWriter } from "./pack.ts";
import type { Source } from "./source.ts";

/** Bytes of a pack: what one that breaks off loses, and what is read again to find out that it is whole. */
const PACK_BYTES = 8 * 1024 * 1024;
/** Ends of packs that the server is asked with; further back it is every second, fourth … one. */
const MOST_PLACES = 64;
const MOST_TRIES = 5;
const PAUSE_MS = 100;

export interface TakenDb {
  readonly entry: DbEntry;
  /** What was written now. */
  readonly commits: number;
  readonly bytes: number;
  /** What keeps the subscriptions from being read: those of the run before stay. */
  readonly failed?: { readonly code: string; readonly detail: string };
}

export interface DbRun {
  /** Everything anew, in the form that the server has it in now. */
  readonly full?: boolean;
  readonly world: World;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: TakeProgress) => void;
}

export interface TakeProgress {
  readonly db: string;
  readonly commits: number;
  readonly bytes: number;
}

/**
 * Brings what the folder lacks of a db. Each record is checked before it is written, see `RecordChain`; a pack that
 * a run left which broke off is taken over when it goes on from here. Throws DB_NOT_FOUND, DB_DAMAGED, and what the
 * connection breaks off with.
 */
export async function takeDb(
  source: Source,
  folder: BackupFolder,
  name: string,
  earlier: DbEntry | undefined,
  options: DbRun,
): Promise<TakenDb> {
  const work = new Taking(source, folder, name, earlier, options);
  let furthest = 0;
  for (let tries = 0; ;) {
    try {
      return await work.go();
    } catch (error) {
      // A server that sends the same again and again does not get on.
      tries = work.reached > furthest ? 1 : tries + 1;
      furthest = Math.max(furthest, work.reached);
      if (!mayPass(error) || tries > MOST_TRIES || options.signal?.aborted === true) throw error;
      await pause(options.world, PAUSE_MS * 2 ** tries);
    }
  }
}

/** Whether the same may go well in a moment. */
function mayPass(error: unknown): boolean {
  return PASSING.has(String((error as { code?: unknown } | null)?.code));
}

const PASSING: ReadonlySet<string> = new Set([
  "SYNC_DIVERGED",
  "UNREACHABLE",
  "UNAVAILABLE",
  "RATE_LIMITED",
  "WORK_BUSY",
  "ECONNRESET",
  "ECONNREFUSED",
  "EPIPE",
  "ETIMEDOUT",
  "ERR_STREAM_PREMATURE_CLOSE",
]);

class Taking {
  commits = 0;
  bytes = 0;
  readonly #source: Source;
  readonly #folder: BackupFolder;
  readonly #name: string;
  readonly #earlier: DbEntry | undefined;
  readonly #options: DbRun;
  /** Packs that are there, in order. */
  #packs: PackEntry[] | undefined;
  /** Whether everything was asked for anew already: what came of it then is gone on from. */
  #begun = false;
  /** Whether packs of a db that no manifest has were looked for. */
  #looked = false;

  constructor(
    source: Source,
    folder: BackupFolder,
    name: string,
    earlier: DbEntry | undefined,
    options: DbRun,
  ) {
    this.#source = source;
    this.#folder = folder;
    this.#name = name;
    this.#earlier = earlier;
    this.#options = options;
  }

  /** The last commit that is kept. */
  get reached(): number {
    return endOf(this.#packs ?? []).seq;
  }

  async go(): Promise<TakenDb> {
    const earlier = this.#earlier;
    this.#packs ??= this.#options.full === true ? [] : await this.#there();
    const known = earlier && placeOf(earlier);
    const stream = await this.#source.db(this.#name, {
      have: placesOf(this.#packs),
      ...(known ? { known } : {}),
      ...(this.#options.full === true && !this.#begun ? { all: true } : {}),
    });
    this.#begun = true;
    const items = readFrames(stream);
    const first = await items.next();
    const note = first.done === true ? undefined : readNote(first.value as Uint8Array);
    if (!note) throw brokeOff(this.#name);
    if ("error" in note) throw noteError(note.error);
    if (!("head" in note)) throw brokeOff(this.#name);
    const { head } = note;
    this.#checkNotShorter(head);
    return this.#entry(head, await this.#write(head, items));
  }

  /** A log that lost its end does not take the place of one that has it. */
  #checkNotShorter({ known, uid, lives, head }: Head): void {
    const earlier = this.#earlier;
    if (!earlier || known || earlier.uid !== uid || lives.length > earlier.lives.length) return;
    throw new SkaldError(
      "DB_DAMAGED",
      `The backup has commit ${earlier.seq} of ${this.#name}, and the db, which is at ${head.seq} in the same life, has not: it lost its end, or an older log was put in its place.`,
      { details: { log_seq: head.seq, known_seq: earlier.seq } },
    );
  }

  /** The packs of the earlier run that are there, and what a run that broke off wrote after them. */
  async #there(): Promise<PackEntry[]> {
    const { uid, packs } = this.#earlier ?? { uid: undefined, packs: [] };
    if (uid === undefined) return [];
    const gap = packs.findIndex((entry) => !this.#folder.hasPack(uid, entry));
    const found = gap < 0 ? [...packs] : packs.slice(0, gap);
    return this.#continued(uid, found);
  }

  async #continued(uid: string, packs: PackEntry[]): Promise<PackEntry[]> {
    for (;;) {
      const at: Place = endOf(packs);
      const next = await this.#follower(uid, at);
      if (!next) return packs;
      packs.push(next);
    }
  }

  /** A pack that nobody names and that goes on from a commit. */
  async #follower(uid: string, at: Place): Promise<PackEntry | undefined> {
    for (const entry of this.#folder.packsFrom(uid, at.seq + 1)) {
      const chain = new RecordChain(fromHex(uid), at);
      try {
        const file = packName(uid, entry);
        for await (const { body } of readPack(this.#folder.packFile(uid, entry), { ...entry, uid }, file))
          chain.follow(chain.open(body));
        if (chain.at.seq === entry.last && chain.at.cid)
          return { ...entry, commit: cidToString(chain.at.cid) };
      } catch {
        // Of another line, or damaged: it is asked for anew.
      }
    }
    return undefined;
  }

  async #write(head: Head, items: AsyncGenerator<unknown>): Promise<Place> {
    const { uid } = head;
    const after = placeOf(head.after);
    this.#packs = cut(this.#packs ?? [], after.seq, head.after.commit);
    if (endOf(this.#packs).seq !== after.seq) {
      // The server answered with a place that nobody asked with.
      throw new SkaldError("BAD_REQUEST", `The server goes on from commit ${after.seq}, which is not here.`);
    }
    if (after.seq === 0 && this.#earlier?.uid !== uid && this.#options.full !== true && !this.#looked) {
      this.#looked = true;
      // A db that no manifest has: what a run wrote that broke off is not known before its uid is.
      const found = await this.#continued(uid, []);
      if (found.length > 0) {
        this.#packs = found;
        await items.return(undefined);
        throw new SkaldError("SYNC_DIVERGED", "There is more in the folder than was asked with.");
      }
    }
    const chain = new RecordChain(fromHex(uid), after);
    let writer: PackWriter | undefined;
    const name = (): void => {
      if (!writer) return;
      const done = writer;
      writer = undefined;
      const { seq, cid } = chain.at;
      this.#packs?.push(this.#folder.namePack(uid, done, seq, cidToString(cid as Uint8Array)));
    };
    try {
      for await (const item of items) {
        const body = item as Uint8Array;
        const note = readNote(body);
        if (note) {
          if ("error" in note) throw noteError(note.error);
          if (!("end" in note) || note.end.seq !== head.head.seq || chain.at.seq < head.head.seq)
            throw brokeOff(this.#name);
          name();
          return chain.at;
        }
        const commits = chain.open(body);
        const [opened] = commits;
        if (isBundle(body) && opened && opened.commit.seq <= chain.at.seq) {
          name();
          this.#giveWay(chain, commits);
        }
        chain.follow(commits);
        checkHead(commits, head.head);
        writer ??= await this.#folder.beginPack(uid, chain.at.seq - commits.length + 1);
        writer.add(commits.length, body);
        this.commits += commits.length;
        this.bytes += body.length;
        this.#options.onProgress?.({ db: this.#name, commits: this.commits, bytes: this.bytes });
        if (writer.bytes >= PACK_BYTES) name();
      }
      throw brokeOff(this.#name);
    } catch (error) {
      // What came whole stays, also for a later run.
      if (mayPass(error)) name();
      writer?.discard();
      throw error;
    }
  }

  /**
   * A bundle may begin before the place that is gone on from. It takes the place of what was there of the same
   * commits, which costs less than taking it apart.
   */
  #giveWay(chain: RecordChain, commits: ReturnType<RecordChain["open"]>): void {
    const { at } = chain;
    const [first] = commits as [ReturnType<RecordChain["open"]>[number]];
    const overlap = commits[at.seq - first.commit.seq];
    if (!overlap || !isSame(overlap.cid, at.cid))
      throw new SkaldError("DB_DAMAGED", `Commit ${at.seq} is another in its bundle.`, {
        details: { seq: at.seq },
      });
    const seq = first.commit.seq - 1;
    const cid = beforeOf(first.commit);
    this.#packs = cut(this.#packs ?? [], seq, cid ? cidToString(cid) : null);
    chain.return({ seq, cid });
  }

  #entry(head: Head, at: Place): TakenDb {
    const { subscriptions } = head;
    const failed = subscriptions !== null && typeof subscriptions === "object" ? subscriptions : undefined;
    const entry: DbEntry = {
      db: this.#name,
      uid: head.uid,
      created: head.created,
      actor: head.actor,
      taken: new Date(this.#options.world.now()).toISOString(),
      ...placeJson(at),
      lives: head.lives.map(({ epoch, after }) => ({ epoch, after })),
      subscriptions:
        typeof subscriptions === "string"
          ? this.#folder.putObject(Buffer.from(subscriptions, "base64")).hash
          : failed && this.#earlier?.uid === head.uid
            ? this.#earlier.subscriptions
            : null,
      packs: this.#packs ?? [],
    };
    return { entry, commits: this.commits, bytes: this.bytes, ...(failed ? { failed } : {}) };
  }
}

const NOWHERE: Place = { seq: 0, cid: undefined };

function endOf(packs: readonly PackEntry[]): Place {
  const last = packs.at(-1);
  return last ? { seq: last.up_to, cid: cidFromString(last.commit) } : NOWHERE;
}

/** Ends of packs, newest first. */
function placesOf(packs: readonly PackEntry[]): Place[] {
  const places: Place[] = [];
  for (let back = 1; back <= packs.length && places.length < MOST_PLACES; back += back <= 16 ? 1 : back >> 2)
    places.push(endOf(packs.slice(0, packs.length - back + 1)));
  return places;
}

/** The packs up to a commit. The last one is used in part when that lies within it. */
function cut(packs: readonly PackEntry[], seq: number, commit: string | null): PackEntry[] {
  const kept = packs.filter(({ first }) => first <= seq);
  const last = kept.at(-1);
  if (last && last.up_to > seq && commit !== null) kept[kept.length - 1] = { ...last, up_to: seq, commit };
  return kept;
}

/** That the commit which the server said is its head is that one. A bundle made meanwhile may go on past it. */
function checkHead(commits: ReturnType<RecordChain["open"]>, { seq, commit }: PlaceJson): void {
  const there = commits[seq - (commits[0]?.commit.seq ?? 0)];
  if (there && cidToString(there.cid) !== commit)
    throw new SkaldError("SYNC_DIVERGED", `Commit ${seq} is not the one that the server named as its head.`);
}

/** Read like a connection that broke off. */
function brokeOff(name: string): Error {
  return Object.assign(new Error(`The answer for ${name} broke off.`), { code: "UNREACHABLE" });
}
