// Mutants that no test can notice, each with why: they change what something costs, or nothing. An entry
// names a line of a source by its text (trimmed) and, where not all of its edits are meant, the edits.
// One that fits nothing any more fails the run; `--equivalent` tries them too and names those that a test
// noticed after all.
export const EQUIVALENT = [];

/** The reason why a mutant is on the list, or undefined. */
export function reasonOf(file, text, what) {
  return EQUIVALENT.find((entry) => fits(entry, file, text, what))?.reason;
}

export function fits(entry, file, text, what) {
  return entry.file === file && entry.line === text && (!entry.what || entry.what.includes(what));
}
