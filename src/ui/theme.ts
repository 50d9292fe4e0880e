/** What a person chose; "system" follows the machine. Kept in this browser only. */
export type Theme = "system" | "light" | "dark";

const KEY = "skald-theme";

export function chosenTheme(): Theme {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === "light" || kept === "dark" ? kept : "system";
  } catch {
    // A browser that keeps nothing for this page refuses the question itself.
    return "system";
  }
}

/** Every colour is a pair that `color-scheme` chooses from, so this is all there is to do. */
export function showTheme(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}

export function chooseTheme(theme: Theme): void {
  showTheme(theme);
  try {
    if (theme === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // Then it lasts as long as the page.
  }
}
