const phone = matchMedia("(max-width: 760px)");
const state = $state({ narrow: phone.matches, now: Date.now() });
phone.addEventListener("change", () => {
  state.narrow = phone.matches;
});
// One clock for every "3 minutes ago" on the page.
setInterval(() => {
  if (!document.hidden) state.now = Date.now();
}, 10_000);

export const viewport = {
  /** As wide as a phone: tables leave out what is not needed. */
  get narrow(): boolean {
    return state.narrow;
  },
  get now(): number {
    return state.now;
  },
};
