/** What happened to an input: "ok" when this limit let it through, else the code or word of the table. */
export type Outcome = string;

/**
 * Makes an input of this amount and says what became of it. What a later check says of an input that this
 * limit let through is "ok" as well: each probe says which.
 */
export type Probe = (amount: number) => Outcome | Promise<Outcome>;

export interface ProbeSpec {
  readonly run: Probe;
  /** The value of the limit where the probe's server or pool was made with another one than the table's. */
  readonly made?: number;
  /** The limit is the least there may be. */
  readonly least?: boolean;
  /** Tried with wrong values as well, to see that a probe goes red. */
  readonly cheap?: boolean;
}

export const codeOf = (error: unknown): string => {
  const { code } = (error ?? {}) as { code?: unknown };
  if (typeof code !== "string") throw error;
  return code;
};

/** The code that `work` throws, "ok" when it throws none. */
export async function outcomeOf(work: () => unknown): Promise<Outcome> {
  try {
    await work();
    return "ok";
  } catch (error) {
    return codeOf(error);
  }
}

/** "ok" for an answer that is none of this limit's refusals. */
export function outcomeIn(
  reply: { status: number; json: Record<string, unknown> },
  ...passes: string[]
): Outcome {
  const code = reply.json?.["code"];
  if (reply.status < 400 || passes.includes(String(code))) return "ok";
  return String(code);
}

/** Checks one limit: exactly at `value` accepted, one beyond refused as the table says. Throws otherwise. */
export async function holds(spec: ProbeSpec, value: number, beyond: string): Promise<void> {
  const at = await spec.run(value);
  if (at !== "ok") throw new Error(`at ${value}: ${at} instead of ok`);
  const over = spec.least ? value - 1 : value + 1;
  const found = await spec.run(over);
  if (found !== beyond) throw new Error(`at ${over}: ${found} instead of ${beyond}`);
}
