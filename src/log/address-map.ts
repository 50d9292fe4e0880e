/** Several commits can share a prefix; nearly always there is one, so that case holds a plain number. */
export class AddressMap {
  readonly #map = new Map<number, number | number[]>();

  add(prefix: number, seq: number): void {
    const known = this.#map.get(prefix);
    if (known === undefined) this.#map.set(prefix, seq);
    else if (typeof known === "number") {
      if (known !== seq) this.#map.set(prefix, [known, seq]);
    } else if (!known.includes(seq)) known.push(seq);
  }

  addAll(other: AddressMap): void {
    for (const [prefix, seq] of other.entries()) this.add(prefix, seq);
  }

  find(prefix: number): readonly number[] {
    const known = this.#map.get(prefix);
    if (known === undefined) return [];
    return typeof known === "number" ? [known] : known;
  }

  entries(): [number, number][] {
    const all: [number, number][] = [];
    for (const [prefix, known] of this.#map) {
      if (typeof known === "number") all.push([prefix, known]);
      else for (const seq of known) all.push([prefix, seq]);
    }
    return all;
  }
}

/** The first 52 bits of a hash in hex. */
export function prefixOf(hex: string): number {
  return Number.parseInt(hex.slice(0, 13), 16);
}
