import * as dagCbor from "@ipld/dag-cbor";
import { blake3 } from "@noble/hashes/blake3.js";
import { CID } from "multiformats/cid";
import { varint } from "multiformats";

/**
 * A reader of CARv1 made from its page (https://ipld.io/specs/transport/car/carv1/) and nothing of Skald's: varints,
 * addresses and DAG-CBOR are those of multiformats, the hash is another implementation than the one that wrote.
 */
export interface Car {
  readonly roots: string[];
  readonly blocks: { readonly cid: string; readonly data: Uint8Array }[];
}

export function readCar(file: Uint8Array): Car {
  let at = 0;
  const frame = (): Uint8Array => {
    const [length, used] = varint.decode(file, at);
    at += used;
    if (length === 0 || at + length > file.length) throw new Error(`a frame at ${at} runs past the end`);
    at += length;
    return file.subarray(at - length, at);
  };
  const header = dagCbor.decode<{ version: number; roots: CID[] }>(frame());
  if (header.version !== 1) throw new Error("not version 1");
  const blocks: { cid: string; data: Uint8Array }[] = [];
  while (at < file.length) {
    const [cid, data] = CID.decodeFirst(frame());
    if (cid.version !== 1 || cid.multihash.code !== 0x1e) throw new Error("an address of another kind");
    if (Buffer.compare(blake3(data), cid.multihash.digest) !== 0) throw new Error("a block has another hash");
    // What says it is DAG-CBOR is.
    if (cid.code === dagCbor.code) dagCbor.decode(data);
    else if (cid.code !== 0x55) throw new Error("a codec of another kind");
    blocks.push({ cid: cid.toString(), data: new Uint8Array(data) });
  }
  return { roots: header.roots.map(String), blocks };
}

/** The same of a file whose roots are in it. */
export function wholeCar(file: Uint8Array): Car {
  const car = readCar(file);
  const there = new Set(car.blocks.map(({ cid }) => cid));
  for (const root of car.roots) if (!there.has(root)) throw new Error(`the root ${root} is not in the file`);
  return car;
}
