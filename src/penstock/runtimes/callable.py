"""Python callables: opens `module:attribute` of the user's as a predictor.

The attribute is a function of rows, `ndarray [n, k]` of float64, that returns n rows (a list, an
array `[n]` or `[n, m]`); or a class with `predict`, the same function as a method, and, if it
likes, `load`, called once with the model's path where the spec gives one. The spec's folder is
importable. The rows are the callable's own to change; they may be several callers', and two threads
may call it at once. To refuse an input, raise `penstock.core.errors.InvalidInput`.

The function, or `predict`, may be `async`; it then runs on the loop, each request by itself.

A callable holds the interpreter's lock, so one that takes over a millisecond runs in a process of
its own; see `execution`.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, TypeAlias, final

from penstock.core.child import Child, ChildFailed, ChildLost
from penstock.core.clock import Clock
from penstock.core.drive import within
from penstock.core.errors import (
    InvalidInput,
    ModelFailed,
    ModelFileError,
    NotReady,
    Overloaded,
    ServingError,
)
from penstock.core.measures import ModelMeasure
from penstock.core.model import ModelSource
from penstock.core.predictor import OpenModel, TensorSpec
from penstock.core.values import Array
from penstock.runtimes.busy import BusyBatched
from penstock.runtimes.callable_child import TARGET, ChildWorker
from penstock.runtimes.callable_code import as_run, as_scores, in_one_line, is_async, load_callable
from penstock.runtimes.describe import describe_model, sample_rows
from penstock.runtimes.leaf import ModelPredictor, Signature
from penstock.runtimes.onnx_file import VERSION_DIGITS, is_file, read_model_file
from penstock.runtimes.probe import (
    BATCH,
    THREAD_BATCH_ROWS,
    Cost,
    Way,
    choose,
    measure,
    runner_for,
)
from penstock.runtimes.running import MAX_QUEUED_ROWS, Run, Runner, checked, of_columns

Execution: TypeAlias = Literal["inline", "thread", "process"]

PROCESS_LIMIT_S: Final = 0.001
"""A callable that takes longer for one row runs in a process of its own."""

IN_A_PROCESS: Final = "in a process of its own, batched while busy"
AS_A_COROUTINE: Final = "inline, as a coroutine"
UNMEASURED: Final = Cost(one_s=PROCESS_LIMIT_S, eight_s=BATCH * PROCESS_LIMIT_S)
"""What is assumed of a callable without a sample."""

TRY_OUT_S: Final = 60.0


@asynccontextmanager
async def open_callable(source: ModelSource, /, *, clock: Clock) -> AsyncIterator[OpenModel]:
    """Import a callable of the user's and yield it as a predictor.

    Raises:
        ModelFileError: it cannot be imported or loaded, or fails on its own sample.
    """
    version = await asyncio.to_thread(_version, source)
    sample = sample_rows(source, _rows_spec(source))
    runner, running = await _open_runner(source, sample, clock)
    try:
        prediction = await _try_out(source, runner, sample, clock)
        signature = _signature(source, version, prediction)
        yield OpenModel(
            ModelPredictor(signature, runner=runner, clock=clock),
            describe_model(signature, source, sample),
            _healthy,
            running,
        )
    finally:
        runner.close()


async def _healthy(deadline_s: float) -> bool:
    return True


def _rows_spec(source: ModelSource) -> TensorSpec:
    width = -1
    if source.sample and isinstance(source.sample[0], (list, tuple)):
        width = len(source.sample[0])
    return TensorSpec("rows", "float64", (-1, width))


def _version(source: ModelSource) -> str:
    """Return the first digits of the file's digest; nothing where there is no file.

    Raises:
        ModelFileError: it cannot be read, or is another than the spec says.
    """
    if source.path is None or (source.sha256 is None and not is_file(source.path)):
        return ""
    digest = hashlib.sha256(read_model_file(source.name, source.path)).hexdigest()
    if source.sha256 is not None and digest != source.sha256:
        what = f"its sha256 is {digest}, the spec says {source.sha256}"
        raise ModelFileError(source.name, source.where, what)
    return digest[:VERSION_DIGITS]


def _signature(source: ModelSource, version: str, prediction: Array | None) -> Signature:
    if prediction is None:
        scores = TensorSpec("scores", "float64", (-1, -1))
    else:
        scores = TensorSpec("scores", prediction.dtype.name, (-1, *prediction.shape))
    return Signature(source.name, version, _rows_spec(source), scores, source.labels)


async def _open_runner(
    source: ModelSource, sample: Array | None, clock: Clock
) -> tuple[Runner, str]:
    name, counted = source.name, source.measure
    if source.execution == "process":
        return await _in_a_process(source, THREAD_BATCH_ROWS, clock), IN_A_PROCESS
    function = await asyncio.to_thread(_load, source)
    if is_async(function):
        _refuse_elsewhere(source)
        return _Coroutine(function, source, clock=clock), AS_A_COROUTINE
    run = as_run(function, name, len(source.labels))
    if sample is None:
        way = Way.TICK if source.execution == "inline" else Way.BUSY
        runner = runner_for(way, UNMEASURED, run, model=name, clock=clock, measure=counted)
        return runner, str(way)
    cost = await asyncio.to_thread(_measure, source, run, sample, clock)
    place: Execution = source.execution or placed(cost)
    if place == "process":
        max_rows = 1 if cost.eight_s is None else THREAD_BATCH_ROWS
        return await _in_a_process(source, max_rows, clock), IN_A_PROCESS
    way = choose(cost, place)
    return runner_for(way, cost, run, model=name, clock=clock, measure=counted), str(way)


def placed(cost: Cost) -> Execution:
    """Choose where a callable runs by what it costs."""
    if cost.one_s > PROCESS_LIMIT_S:
        return "process"
    return "inline" if choose(cost, None) in (Way.TICK, Way.SINGLY) else "thread"


def _refuse_elsewhere(source: ModelSource) -> None:
    if source.execution not in (None, "inline"):
        what = f"an async callable runs inline, not in a {source.execution}"
        raise ModelFileError(source.name, source.where, what)


def _measure(source: ModelSource, run: Run, sample: Array, clock: Clock) -> Cost:
    try:
        return measure(run, sample[:1], clock, batches=True)
    except ServingError as error:
        raise _fails_on_sample(source, error) from error


def _fails_on_sample(source: ModelSource, error: ServingError) -> ModelFileError:
    cause = error.__cause__
    told = isinstance(error, InvalidInput)
    what = error.message if cause is None or told else in_one_line(cause)
    return ModelFileError(source.name, source.where, f"it fails on its own sample: {what}")


async def _try_out(
    source: ModelSource, runner: Runner, sample: Array | None, clock: Clock
) -> Array | None:
    if sample is None:
        return None
    try:
        outputs = await runner(sample[:1], clock.now_s() + TRY_OUT_S)
    except ServingError as error:
        raise _fails_on_sample(source, error) from error
    first: Array = outputs[0]
    return first


async def _in_a_process(source: ModelSource, max_rows: int, clock: Clock) -> Runner:
    path = None if source.path is None else str(source.path)
    folder = str(source.folder.resolve())
    child = Child(
        TARGET,
        (source.runtime, path, folder, source.name, len(source.labels)),
        import_paths=(folder,),
    )
    loaded = False
    try:
        await child.call([])  # no rows yet: it imports and loads
        loaded = True
    except (ChildFailed, ChildLost) as error:
        raise _cannot_be_loaded(source, error) from error
    finally:
        if not loaded:
            child.close()
    worker = ChildWorker(child, model=source.name, clock=clock)
    return BusyBatched(
        worker,
        model=source.name,
        max_rows=max_rows,
        most_rows=max_rows,
        clock=clock,
        measure=source.measure,
    )


def _cannot_be_loaded(source: ModelSource, error: BaseException) -> ModelFileError:
    what = f"it cannot be loaded: {in_one_line(error)}"
    return ModelFileError(source.name, source.where, what)


def _load(source: ModelSource) -> Callable[..., Any]:
    assert source.runtime is not None
    folder = str(source.folder.resolve())
    if folder not in sys.path:
        sys.path.append(folder)  # behind everything: no file of the user's replaces a library's
    path = None if source.path is None else str(source.path)
    try:
        return load_callable(source.runtime, path, folder)
    except (Exception, SystemExit) as error:
        raise _cannot_be_loaded(source, error) from error


@final
class _Coroutine:
    """Runs an async callable, each request in a Task: such code may need one."""

    def __init__(
        self, function: Callable[[Array], Any], source: ModelSource, *, clock: Clock
    ) -> None:
        self._function = function
        self._model = source.name
        self._columns = len(source.labels)
        self._clock = clock
        self._measure = source.measure or ModelMeasure()
        self._closed = False
        self._rows = 0

    async def __call__(self, rows: Array, deadline_s: float, /) -> Array:
        name = f"model {self._model}"
        if self._closed:
            raise NotReady(name)
        if self._rows and self._rows + len(rows) > MAX_QUEUED_ROWS:
            raise Overloaded(name, MAX_QUEUED_ROWS, "rows")
        self._rows += len(rows)
        self._measure.rows.observe(len(rows))
        try:
            scores = await within(deadline_s, self._in_a_task(rows), clock=self._clock, name=name)
        finally:
            self._rows -= len(rows)
        return checked(lambda _: scores, self._model, rows)

    async def _in_a_task(self, rows: Array) -> Array:
        task = asyncio.ensure_future(self._contained(rows.copy()))
        try:
            scores = await task
        except InvalidInput as error:
            raise InvalidInput(error.message, error.path) from error
        except asyncio.CancelledError as error:
            if task.cancelling() or not task.cancelled():
                raise
            raise ModelFailed(self._model) from error  # nobody asked for that
        return of_columns(scores, self._model, self._columns)

    async def _contained(self, rows: Array) -> Array:
        """Call the function so that not even `sys.exit` in it ends the loop."""
        try:
            answer = await self._function(rows)
        except (InvalidInput, asyncio.CancelledError):
            raise
        except BaseException as error:
            raise ModelFailed(self._model) from error
        return as_scores(answer, self._model)  # at once: another request may change it

    def close(self) -> None:
        """Take no more; what is under way is left to end."""
        self._closed = True
