"""The runtimes as the shared contract sees them: each opens the same three models.

    flowers   four columns to three scores that have labels
    logarithm NaN where the row is below zero
    picky     raises where the row is 9

`test_contract.py` asks the same of every one of them.
"""

from __future__ import annotations

import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

from penstock.core.model import ModelSource, Runtime
from penstock.core.predictor import OpenModel
from penstock.runtimes.callable import open_callable
from penstock.runtimes.onnx import open_onnx
from tests.runtimes import graphs
from tests.runtimes.served import open_served
from tests.support import ManualClock

ROOT: Final = Path(__file__).parents[2]
MODELS: Final = ROOT / "models"
DATA: Final = ROOT / "tests" / "data" / "models"
LABELS: Final = ("setosa", "versicolor", "virginica")
QUICK_S: Final = 10e-6

ModelName: TypeAlias = Literal["flowers", "logarithm", "picky"]

CODE: Final = textwrap.dedent(
    """
    import numpy as np

    WEIGHT = np.array([[0.5, 0.1, -0.7], [1.0, -0.4, -0.4], [-1.5, 0.4, 1.3], [-0.7, -0.3, 1.1]])

    {a}def flowers(rows):
        scores = np.exp(rows @ WEIGHT / 8)
        return scores / scores.sum(axis=1, keepdims=True)

    {a}def logarithm(rows):
        with np.errstate(all="ignore"):
            return np.log(rows)

    {a}def picky(rows):
        table = [10.0, 11.0, 12.0, 13.0]
        return [[table[int(row)]] for row in rows[:, 0]]

    {a}def held(rows):
        with open({fifo!r}) as gate:  # until somebody opens it to write
            gate.read()
        return rows
    """
)


class Passing(ManualClock):
    """A clock that passes by `step_s` each time that somebody looks at it."""

    step_s = 0.0

    def now_s(self) -> float:
        now_s = super().now_s()
        self.advance(self.step_s)
        return now_s


class Case(Struct, frozen=True):
    """One way of one runtime.

    Attributes:
        name: for the test's id.
        runtime: opens the models.
        execution: where they run.
        running: how the open model says it runs.
        waits: whether requests wait for one another, in a queue.
        beside: whether the runs are not on the loop.
        make: writes what is opened into a folder and returns its source.
        remote: whether it is served elsewhere.
    """

    name: str
    runtime: Runtime
    execution: Literal["inline", "thread", "process"]
    running: str
    waits: bool
    beside: bool
    make: Callable[[Case, ModelName, Path], ModelSource]
    remote: bool = False

    def source(self, model: ModelName, folder: Path) -> ModelSource:
        """Return the source of one of the three models."""
        return self.make(self, model, folder)

    @asynccontextmanager
    async def open(
        self, model: ModelName, folder: Path, clock: Passing | None = None
    ) -> AsyncIterator[OpenModel]:
        """Open one of the three models; by the clock, eight rows take as long as one."""
        clock = clock or Passing()
        clock.step_s = QUICK_S
        async with self.runtime(self.source(model, folder), clock=clock) as opened:
            clock.step_s = 0.0
            yield opened


def _onnx(case: Case, model: ModelName, folder: Path) -> ModelSource:
    files = {
        "flowers": MODELS / "iris_svc.onnx",
        "logarithm": DATA / "nan_maker.onnx",
        "picky": DATA / "picky.onnx",
    }
    return _of_file(case, model, files[model])


def _fixed(case: Case, model: ModelName, folder: Path) -> ModelSource:
    if model == "flowers":
        return _of_file(case, model, DATA / "fixed_batch.onnx")
    content = {
        "logarithm": graphs.unary("Log", [1, 2]),
        "picky": graphs.lookup([10.0, 11.0, 12.0, 13.0], [1, 1]),
    }[model]
    path = folder / f"{model}.onnx"
    path.write_bytes(content)
    return _of_file(case, model, path)


def _of_file(case: Case, model: ModelName, path: Path) -> ModelSource:
    labels = LABELS if model == "flowers" else ()
    return of_file(model, path, labels=labels, execution=case.execution)


def of_file(name: str, path: Path, **options: Any) -> ModelSource:  # noqa: ANN401
    """Return the source of a file; `options` are `ModelSource`'s own."""
    return ModelSource(name=name, folder=path.parent, path=path, **options)


def _code(case: Case, model: ModelName, folder: Path) -> ModelSource:
    return code_source(case, model, folder)


def code_source(case: Case, attribute: str, folder: Path) -> ModelSource:
    """Return the source of a Python callable; its module is named by its folder."""
    module = f"user_code_{folder.name}_{case.name.replace('-', '_')}"
    is_async = "async " if case.name == "callable-async" else ""
    text = CODE.format(a=is_async, fifo=str(folder / "gate"))
    (folder / f"{module}.py").write_text(text, encoding="utf-8")
    return ModelSource(
        name=attribute,
        folder=folder,
        labels=LABELS if attribute == "flowers" else (),
        runtime=f"{module}:{attribute}",
        execution=case.execution,
    )


ONNX_INLINE: Final = Case(
    "onnx-inline", open_onnx, "inline", "inline, batched per tick", True, False, _onnx
)
ONNX_THREAD: Final = Case(
    "onnx-thread", open_onnx, "thread", "in a thread, batched while busy", True, True, _onnx
)
ONNX_FIXED: Final = Case("onnx-fixed", open_onnx, "inline", "inline, singly", True, False, _fixed)
INLINE: Final = Case(
    "callable-inline", open_callable, "inline", "inline, batched per tick", True, False, _code
)
THREAD: Final = Case(
    "callable-thread", open_callable, "thread", "in a thread, batched while busy", True, True, _code
)
PROCESS: Final = Case(
    "callable-process",
    open_callable,
    "process",
    "in a process of its own, batched while busy",
    True,
    True,
    _code,
)
ASYNC: Final = Case(
    "callable-async", open_callable, "inline", "inline, as a coroutine", False, False, _code
)
REMOTE: Final = Case(
    "remote", open_served, "inline", "remote, plain", False, False, _code, remote=True
)
CASES: Final = (ONNX_INLINE, ONNX_THREAD, ONNX_FIXED, INLINE, THREAD, PROCESS, ASYNC, REMOTE)
