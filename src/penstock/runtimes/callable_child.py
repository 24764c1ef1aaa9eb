"""The user's Python code in a process of its own: what runs batches there, at both ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, final

import numpy as np

from penstock.core.child import Child, ChildFailed, ChildLost
from penstock.core.clock import Clock
from penstock.core.drive import within
from penstock.core.errors import (
    AnswerNotFinite,
    DeadlineExceeded,
    InvalidInput,
    ModelFailed,
    NotReady,
    ServingError,
)
from penstock.core.values import Array
from penstock.runtimes.busy import Answers
from penstock.runtimes.callable_code import as_run, in_one_line, is_async, load_callable
from penstock.runtimes.running import run_batch

TARGET: Final = "penstock.runtimes.callable_child:serve_in_child"
"""What the child process imports."""

MAX_RUN_S: Final = 60.0
"""A run that takes longer hangs: the process is ended, and started anew for the next one."""


@final
class ChildWorker:
    """Runs batches in a child process.

    A process that ends takes its batch with it. The requests are then run one by one, in a process
    started anew, so that the one that ends processes does not fail its neighbours.

    Args:
        child: serves `serve_in_child`.
        model: its name.
        clock: for how long a run may take.
    """

    def __init__(self, child: Child, *, model: str, clock: Clock) -> None:
        self._clock = clock
        self._child = child
        self._model = model
        self._closed = False

    async def __call__(self, batch: Sequence[Array], /) -> Answers:
        """Run the batch in the child."""
        calling = self._child.call([_packed(rows) for rows in batch])
        latest_s = self._clock.now_s() + MAX_RUN_S
        try:
            answers = await within(latest_s, calling, clock=self._clock, name="run")
        except DeadlineExceeded as error:
            self._child.kill()
            what = f"did not answer within {MAX_RUN_S:g} s; its process has been ended"
            return [self._failed(error, what) for _ in batch]
        except (ChildFailed, ChildLost) as error:
            if self._closed:
                return [NotReady(f"model {self._model}") for _ in batch]
            if isinstance(error, ChildLost) and len(batch) > 1:
                return [answer for rows in batch for answer in await self([rows])]
            return [self._failed(error) for _ in batch]
        return [self._unpacked(*answer) for answer in answers]

    def _unpacked(self, kind: str, *content: Any) -> Array | ServingError:  # noqa: ANN401
        match kind:
            case "rows":
                return unpacked(*content)
            case "invalid_input":
                return InvalidInput(*content)
            case "answer_not_finite":
                return AnswerNotFinite(self._model, *content)
            case _:
                what, cause = content
                return self._failed(None if cause is None else ChildFailed(cause), what)

    def _failed(self, cause: Exception | None, what: str = "raised an error") -> ModelFailed:
        error = ModelFailed(self._model, what)
        error.__cause__ = cause
        return error

    def close(self) -> None:
        """End the process, also under a run."""
        self._closed = True
        self._child.close()


def _packed(rows: Array) -> list[Any]:
    return [rows.dtype.str, list(rows.shape), rows.tobytes()]


def unpacked(dtype: str, shape: Sequence[int], content: bytes) -> Array:
    """Return the array that was packed as datatype, shape and bytes."""
    array: Array = np.frombuffer(content, dtype=dtype).reshape(shape)
    return array


def serve_in_child(
    target: str, path: str | None, folder: str, model: str, columns: int
) -> Callable[[Any], list[list[Any]]]:
    """Load the callable, in the child process; return what runs batches there."""
    function = load_callable(target, path, folder)
    if is_async(function):
        raise TypeError("an async callable runs inline, not in a process")
    run = as_run(function, model, columns)

    def serve(batch: list[list[Any]]) -> list[list[Any]]:
        answers = run_batch(run, model, [unpacked(*rows) for rows in batch]) if batch else []
        return [_answer(answer, model) for answer in answers]

    return serve


def _answer(answer: Array | ServingError, model: str) -> list[Any]:
    match answer:
        case InvalidInput():
            return ["invalid_input", answer.message, answer.path]
        case AnswerNotFinite():
            return ["answer_not_finite", answer.row]
        case ServingError():
            cause = answer.__cause__
            what = answer.message.removeprefix(f"model {model} ")
            return ["model_failed", what, None if cause is None else in_one_line(cause)]
        case _:
            return ["rows", *_packed(answer)]
