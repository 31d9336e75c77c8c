"""The model API of the live tests as plain WSGI, for gunicorn's workers."""

import json
import time
from urllib.parse import parse_qs


def predict(environ):
    # A chunked body has no length; servers that take one end it themselves.
    length = environ.get("CONTENT_LENGTH")
    body = environ["wsgi.input"].read(int(length)) if length else environ["wsgi.input"].read()
    try:
        x = float(json.loads(body)["x"])
    except (ValueError, KeyError, TypeError):
        return "422 Unprocessable Content", {"detail": "x must be a number"}
    return "200 OK", {"y": x * 2}


def answer(environ):
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if (method, path) == ("POST", "/predict"):
        return predict(environ)
    if method == "GET" and path.startswith("/items/") and int(path[7:]) < 1000:
        return "200 OK", {"item": int(path[7:])}
    if (method, path) == ("GET", "/fail"):
        return "500 Internal Server Error", {"detail": "this route always fails"}
    if (method, path) == ("GET", "/slow"):
        ms = int(parse_qs(environ["QUERY_STRING"])["ms"][0])
        time.sleep(ms / 1000)
        return "200 OK", {"ms": ms}
    return "404 Not Found", {"detail": "not found"}


def stream(n, ms):
    for i in range(n):
        time.sleep(ms / 1000)
        yield f"data: {i}\n\n".encode()


def app(environ, start_response):
    if environ["PATH_INFO"] == "/stream":
        query = parse_qs(environ["QUERY_STRING"])
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return stream(int(query["n"][0]), int(query["ms"][0]))
    status, value = answer(environ)
    body = json.dumps(value).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
