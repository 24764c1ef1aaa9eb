"""Opening specs for the gateway's tests: from text, with the test's own clock and recorder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from penstock.core.clock import Clock
from penstock.core.errors import SpecError
from penstock.core.predictor import Description
from penstock.core.record import Record
from penstock.gateway.gateway import Gateway
from penstock.gateway.serving import Served, reserved_words
from penstock.graph.build import AVAILABLE
from penstock.graph.open import open_graph
from penstock.spec.check import check_models, examine
from penstock.spec.problems import errors
from penstock.spec.read import read_text

ROOT: Final = Path(__file__).parents[2]
MODELS: Final = ROOT / "models"
EXAMPLE: Final = ROOT / "examples" / "iris.yaml"
CALLABLES: Final = Path(__file__).parent / "callables"
PUBLISHED: Final = ROOT.parent / "shared" / "models"

needs_published = pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason=f"the published samples' models are not at {PUBLISHED}"
)

FLOWER: Final = """
models:
  flower: {runtime: "gateway_callables:flower", execution: inline,
           labels: [setosa, versicolor, virginica], sample: [[1, 2, 3, 4]]}
routes:
  iris: flower
"""


def served_of(
    text: str, *, folder: Path = CALLABLES, environment: Mapping[str, str] | None = None
) -> Served:
    """Read, decode and check a spec.

    Raises:
        SpecError: it has mistakes.
    """
    source = read_text(text, environment or {}, Path("spec.yaml"))
    spec, problems = examine(source, reserved=reserved_words(), available=AVAILABLE)
    if spec is None:
        raise SpecError(tuple(str(problem) for problem in errors(problems)))
    return Served(spec, folder, source.lines)


@asynccontextmanager
async def open_gateway(
    text: str,
    *,
    folder: Path = CALLABLES,
    clock: Clock | None = None,
    recorder: Callable[[Record], None] | None = None,
) -> AsyncIterator[Gateway]:
    """Open the spec in `text` as a gateway; it has a default route only if it names one."""
    served = served_of(text, folder=folder)

    def check_opened(descriptions: Mapping[str, Description]) -> None:
        wrong = errors(check_models(served.spec, descriptions, served.lines))
        if wrong:
            raise SpecError(tuple(map(str, wrong)))

    opening = open_graph(
        served.spec, folder=folder, check_models=check_opened, clock=clock, recorder=recorder
    )
    async with opening as graph:
        gateway = Gateway(graph, served)
        try:
            yield gateway
        finally:
            gateway.close()


def predicted(path: Path, rows: list[list[float]]) -> npt.NDArray[Any]:
    """Return a model's scores for `rows`, as ONNX Runtime gives them: no code of ours in between.

    A ZipMap's maps become rows again.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    data = np.array(rows, dtype=np.float32)
    outputs = session.run(None, {session.get_inputs()[0].name: data})
    scores = outputs[-1]
    if isinstance(scores, list):
        return np.array([list(row.values()) for row in scores], dtype=np.float32)
    return np.asarray(scores)
