import start from "../modeltap-web.js";

start({ module_or_path: new URL("../modeltap-web_bg.wasm", import.meta.url) }).catch((error) => {
  const text = document.getElementById("boot-text");
  if (text) {
    text.textContent = "This page could not start: " + error;
  }
  throw error;
});
