"""Docker's answers about cgroups that stand for containers: docker.py SOCKET ID=PID...

An emulated guest has no Docker; what the daemon asks of it, it asks here.
"""

import json
import os
import socketserver
import sys
import time
from http.server import BaseHTTPRequestHandler

CONTAINERS = dict(word.split("=") for word in sys.argv[2:])


def name(container):
    return "/bench-" + container[:8]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def address_string(self):
        return ""

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Api-Version", "1.44")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path.endswith("/version"):
            self.answer({"ApiVersion": "1.44", "MinAPIVersion": "1.24", "Version": "25.0"})
        elif path.endswith("/events"):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            time.sleep(3600)
        elif path.endswith("/containers/json"):
            self.answer([{"Id": each, "Names": [name(each)]} for each in CONTAINERS])
        else:
            container = path.split("/")[-2]
            self.answer(
                {
                    "Id": container,
                    "Name": name(container),
                    "State": {"Pid": int(CONTAINERS[container]), "Running": True},
                    "Config": {"Image": "bench", "Labels": {}},
                }
            )


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


if os.path.exists(sys.argv[1]):
    os.unlink(sys.argv[1])
Server(sys.argv[1], Handler).serve_forever()
