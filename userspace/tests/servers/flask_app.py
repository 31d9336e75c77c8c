"""The model API of the live tests on Flask, for its own development server."""

import time

from flask import Flask, Response, abort, request

app = Flask(__name__)


@app.post("/predict")
def predict():
    x = request.get_json().get("x")
    if not isinstance(x, int | float):
        return {"detail": "x must be a number"}, 422
    return {"y": x * 2}


@app.get("/items/<int:item>")
def item(item):
    if item >= 1000:
        abort(404)
    return {"item": item}


@app.get("/fail")
def fail():
    raise RuntimeError("this route always fails")


@app.get("/slow")
def slow():
    ms = int(request.args["ms"])
    time.sleep(ms / 1000)
    return {"ms": ms}


@app.get("/stream")
def stream():
    n, ms = int(request.args["n"]), int(request.args["ms"])

    def chunks():
        for i in range(n):
            time.sleep(ms / 1000)
            yield f"data: {i}\n\n"

    return Response(chunks(), mimetype="text/event-stream")
