"""The model API of the live tests on Python's own http.server: a thread a connection."""

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def do_POST(self):
        body = self.body()
        if self.path != "/predict":
            return self.send(404, {"detail": "not found"})
        try:
            x = float(json.loads(body)["x"])
        except (ValueError, KeyError, TypeError):
            return self.send(422, {"detail": "x must be a number"})
        self.send(200, {"y": x * 2})

    def do_GET(self):
        url = urlsplit(self.path)
        query = {name: int(values[0]) for name, values in parse_qs(url.query).items() if values[0].isdigit()}
        if url.path.startswith("/items/") and int(url.path[7:]) < 1000:
            return self.send(200, {"item": int(url.path[7:])})
        if url.path == "/fail":
            return self.send(500, {"detail": "this route always fails"})
        if url.path == "/slow":
            time.sleep(query["ms"] / 1000)
            return self.send(200, query)
        if url.path == "/stream":
            return self.stream(query["n"], query["ms"])
        self.send(404, {"detail": "not found"})

    def stream(self, n, ms):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for i in range(n):
            time.sleep(ms / 1000)
            event = f"data: {i}\n\n".encode()
            # A chunk is three writes here.
            self.wfile.write(f"{len(event):x}\r\n".encode())
            self.wfile.write(event)
            self.wfile.write(b"\r\n")
        self.wfile.write(b"0\r\n\r\n")


ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
