import { archiveOf, type ArchiveFile } from "../archive/archive-file.ts";
import type { HistoryPoint } from "../archive/history-export.ts";
import type { ArchiveKind } from "../archive/opening.ts";
import { SkaldError } from "../errors.ts";
import { cidToString } from "../ids/cid.ts";
import { notModified } from "./etag.ts";
import type { Answer, Call } from "./route.ts";

export const CAR = "application/vnd.ipld.car";

/** The archive of a point as an answer: whole, or the range that is asked for. Throws RANGE_INVALID. */
export async function archiveAnswer(call: Call, kind: ArchiveKind, point: HistoryPoint): Promise<Answer> {
  const { engine } = call.services;
  const file = await archiveOf((work) => call.db(work), kind, point, {
    dir: engine.dir,
    world: engine.world,
    signal: call.signal,
  });
  let streams = false;
  try {
    const etag = `"${file.tag};${kind}"`;
    const headers: Record<string, string> = {
      etag,
      vary: "accept",
      "content-type": CAR,
      "accept-ranges": "bytes",
      "skald-root": cidToString(file.root),
      "skald-seq": String(point.seq),
      "content-disposition": `attachment; filename="${call.params["db"]}-${point.seq}-${kind}.car"`,
    };
    if (notModified(call.header("if-none-match"), etag)) return { status: 304, headers };
    const range = await rangeOf(call, etag, file);
    if (range) {
      headers["content-range"] = `bytes ${range.from}-${range.to - 1}/${range.of}`;
      headers["content-length"] = String(range.to - range.from);
    } else if (file.bytes !== undefined) headers["content-length"] = String(file.bytes);
    const status = range ? 206 : 200;
    if (call.isHead) return { status, headers };
    streams = true;
    return { status, headers, body: partsOf(file, range?.from, range?.to) };
  } finally {
    if (!streams) await file.close();
  }
}

async function* partsOf(file: ArchiveFile, from?: number, to?: number): AsyncGenerator<Uint8Array> {
  try {
    yield* file.read(from, to);
  } finally {
    await file.close();
  }
}

interface ByteRange {
  readonly from: number;
  /** The byte behind the last one. */
  readonly to: number;
  readonly of: number;
}

/**
 * The one range that is asked for (RFC 9110 section 14): undefined when the whole is, in several ranges or of another
 * archive than this.
 */
async function rangeOf(call: Call, etag: string, file: ArchiveFile): Promise<ByteRange | undefined> {
  const [, first = "", last = ""] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(call.header("range") ?? "") ?? [];
  const ifRange = call.header("if-range");
  if ((first === "" && last === "") || (ifRange !== undefined && ifRange !== etag)) return undefined;
  if (first !== "" && last !== "" && Number(last) < Number(first)) return undefined;
  const of = await file.measure();
  const from = first === "" ? Math.max(0, of - Number(last)) : Number(first);
  const to = first === "" || last === "" ? of : Math.min(of, Number(last) + 1);
  if (from < to) return { from, to, of };
  throw new SkaldError("RANGE_INVALID", `The archive has ${of} bytes.`, {
    details: { content_range: `bytes */${of}`, bytes: of },
  });
}
