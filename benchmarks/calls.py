"""The requests that the servers are asked, with the answers that prove them right."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from benchmarks.models import ARMS, SEED, SMALL_INPUT_WIDTH, WIDE_INPUT_WIDTH, iris
from benchmarks.server import Call

IRIS_ROW: Final = [5.1, 3.5, 1.4, 0.2]
LARGE_BODY_BYTES: Final = 10_000_000
MAX_ROWS: Final = 10_000


def predicted(model: Path, rows: list[list[float]]) -> list[Any]:
    """What the model itself says: its last output, ZipMap's maps or a tensor, flat for one row."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    scores = session.run(None, {name: np.array(rows, np.float32)})[-1]
    maps = isinstance(scores, list)
    answers = [list(row.values()) for row in scores] if maps else scores.tolist()
    return answers[0] if len(rows) == 1 else answers


def call_of(rows: list[list[float]], answer: dict[str, Any]) -> Call:
    """A prediction of some rows."""
    return Call(path="/predict", body=json.dumps({"data": rows}).encode(), answer=answer)


def iris_call() -> Call:
    """One row for the iris SVC."""
    return call_of([IRIS_ROW], {"prediction": predicted(iris("svc"), [IRIS_ROW])})


def fan_out_call() -> Call:
    """One row for the three one-versus-rest models."""
    answers = {arm: {"prediction": predicted(iris(arm), [IRIS_ROW])} for arm in ARMS}
    return call_of([IRIS_ROW], answers)


def small_call(model: Path) -> Call:
    """One small row for a model that widens it inside its graph."""
    rng = np.random.default_rng(SEED)
    row: list[float] = rng.uniform(0, 1, SMALL_INPUT_WIDTH).round(2).tolist()
    return call_of([row], {"prediction": predicted(model, [row])})


def large_rows() -> list[list[float]]:
    """As many wide rows as fit into 10 MB of JSON, which must be less than the limit on rows."""
    rng = np.random.default_rng(SEED)
    rows: list[list[float]] = rng.uniform(0, 1, (MAX_ROWS, WIDE_INPUT_WIDTH)).round(3).tolist()
    size_bytes = np.cumsum([len(json.dumps(row)) + 2 for row in rows])
    fitting = int(np.searchsorted(size_bytes, LARGE_BODY_BYTES - len('{"data": []}')))
    if fitting >= MAX_ROWS:
        message = f"{MAX_ROWS} rows are smaller than {LARGE_BODY_BYTES} bytes: widen them"
        raise ValueError(message)
    return rows[:fitting]


def large_call(model: Path) -> Call:
    """A body of nearly 10 MB for the wide model."""
    rows = large_rows()
    return call_of(rows, {"prediction": predicted(model, rows)})
