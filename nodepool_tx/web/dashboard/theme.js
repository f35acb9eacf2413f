// @ts-check
/*
 * Light or dark: what the visitor chose last time, before anything is painted.
 *
 * The one script that is not a module, since modules run too late for this.
 * Without a choice the system decides (prefers-color-scheme, in theme.css).
 */
(() => {
  const KEY = "nodepool-theme";
  const CHOICES = ["auto", "light", "dark"];
  const WORDS = { auto: "Theme: system", light: "Theme: light", dark: "Theme: dark" };

  /** @returns {string} one of the choices; storage may be refused. */
  const chosen = () => {
    try {
      const found = localStorage.getItem(KEY) ?? "auto";
      return CHOICES.includes(found) ? found : "auto";
    } catch {
      return "auto";
    }
  };

  /** @param {string} choice */
  const apply = (choice) => {
    if (choice === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    const button = document.getElementById("theme");
    if (button) button.textContent = WORDS[choice];
  };

  let choice = chosen();
  apply(choice);
  document.addEventListener("DOMContentLoaded", () => {
    apply(choice);
    document.getElementById("theme")?.addEventListener("click", () => {
      choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
      try {
        localStorage.setItem(KEY, choice);
      } catch {
        // It holds until the page is closed.
      }
      apply(choice);
    });
  });
})();
