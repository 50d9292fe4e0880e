import type { Adapter, AdapterPayload } from "oidc-provider";

/** What the provider of `--dev` keeps: sign-ins under way, codes, sessions. As many as this, the oldest out first. */
const KEPT_MAX = 1000;

interface Kept {
  readonly payload: AdapterPayload;
  readonly until: number;
}

/** Storage that lives as long as the process. `fixed` answers first, for what is never written. */
export function shortMemory(
  fixed: (model: string, id: string) => AdapterPayload | undefined,
): (model: string) => Adapter {
  const kept = new Map<string, Kept>();
  const get = (key: string): AdapterPayload | undefined => {
    const found = kept.get(key);
    if (found && found.until > Date.now()) return found.payload;
    kept.delete(key);
    return undefined;
  };
  const first = (match: (payload: AdapterPayload) => boolean): AdapterPayload | undefined =>
    [...kept.values()].find(({ payload, until }) => until > Date.now() && match(payload))?.payload;
  return (model) => {
    const keyOf = (id: string): string => `${model}:${id}`;
    return {
      find: (id) => Promise.resolve(fixed(model, id) ?? get(keyOf(id))),
      findByUid: (uid) => Promise.resolve(first((payload) => payload.uid === uid)),
      findByUserCode: () => Promise.resolve(undefined),
      upsert: (id, payload, seconds) => {
        kept.delete(keyOf(id));
        kept.set(keyOf(id), { payload, until: seconds ? Date.now() + seconds * 1000 : Infinity });
        const [oldest] = kept.keys();
        if (kept.size > KEPT_MAX && oldest !== undefined) kept.delete(oldest);
        return Promise.resolve();
      },
      consume: (id) => {
        const payload = get(keyOf(id));
        if (payload) payload.consumed = Math.floor(Date.now() / 1000);
        return Promise.resolve();
      },
      destroy: (id) => {
        kept.delete(keyOf(id));
        return Promise.resolve();
      },
      revokeByGrantId: (grant) => {
        for (const [key, { payload }] of kept) if (payload.grantId === grant) kept.delete(key);
        return Promise.resolve();
      },
    };
  };
}
