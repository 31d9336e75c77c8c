// Runs before the first paint, so that a light page does not flash dark.
(function () {
  var choice = null;
  try {
    choice = localStorage.getItem("modeltap.theme");
  } catch (_) {
    // Storage is forbidden: the system decides.
  }
  if (choice !== "dark" && choice !== "light") {
    choice = matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
  }
  document.documentElement.dataset.theme = choice;
})();
