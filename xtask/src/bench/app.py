"""The server of the bench: FastAPI as it is, or with what one might use instead of modeltap."""

import os

from fastapi import FastAPI

app = FastAPI()


@app.get("/items/{item}")
async def item(item: int):
    return {"item": item}


match os.environ.get("INSTRUMENTED_BY"):
    case "prometheus":
        from prometheus_fastapi_instrumentator import Instrumentator

        Instrumentator().instrument(app).expose(app)
    case "opentelemetry":
        from opentelemetry import metrics, trace
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider

        metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
        # Spans are made and go nowhere: an exporter costs more.
        trace.set_tracer_provider(TracerProvider())
        FastAPIInstrumentor.instrument_app(app)
