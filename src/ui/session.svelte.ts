import { get, isApiError, onSignedOut, post } from "./api.ts";
import { mayOn, type Me } from "./permissions.ts";

interface State {
  /** Undefined before the first answer, null when nobody is signed in. */
  me: Me | null | undefined;
  failed: unknown;
}

const state = $state<State>({ me: undefined, failed: undefined });

/** Who is signed in, and what they may. Reading it in a component follows it. */
export const session = {
  get me(): Me | null | undefined {
    return state.me;
  },
  get failed(): unknown {
    return state.failed;
  },
  /** Whether an action on a db is worth offering; the server decides. */
  may(action: string, db: string): boolean {
    return state.me ? mayOn(state.me, action, db) : false;
  },
  can(what: keyof Me["can"]): boolean {
    return state.me?.can[what] ?? false;
  },
};

/** Asks who this is. Anything but "nobody" leaves what was known. */
export async function loadSession(): Promise<void> {
  state.failed = undefined;
  try {
    state.me = await get<Me>("/auth/me");
  } catch (error) {
    if (isApiError(error) && error.status === 401) state.me = null;
    else state.failed = error;
  }
}

export async function signOut(everywhere = false): Promise<void> {
  const { redirect } = (await post<{ redirect: string | null } | undefined>("/auth/logout", {
    everywhere,
  })) ?? {
    redirect: null,
  };
  state.me = null;
  location.hash = "#/login";
  if (redirect !== null) location.assign(redirect);
}

onSignedOut(() => {
  if (state.me) state.me = null;
});
