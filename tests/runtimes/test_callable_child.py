from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.core.child import Child, ChildFailed, ChildLost
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
from penstock.runtimes.callable_child import (
    MAX_RUN_S,
    TARGET,
    ChildWorker,
    serve_in_child,
    unpacked,
)
from tests.runtimes.conftest import UserCode
from tests.support import ManualClock, Start, both_ways, nothing_loose, settle

CODE = """
    import os, signal, sys, threading
    import numpy as np
    from penstock.core.errors import InvalidInput

    def predict(rows):
        first = rows[:, 0]
        if (first == 13).any():
            raise ValueError("13 brings bad luck")
        if (first == 404).any():
            raise InvalidInput("there is no such flower", "$.data[0][0]")
        if (first == 500).any():
            return ["text"]
        if (first == 666).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if (first == 667).any():
            sys.exit(3)
        if (first == 77).any():
            threading.Event().wait()
        rows *= 2
        return np.where(rows < 0, np.nan, rows)

    async def waits(rows):
        return rows
"""


def column(*values: float) -> Array:
    return np.array([[value] for value in values])


@pytest.fixture
def importable(tmp_path: Path) -> Iterator[None]:
    sys.path.insert(0, str(tmp_path))
    yield
    sys.path.remove(str(tmp_path))


def packed(rows: Array) -> list[Any]:
    return [rows.dtype.str, list(rows.shape), rows.tobytes()]


# --- the child's end ---------------------------------------------------------------------


@pytest.mark.usefixtures("importable")
def test_it_answers_each_request_by_itself(user_code: UserCode, tmp_path: Path) -> None:
    serve = serve_in_child(f"{user_code(CODE)}:predict", None, str(tmp_path), "m", 0)
    assert serve([]) == []
    (kind, *content) = serve([packed(column(1, 2))])[0]
    assert kind == "rows"
    assert unpacked(*content).tolist() == [[2], [4]]
    answers = serve([packed(column(*v)) for v in ((1,), (1, -1), (13,), (404,), (500,), (667,))])
    assert answers == [
        ["rows", "<f8", [1, 1], np.array([2.0]).tobytes()],
        ["answer_not_finite", 1],
        ["model_failed", "raised an error", "ValueError: 13 brings bad luck"],
        ["invalid_input", "there is no such flower", "$.data[0][0]"],
        ["model_failed", "gave list, not rows of numbers", None],
        ["model_failed", "raised an error", "SystemExit: 3"],
    ]


@pytest.mark.usefixtures("importable")
def test_it_looks_at_the_number_of_scores(user_code: UserCode, tmp_path: Path) -> None:
    serve = serve_in_child(f"{user_code(CODE)}:predict", None, str(tmp_path), "m", 3)
    assert serve([packed(column(1))]) == [
        ["model_failed", "gave answers of shape [1] for 3 labels", None]
    ]


@pytest.mark.usefixtures("importable")
def test_it_does_not_serve_what_has_to_be_awaited(user_code: UserCode, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="an async callable runs inline"):
        serve_in_child(f"{user_code(CODE)}:waits", None, str(tmp_path), "m", 0)


def test_a_namesake_is_refused_there_too(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("def predict(rows): return rows")
    with pytest.raises(ImportError, match="another module json is loaded already"):
        serve_in_child("json:predict", None, str(tmp_path), "m", 0)


# --- both ends ---------------------------------------------------------------------------


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def worker(
    user_code: UserCode, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[ChildWorker]:
    arguments = (f"{user_code(CODE)}:predict", None, str(tmp_path), "m", 0)
    child = Child(TARGET, arguments, import_paths=[str(tmp_path)])
    made = ChildWorker(child, model="m", clock=clock)
    yield made
    made.close()
    await settle()


async def test_errors_come_through_as_what_they_are(worker: ChildWorker) -> None:
    async with nothing_loose():
        good, infinite, raised, refused, odd = await worker(
            [column(1), column(1, -1), column(13), column(404), column(500)]
        )
    assert isinstance(good, np.ndarray)
    assert good.tolist() == [[2.0]]
    assert isinstance(infinite, AnswerNotFinite)
    assert (infinite.row, str(infinite).split()[1]) == (1, "m")
    assert isinstance(raised, ModelFailed)
    assert str(raised) == "model m raised an error"
    assert isinstance(raised.__cause__, ChildFailed)
    assert str(raised.__cause__) == "ValueError: 13 brings bad luck"
    assert isinstance(refused, InvalidInput)
    assert (str(refused), refused.path) == ("there is no such flower", "$.data[0][0]")
    assert isinstance(odd, ModelFailed)
    assert str(odd) == "model m gave list, not rows of numbers"
    assert odd.__cause__ is None


async def test_who_ends_the_process_fails_nobody_else(worker: ChildWorker) -> None:
    answers = await worker([column(1), column(666), column(2), column(666)])
    assert [kind_of(answer) for answer in answers] == [[[2.0]], ModelFailed, [[4.0]], ModelFailed]
    for failed in (answers[1], answers[3]):
        assert isinstance(failed, ModelFailed)
        assert isinstance(failed.__cause__, ChildLost)
    assert [kind_of(answer) for answer in await worker([column(3)])] == [[[6.0]]]


def kind_of(answer: Array | ServingError) -> object:
    return answer.tolist() if isinstance(answer, np.ndarray) else type(answer)


@both_ways
async def test_a_process_that_hangs_is_ended_and_the_next_run_works(
    start: Start, worker: ChildWorker, clock: ManualClock
) -> None:
    assert [kind_of(answer) for answer in await worker([column(1)])] == [[[2.0]]]
    process = worker._child._process
    assert process is not None

    async def hang() -> Answers:
        return await worker([column(1), column(77)])

    async with nothing_loose():
        hanging = start(hang())
        await clock.elapse(MAX_RUN_S - 1.0)
        assert not hanging.done()
        assert process.poll() is None
        await clock.elapse(1.0)
        answers = await hanging
        assert process.returncode == -signal.SIGKILL
        for answer in answers:
            assert isinstance(answer, ModelFailed)
            assert str(answer) == ("model m did not answer within 60 s; its process has been ended")
            assert isinstance(answer.__cause__, DeadlineExceeded)
        assert answers[0] is not answers[1]
    assert [kind_of(answer) for answer in await worker([column(2)])] == [[[4.0]]]
    assert worker._child.starts == 2
    assert clock.timers == 0


async def test_a_callable_that_can_no_longer_be_loaded(worker: ChildWorker, tmp_path: Path) -> None:
    assert [kind_of(answer) for answer in await worker([column(1)])] == [[[2.0]]]
    spoil(tmp_path)
    assert [kind_of(answer) for answer in await worker([column(666)])] == [ModelFailed]
    answers = await worker([column(1), column(2)])
    assert [str(getattr(answer, "__cause__", "")) for answer in answers] == [
        "OSError: the disk is gone"
    ] * 2
    assert answers[0] is not answers[1]


def spoil(folder: Path) -> None:
    for path in folder.glob("user_code_*.py"):
        path.write_text("raise OSError('the disk is gone')\n")


async def test_closed_it_is_not_ready_and_starts_no_process(worker: ChildWorker) -> None:
    await worker([column(1)])
    worker.close()
    answers = await worker([column(1), column(2)])
    assert [kind_of(answer) for answer in answers] == [NotReady] * 2
    assert not worker._child.alive
