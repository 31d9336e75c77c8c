"""The model API of the live tests on FastAPI; every server here answers alike."""

import asyncio

from fastapi import FastAPI, HTTPException, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

app = FastAPI()


class Features(BaseModel):
    x: float


@app.post("/predict")
async def predict(features: Features):
    return {"y": features.x * 2}


@app.get("/items/{item}")
async def item(item: int):
    if item >= 1000:
        raise HTTPException(status_code=404)
    return {"item": item}


@app.get("/fail")
async def fail():
    raise RuntimeError("this route always fails")


@app.get("/slow")
async def slow(ms: int):
    await asyncio.sleep(ms / 1000)
    return {"ms": ms}


@app.get("/stream")
async def stream(n: int, ms: int):
    async def chunks():
        for i in range(n):
            await asyncio.sleep(ms / 1000)
            yield f"data: {i}\n\n"

    return StreamingResponse(chunks(), media_type="text/event-stream")


@app.websocket("/echo")
async def echo(socket: WebSocket):
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)
        await socket.send_text(text.upper())
