import { link, placeOf, type Place } from "./routes.ts";

export { link } from "./routes.ts";

const state = $state<{ place: Place }>({ place: placeOf(location.hash) });

/** `route.place` is where one is; reading it in a component follows it. */
export const route = {
  get place(): Place {
    return state.place;
  },
};

addEventListener("hashchange", () => {
  state.place = placeOf(location.hash);
});

/** Goes to `link(…)`. `replace`: without a step for the back button, as for a filter that is being typed. */
export function go(to: string, { replace = false }: { replace?: boolean } = {}): void {
  if (!replace) {
    location.hash = to;
    return;
  }
  history.replaceState(null, "", to);
  state.place = placeOf(location.hash);
}

/** Changes the query of the page one is on. */
export function setQuery(query: Readonly<Record<string, string | number | undefined>>): void {
  const path = location.hash.replace(/^#\/?/, "").split("?")[0] ?? "";
  const { query: now } = state.place;
  const next = link(path === "" ? [] : path.split("/").map(decodeURIComponent), { ...now, ...query });
  if (next !== location.hash) go(next, { replace: true });
}
