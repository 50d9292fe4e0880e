/** What goes on and explains an answer: names of WEATHER, and `restart`, which explains a broken connection. */
export class Weather {
  #spells = [];

  begin(name) {
    const spell = { name, from: Date.now(), to: Infinity };
    this.#spells.push(spell);
    if (this.#spells.length > 200) this.#spells.splice(0, 100);
    return () => {
      spell.to = Date.now();
    };
  }

  /** What went on at any time since `from`, or ended up to `graceMs` before. */
  since(from, graceMs = 5000) {
    return [...new Set(this.#spells.filter(({ to }) => to >= from - graceMs).map(({ name }) => name))];
  }
}

/** Lets work through while it is open, and tells when none is under way. */
export class Gate {
  #closed = 0;
  #waiting = [];
  underWay = 0;

  get isOpen() {
    return this.#closed === 0;
  }

  async through(work) {
    while (this.#closed > 0) await new Promise((resolve) => this.#waiting.push(resolve));
    this.underWay += 1;
    try {
      return await work();
    } finally {
      this.underWay -= 1;
    }
  }

  /** Gives what opens it again; it is open when everybody who closed it did. */
  close() {
    this.#closed += 1;
    let mine = true;
    return () => {
      if (!mine) return;
      mine = false;
      this.#closed -= 1;
      if (this.#closed === 0) for (const go of this.#waiting.splice(0)) go();
    };
  }

  /** Whether everything that was under way came to its end within `ms`. */
  async drained(ms) {
    const until = Date.now() + ms;
    while (this.underWay > 0 && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 50));
    return this.underWay === 0;
  }
}
