"""The bare app: plain ASGI and msgspec, the model run inline as it was shipped.

What a user who knows the field writes by hand when the framework is too slow: no validation beyond
the types, no ids, no metrics, no log, no batching. ZipMap is left in and every output asked for.
`BENCH_MODEL` names the model's file.
"""

import os
from typing import Any, Final

import msgspec
import numpy as np
import onnxruntime

from benchmarks.servers.asgi import Message, Receive, Send, read_body, respond


class Body(msgspec.Struct):
    """The body of a prediction request."""

    data: list[list[float]]


class Answer(msgspec.Struct):
    """The body of a prediction: flat for one row, nested for several."""

    prediction: list[Any]


def open_session(path: str) -> onnxruntime.InferenceSession:
    """Opens the model with one thread: the server has one core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


SESSION: Final = open_session(os.environ["BENCH_MODEL"])
INPUT_NAME: Final = SESSION.get_inputs()[0].name
DECODER: Final = msgspec.json.Decoder(Body)
ENCODER: Final = msgspec.json.Encoder()


def predict(data: list[list[float]]) -> Answer:
    """Runs the model and reads the scores out of its last output, ZipMap's maps or a tensor."""
    scores = SESSION.run(None, {INPUT_NAME: np.array(data, dtype=np.float32)})[-1]
    maps = isinstance(scores, list)
    rows = [list(row.values()) for row in scores] if maps else scores.tolist()
    return Answer(rows[0] if len(rows) == 1 else rows)


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answers `POST /predict` and `GET /health`."""
    match scope["path"]:
        case "/predict":
            try:
                body = DECODER.decode(await read_body(receive))
            except msgspec.MsgspecError:
                await respond(send, 422, b'{"error":"not a prediction request"}')
                return
            await respond(send, 200, ENCODER.encode(predict(body.data)))
        case "/health":
            await respond(send, 200, b'{"health":"ok"}')
        case _:
            await respond(send, 404, b'{"error":"not found"}')
