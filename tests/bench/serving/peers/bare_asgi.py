"""The floor of the comparison: one ASGI callable on uvicorn that checks nothing, logs nothing, and knows this one model."""

import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime as ort
import orjson
import uvicorn

Event = MutableMapping[str, Any]
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])


async def app(scope: Event, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]) -> None:
    if scope["method"] == "POST":
        tensor = orjson.loads((await receive())["body"])["inputs"][0]
        label, scores = session.run(None, {"X": np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])})
        body = orjson.dumps({"outputs": [{"data": label.tolist()}, {"data": scores.tolist()}]})
    else:
        body = b"{}"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="error")
