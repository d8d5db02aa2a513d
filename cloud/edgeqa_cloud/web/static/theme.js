// Before the page is painted: the theme that was chosen on this browser, or the system's.
"use strict";
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("edgeqa-theme");
  } catch {
    // A browser that keeps nothing for us: the system's theme it is.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
