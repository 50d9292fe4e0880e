import { Documents, type DocumentsOptions, type Edit } from "../../src/documents/documents.ts";

export const ACTORS = ["aa", "bb", "cc", "dd"].map((byte) => byte.repeat(16));

/** A caller as the db layer is one: it keeps every change of a document and answers with those asked for. */
export class Log {
  readonly docRef: string;
  readonly changes: Uint8Array[] = [];
  heads: string[] = [];
  /** What the workers asked for, in order. */
  readonly asked: string[][] = [];
  readonly #documents: Documents;

  constructor(documents: Documents, docRef: string) {
    this.#documents = documents;
    this.docRef = docRef;
  }

  at(heads = this.heads) {
    return {
      docRef: this.docRef,
      heads,
      source: (have: string[]) => {
        this.asked.push(have);
        return { chunks: this.changes };
      },
    };
  }

  /** Authors without committing. */
  author(edit: Edit, { actor = ACTORS[0] as string, heads = this.heads } = {}) {
    return this.#documents.author({ ...this.at(heads), actor, time: 1_700_000_000, edit });
  }

  /** Commits a change: it replaces the heads it was authored on and stands beside all others. */
  commit(authored: { change: Uint8Array | undefined; heads: string[] }, base: string[]) {
    if (authored.change === undefined) return;
    this.changes.push(authored.change);
    this.heads = [...this.heads.filter((head) => !base.includes(head)), ...authored.heads];
  }

  async edit(edit: Edit, { actor = ACTORS[0] as string, heads = this.heads } = {}) {
    const authored = await this.author(edit, { actor, heads });
    this.commit(authored, heads);
    return authored;
  }

  put(value: unknown, options: { actor?: string; heads?: string[] } = {}) {
    return this.edit(
      { kind: "put", value: typeof value === "string" ? value : JSON.stringify(value) },
      options,
    );
  }

  async json(heads = this.heads): Promise<string> {
    return (await this.#documents.read(this.at(heads))).json;
  }

  async value(heads = this.heads): Promise<unknown> {
    return JSON.parse(await this.json(heads));
  }
}

let count = 0;

/** A pool closed after the tests of the file, and a way to new documents in it. */
export function openDocuments(options: DocumentsOptions = {}) {
  const documents = new Documents({ workers: 1, ...options });
  afterAll(() => documents.close());
  return { documents, newLog: () => new Log(documents, `doc-${++count}`) };
}
