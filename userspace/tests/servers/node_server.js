// The model API of the live tests on Node.
"use strict";

const http = require("node:http");

function send(response, status, value) {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
}

function predict(request, response) {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    let x;
    try {
      x = JSON.parse(Buffer.concat(parts).toString()).x;
    } catch {
      x = undefined;
    }
    if (typeof x !== "number") return send(response, 422, { detail: "x must be a number" });
    send(response, 200, { y: x * 2 });
  });
}

function stream(response, n, ms) {
  let i = 0;
  response.writeHead(200, { "content-type": "text/event-stream" });
  const timer = setInterval(() => {
    response.write(`data: ${i}\n\n`);
    i += 1;
    if (i === n) response.end();
    if (i === n || response.destroyed) clearInterval(timer);
  }, ms);
}

http
  .createServer((request, response) => {
    const url = new URL(request.url, "http://localhost");
    const item = /^\/items\/(\d+)$/.exec(url.pathname);
    if (request.method === "POST" && url.pathname === "/predict") return predict(request, response);
    if (item && Number(item[1]) < 1000) return send(response, 200, { item: Number(item[1]) });
    if (url.pathname === "/fail") return send(response, 500, { detail: "this route always fails" });
    if (url.pathname === "/slow") {
      const ms = Number(url.searchParams.get("ms"));
      return void setTimeout(() => send(response, 200, { ms }), ms);
    }
    if (url.pathname === "/stream") {
      const [n, ms] = ["n", "ms"].map((name) => Number(url.searchParams.get(name)));
      return stream(response, n, ms);
    }
    send(response, 404, { detail: "not found" });
  })
  .listen(8000, "0.0.0.0");
