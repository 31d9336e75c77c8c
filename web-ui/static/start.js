import start from "../modeltap-web.js";

// What is said before the page can say anything itself.
const words = {
  en: ["Loading modeltap…", "This page could not start: "],
  "zh-TW": ["正在載入 modeltap…", "無法啟動這個頁面："],
}[document.documentElement.lang];
const text = document.getElementById("boot-text");
text.textContent = words[0];

start({ module_or_path: new URL("../modeltap-web_bg.wasm", import.meta.url) }).catch((error) => {
  text.textContent = words[1] + error;
  throw error;
});
