// Runs before the first paint, so that a light page does not flash dark and a
// Chinese one says nothing in English.
(function () {
  function remembered(key) {
    try {
      return localStorage.getItem(key);
    } catch (_) {
      // Storage is forbidden: the system decides.
      return null;
    }
  }
  var root = document.documentElement;
  var theme = remembered("modeltap.theme");
  if (theme !== "dark" && theme !== "light") {
    theme = matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
  }
  root.dataset.theme = theme;
  // As `words::Lang::of_tag` has it.
  var tags = [remembered("modeltap.language") || ""].concat(navigator.languages || []);
  var tag = tags.find(function (tag) {
    return /^(en|zh)([-_]|$)/i.test(tag);
  });
  root.lang = /^zh/i.test(tag || "") ? "zh-TW" : "en";
})();
