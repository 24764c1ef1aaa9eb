from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pytest

from penstock.core.clock import Clock
from penstock.core.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelFailed,
    ModelFileError,
    NotReady,
    Overloaded,
)
from penstock.core.measures import ModelMeasure
from penstock.core.model import ModelSource
from penstock.core.predictor import OpenModel
from penstock.core.values import InferenceRequest
from penstock.runtimes.callable import PROCESS_LIMIT_S, TRY_OUT_S, open_callable, placed
from penstock.runtimes.probe import Cost
from penstock.runtimes.running import MAX_QUEUED_ROWS
from tests.runtimes.conftest import UserCode
from tests.runtimes.contract import QUICK_S, Passing
from tests.support import START_S, ManualClock, Start, both_ways, hops, nothing_loose, settle

IN_A_PROCESS: Final = "in a process of its own, batched while busy"
EVERYWHERE: Final = ("inline", "thread", "process")

Open: TypeAlias = Callable[..., AbstractAsyncContextManager[OpenModel]]
"""Opens `attribute` of the text of a module: `opened(text, attribute, **options)`."""


@pytest.fixture
def opened(user_code: UserCode, tmp_path: Path) -> Open:
    @asynccontextmanager
    async def open_it(
        text: str,
        attribute: str = "predict",
        *,
        clock: Clock | None = None,
        **options: Any,  # noqa: ANN401 - ModelSource's own
    ) -> AsyncIterator[OpenModel]:
        runtime = f"{user_code(text)}:{attribute}"
        source = ModelSource(name="m", folder=tmp_path, runtime=runtime, **options)
        async with open_callable(source, clock=clock or ManualClock()) as model:
            yield model

    return open_it


def asking(
    *rows: tuple[float, ...], deadline_s: float = START_S + 30.0, labelled: bool = False
) -> InferenceRequest:
    table = np.array(rows, dtype=np.float64)
    return InferenceRequest("r", "x", {"data": table}, deadline_s, 7, labelled)


async def answer(model: OpenModel, *rows: tuple[float, ...]) -> object:
    return (await model.predict(asking(*rows))).primary.tolist()


async def refused(opening: AbstractAsyncContextManager[OpenModel]) -> str:
    """Return why a callable cannot be opened: one line, and no process is left."""
    with pytest.raises(ModelFileError) as caught:
        async with opening:
            pass
    await settle()
    assert str(caught.value).startswith("model m: user_code_")
    assert "\n" not in str(caught.value)
    return caught.value.what


# --- what a callable may be --------------------------------------------------------------

KINDS: Final = """
    from pathlib import Path

    def function(rows):
        return rows.sum(axis=1)

    class Model:
        def load(self, path=None):
            self.factor = 1.0 if path is None else float(Path(path).read_text())

        def predict(self, rows):
            return rows.sum(axis=1) * self.factor

    class Called:
        def __call__(self, rows):
            return rows.sum(axis=1)

    called = Called()
"""


@pytest.mark.parametrize("execution", EVERYWHERE)
@pytest.mark.parametrize("attribute", ["function", "Model"])
async def test_a_function_or_a_class_is_opened(
    opened: Open, attribute: str, execution: str
) -> None:
    async with opened(KINDS, attribute, execution=execution) as model:
        assert await answer(model, (1, 2), (3, 4)) == [[3.0], [7.0]]
        assert await answer(model, (1, 2, 3)) == [[6.0]]  # without a sample, any width
        assert model.description.inputs[0].shape == (-1, -1)
        assert model.description.outputs[0].shape == (-1, -1)
        assert model.description.version == ""
        assert model.description.source == "m"
        assert await model.health(START_S) is True


@pytest.mark.parametrize("execution", ["thread", "process"])
async def test_a_class_loads_its_file(opened: Open, tmp_path: Path, execution: str) -> None:
    file = tmp_path / "factor.txt"
    file.write_text("10")
    async with opened(KINDS, "Model", execution=execution, path=file) as model:
        assert await answer(model, (1, 2)) == [[30.0]]
        assert model.description.source == "factor.txt"


async def test_an_object_that_can_be_called(opened: Open) -> None:
    async with opened(KINDS, "called") as model:
        assert await answer(model, (1, 2)) == [[3.0]]


@pytest.mark.parametrize("execution", EVERYWHERE)
async def test_it_imports_what_stands_beside_it(
    opened: Open, user_code: UserCode, execution: str
) -> None:
    beside = user_code("FACTOR = 4")
    text = f"import {beside}\ndef predict(rows):\n    return rows * {beside}.FACTOR"
    async with opened(text, execution=execution) as model:
        assert await answer(model, (1, 2)) == [[4.0, 8.0]]


async def test_a_folder_is_put_behind_the_path_once(opened: Open, tmp_path: Path) -> None:
    for _ in range(2):
        async with opened(KINDS, "function"):
            pass
    assert sys.path.count(str(tmp_path)) == 1
    assert sys.path[-1] == str(tmp_path)  # nothing in it replaces a library


# --- its file ----------------------------------------------------------------------------


@pytest.mark.parametrize("execution", EVERYWHERE)
async def test_a_file_has_a_version_and_its_digest_is_looked_at(
    opened: Open, tmp_path: Path, execution: str
) -> None:
    file = tmp_path / "factor.txt"
    file.write_text("10")
    digest = hashlib.sha256(b"10").hexdigest()
    options = {"execution": execution, "path": file}
    for sha256 in (None, digest):
        async with opened(KINDS, "Model", sha256=sha256, **options) as model:
            assert model.description.version == digest[:12]
            response = await model.predict(asking((1, 2)))
            assert response.version == digest[:12]
            assert hops(response) == [f"model:m@{digest[:12]}"]
    with pytest.raises(ModelFileError) as caught:
        async with opened(KINDS, "Model", sha256="0" * 64, **options):
            pass
    assert str(caught.value) == (
        f"model m: {file}: its sha256 is {digest}, the spec says {'0' * 64}"
    )


PATH_ONLY: Final = """
    class Model:
        def load(self, path):
            self.path = path

        def predict(self, rows):
            return [[len(self.path)]] * len(rows)
"""


@pytest.mark.parametrize("name", ["", "none", "n" * 300, "a\0b"])
async def test_a_path_of_no_file_is_the_callables_own_affair(
    opened: Open, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    async with opened(PATH_ONLY, "Model", path=path) as model:
        assert model.description.version == ""
        assert await answer(model, (1, 2)) == [[len(str(path))]]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("", "cannot be read: is a directory"),
        ("none", "there is no such file"),
        ("n" * 300, "cannot be read: file name too long"),
        ("a\0b", "is no path of a file"),
    ],
)
async def test_a_digest_is_of_a_file(opened: Open, tmp_path: Path, name: str, what: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        async with opened(PATH_ONLY, "Model", path=tmp_path / name, sha256="0" * 64):
            pass
    assert caught.value.what == what


# --- samples and labels ------------------------------------------------------------------

SHARES: Final = """
    def predict(rows):
        return rows / rows.sum(axis=1, keepdims=True)
"""


@pytest.mark.parametrize("execution", EVERYWHERE)
async def test_a_sample_tells_the_shapes(opened: Open, execution: str) -> None:
    async with opened(SHARES, sample=((1, 1, 2),), execution=execution) as model:
        (rows,), (scores,) = model.description.inputs, model.description.outputs
        assert (rows.datatype, rows.shape) == ("float64", (-1, 3))
        assert (scores.datatype, scores.shape) == ("float64", (-1, 3))
        assert model.description.sample is not None
        assert model.description.sample.tolist() == [[1.0, 1.0, 2.0]]
        with pytest.raises(InvalidInput, match=r"^model m takes \[rows, 3\], got \[1, 2\]$"):
            await answer(model, (1, 2))


@pytest.mark.parametrize("execution", EVERYWHERE)
async def test_labels_go_by_column(opened: Open, execution: str) -> None:
    async with opened(SHARES, labels=("a", "b"), execution=execution) as model:
        response = await model.predict(asking((1, 3), (3, 1), labelled=True))
        assert response.primary.tolist() == ["b", "a"]
        with pytest.raises(ModelFailed, match=r"gave answers of shape \[3\] for 2 labels$"):
            await model.predict(asking((1, 2, 3), labelled=True))


async def test_labels_have_to_fit_the_sample(opened: Open) -> None:
    what = await refused(opened(SHARES, sample=((1, 1, 2),), labels=("a", "b")))
    assert what == ("it fails on its own sample: model m gave answers of shape [3] for 2 labels")


@pytest.mark.parametrize(
    ("sample", "what"),
    [
        ((), "sample has no rows"),
        ((1, 2), "sample has the shape [2], expected [-1, -1]"),
        (((),), "sample[0] has 0 values, expected at least 1"),
        (((1, 2), (3,)), "sample[1] has 1 values, expected 2"),
        (((1, "b"),), "sample[0][1] is 'b', not a number"),
    ],
)
async def test_a_sample_has_to_be_rows(opened: Open, sample: tuple[Any, ...], what: str) -> None:
    assert await refused(opened(SHARES, sample=sample)) == what


# --- what cannot be opened ---------------------------------------------------------------


UNLOADABLE: Final = [
    ("import nothing_of_that_name", "ModuleNotFoundError: No module named"),
    ("def predict(rows)\n    return rows", "SyntaxError: expected ':'"),
    ("1 / 0", "ZeroDivisionError: division by zero"),
    ("x = 1", "AttributeError: module 'user_code_"),
    ("predict = 1", "TypeError: user_code_"),
    ("class predict: pass", "TypeError: the class user_code_"),
    (
        "class predict:\n    def load(self): raise OSError('no such\\nweights')",
        "OSError: no such",
    ),
    ("class predict:\n    def __init__(self, path): pass", "TypeError: predict.__init__()"),
    ("class predict:\n    async def load(self): pass", "TypeError: `load` of user_code_"),
]


@pytest.mark.parametrize(("text", "what"), UNLOADABLE)
async def test_what_cannot_be_loaded(opened: Open, text: str, what: str) -> None:
    said = await refused(opened(text))
    assert said.startswith(f"it cannot be loaded: {what}")


@pytest.mark.parametrize(("text", "what"), UNLOADABLE[::3])
async def test_what_cannot_be_loaded_in_a_process(opened: Open, text: str, what: str) -> None:
    said = await refused(opened(text, execution="process"))
    assert said.startswith(f"it cannot be loaded: {what}")


@pytest.mark.parametrize(
    ("execution", "what"),
    [
        (None, "it cannot be loaded: SystemExit: 2"),
        ("process", "it cannot be loaded: the process ended before it answered"),
    ],
)
async def test_a_module_that_ends_the_process(
    opened: Open, execution: str | None, what: str
) -> None:
    assert await refused(opened("import sys\nsys.exit(2)", execution=execution)) == what


async def test_a_module_that_is_not_there(tmp_path: Path) -> None:
    source = ModelSource(name="m", folder=tmp_path, runtime="user_code_of_nobody:predict")
    what = await refused(open_callable(source, clock=ManualClock()))
    assert what.startswith("it cannot be loaded: ModuleNotFoundError")


FAILING: Final = """
    import numpy as np
    from penstock.core.errors import InvalidInput

    def raises(rows):
        raise ValueError("so\\nbad")

    def refuses(rows):
        raise InvalidInput("no such flower")

    def nothing(rows):
        return None

    def two_for_one(rows):
        return [1, 2]

    def infinite(rows):
        return rows * np.inf
"""


@pytest.mark.parametrize("execution", EVERYWHERE)
@pytest.mark.parametrize(
    ("attribute", "what"),
    [
        ("raises", "ValueError: so"),
        ("refuses", "no such flower"),
        ("nothing", "model m gave NoneType, not rows of numbers"),
        ("two_for_one", "model m gave 2 rows for 1"),
        ("infinite", "model m answers NaN or infinity for row 0: its values are outside what"),
    ],
)
async def test_a_callable_that_fails_on_its_own_sample(
    opened: Open, attribute: str, what: str, execution: str
) -> None:
    said = await refused(opened(FAILING, attribute, sample=((1, 2),), execution=execution))
    assert said.startswith(f"it fails on its own sample: {what}")


class Impatient(ManualClock):
    """A clock on which what it is asked to wake has always taken too long."""

    def __init__(self) -> None:
        super().__init__()
        self.woken_s: list[float] = []

    def call_at(self, when_s: float, callback: Callable[[], None]) -> Any:  # noqa: ANN401
        self.woken_s.append(when_s)
        self.advance(when_s - self.now_s())
        return super().call_at(when_s, callback)


async def test_a_callable_that_takes_too_long_for_its_own_sample(opened: Open) -> None:
    clock = Impatient()
    opening = opened(KINDS, "function", sample=((1,),), execution="process", clock=clock)
    assert await refused(opening) == ("it fails on its own sample: the deadline passed at model m")
    assert clock.woken_s[0] == START_S + TRY_OUT_S


# --- answers and failures ----------------------------------------------------------------


@pytest.mark.parametrize("execution", EVERYWHERE)
@pytest.mark.parametrize(
    ("attribute", "what"),
    [
        ("raises", "model m raised an error"),
        ("nothing", "model m gave NoneType, not rows of numbers"),
        ("two_for_one", "model m gave 2 rows for 1"),
    ],
)
async def test_a_callable_that_fails_does_so_alike_everywhere(
    opened: Open, attribute: str, what: str, execution: str
) -> None:
    async with opened(FAILING, attribute, execution=execution) as model:
        with pytest.raises(ModelFailed) as caught:
            await answer(model, (1, 2))
        assert str(caught.value) == what
        cause = caught.value.__cause__
        assert ("so" in str(cause)) if attribute == "raises" else cause is None


REFUSING: Final = """
    from penstock.core.errors import InvalidInput

    {a}def predict(rows):
        if (rows < 0).any():
            raise InvalidInput("a length is not negative", "$.data[0][1]")
        return rows
"""


@pytest.mark.parametrize("execution", [*EVERYWHERE, "async"])
async def test_a_callable_may_refuse_an_input(opened: Open, execution: str) -> None:
    is_async = execution == "async"
    text = REFUSING.format(a="async " if is_async else "")
    async with opened(text, execution="inline" if is_async else execution) as model:
        found = await asyncio.gather(
            *(model.predict(asking((1, value))) for value in (1, -1, 2)), return_exceptions=True
        )
        assert [isinstance(one, InvalidInput) for one in found] == [False, True, False]
        assert isinstance(found[1], InvalidInput)
        assert str(found[1]) == "a length is not negative"
        assert found[1].path == "$.data[0][1]"


ENDING: Final = """
    class Ends(BaseException):
        pass

    {a}def predict(rows):
        if rows[0, 0] == 1:
            raise SystemExit(3)
        if rows[0, 0] == 2:
            raise KeyboardInterrupt
        if rows[0, 0] == 3:
            raise Ends
        return rows
"""


@both_ways
@pytest.mark.parametrize("execution", [*EVERYWHERE, "async"])
async def test_not_even_what_ends_programs_ends_the_server(
    start: Start, opened: Open, execution: str
) -> None:
    is_async = execution == "async"
    text = ENDING.format(a="async " if is_async else "")
    async with opened(text, execution="inline" if is_async else execution) as model:
        async with nothing_loose():
            asked = [start(model.predict(asking((value,)))) for value in (1, 2, 9, 3)]
            found = await asyncio.gather(*asked, return_exceptions=True)
        for i, cause in ((0, "SystemExit"), (1, "KeyboardInterrupt"), (3, "Ends")):
            failed = found[i]
            assert isinstance(failed, ModelFailed)
            assert str(failed) == "model m raised an error"
            assert cause in repr(failed.__cause__)
        assert await start(answer(model, (9,))) == [[9.0]]


@pytest.mark.parametrize("execution", [*EVERYWHERE, "async"])
async def test_errors_that_are_raised_again_and_again_have_their_own_trails(
    opened: Open, execution: str
) -> None:
    is_async = execution == "async"
    text = """
        from penstock.core.errors import InvalidInput, ModelFailed

        ERRORS = [InvalidInput("no", "$.data[0]"), ModelFailed("another")]

        {a}def predict(rows):
            raise ERRORS[int(rows[0, 0])]
    """.format(a="async " if is_async else "")
    async with opened(text, execution="inline" if is_async else execution) as model:
        for kind, row in [(InvalidInput, (0,)), (ModelFailed, (1,))] * 2:
            with pytest.raises(kind) as caught:
                await answer(model, row)
            assert hops(caught.value) == [f"model:m!{kind.code}"]
            assert "another" not in str(caught.value)


REUSING: Final = """
    import numpy as np

    buffer = np.zeros((100, 1))

    {a}def predict(rows):
        buffer[: len(rows)] = rows * 2
        return buffer[: len(rows)]
"""


@pytest.mark.parametrize("execution", [*EVERYWHERE, "async"])
async def test_a_callable_may_fill_the_same_array_again(opened: Open, execution: str) -> None:
    is_async = execution == "async"
    text = REUSING.format(a="async " if is_async else "")
    async with opened(text, execution="inline" if is_async else execution) as model:
        first = await model.predict(asking((1,)))
        many = await asyncio.gather(*(model.predict(asking((i,))) for i in range(50)))
        assert first.primary.tolist() == [[2.0]]
        assert [one.primary.tolist() for one in many] == [[[i * 2.0]] for i in range(50)]


CHANGING: Final = """
    {a}def predict(rows):
        rows *= 2
        return rows
"""


@pytest.mark.parametrize("execution", [*EVERYWHERE, "async"])
async def test_a_callable_may_change_its_rows(opened: Open, execution: str) -> None:
    is_async = execution == "async"
    text = CHANGING.format(a="async " if is_async else "")
    sample = ((1.0, 2.0),)
    options = {"sample": sample, "execution": "inline" if is_async else execution}
    async with opened(text, **options) as model:
        request = asking((1, 2))
        for _ in range(2):
            assert (await model.predict(request)).primary.tolist() == [[2.0, 4.0]]
        assert request.tensors["data"].tolist() == [[1.0, 2.0]]
        assert model.description.sample is not None
        assert model.description.sample.tolist() == [[1.0, 2.0]]


DYING: Final = """
    import os, signal

    def predict(rows):
        if (rows == 666).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return [[os.getpid()]] * len(rows)
"""


@both_ways
async def test_a_process_that_is_killed_is_started_anew(start: Start, opened: Open) -> None:
    async with opened(DYING, execution="process") as model, nothing_loose():
        before = await start(answer(model, (1,)))
        with pytest.raises(ModelFailed, match=r"^model m raised an error$"):
            await start(answer(model, (666,)))
        after = await start(answer(model, (1,)))
        assert before != after
        assert os.getpid() not in (before, after)


async def test_closing_ends_the_process(opened: Open) -> None:
    async with opened(DYING, execution="process") as model:
        ((pid,),) = (await model.predict(asking((1,)))).primary.tolist()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)
    with pytest.raises(NotReady):
        await answer(model, (1,))


# --- where it runs -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one_s", "eight_s", "execution"),
    [
        (PROCESS_LIMIT_S * 1.1, 1.0, "process"),
        (PROCESS_LIMIT_S, 1.0, "thread"),
        (PROCESS_LIMIT_S, None, "thread"),
        (20e-6, 30e-6, "inline"),
        (20e-6, None, "inline"),
    ],
)
def test_a_callable_is_placed_by_what_it_costs(
    one_s: float, eight_s: float | None, execution: str
) -> None:
    assert placed(Cost(one_s, eight_s)) == execution


WHERE: Final = """
    import os, threading

    def predict(rows):
        return [[os.getpid(), threading.get_ident()]] * len(rows)

    def alone(rows):
        (row,) = rows
        return [[os.getpid(), threading.get_ident()]]
"""


@pytest.mark.parametrize(
    ("step_s", "running", "same_process", "same_thread"),
    [
        (QUICK_S, "inline, batched per tick", True, True),
        (PROCESS_LIMIT_S * 0.9, "in a thread, batched while busy", True, False),
        (PROCESS_LIMIT_S * 1.1, IN_A_PROCESS, False, False),
    ],
)
async def test_it_runs_where_measuring_says(
    opened: Open, step_s: float, running: str, *, same_process: bool, same_thread: bool
) -> None:
    clock = Passing()
    clock.step_s = step_s
    async with opened(WHERE, sample=((1,),), clock=clock) as model:
        clock.step_s = 0.0
        assert model.running == running
        ((pid, thread),) = (await model.predict(asking((1,)))).primary.tolist()
        assert (pid == os.getpid()) is same_process
        assert (thread == threading.get_ident()) is same_thread


@pytest.mark.parametrize("step_s", [QUICK_S, PROCESS_LIMIT_S * 0.9, PROCESS_LIMIT_S * 1.1])
async def test_a_callable_of_one_row_gets_one_row(opened: Open, step_s: float) -> None:
    clock = Passing()
    clock.step_s = step_s
    async with opened(WHERE, "alone", sample=((1,),), clock=clock) as model:
        clock.step_s = 0.0
        response = await model.predict(asking((1,), (2,), (3,)))
        assert response.primary.shape == (3, 2)


@pytest.mark.parametrize(
    ("execution", "running"),
    [
        (None, "in a thread, batched while busy"),
        ("inline", "inline, batched per tick"),
        ("thread", "in a thread, batched while busy"),
        ("process", IN_A_PROCESS),
    ],
)
async def test_without_a_sample_nothing_is_measured(
    opened: Open, execution: str | None, running: str
) -> None:
    async with opened(WHERE, execution=execution) as model:
        assert model.running == running


NORMALISING: Final = """
    batches = []

    def predict(rows):
        batches.append(len(rows))
        return rows - rows.mean(axis=0)
"""


@pytest.mark.parametrize("sample", [((1, 2),), ((0, 0),), ((-3, 0.5),)])
@pytest.mark.parametrize("execution", [None, "inline", "thread"])
async def test_a_callable_that_normalises_its_batch_is_never_batched(
    opened: Open, sample: tuple[Any, ...], execution: str | None
) -> None:
    clock = Passing()
    clock.step_s = QUICK_S
    async with opened(NORMALISING, sample=sample, execution=execution, clock=clock) as model:
        clock.step_s = 0.0
        assert model.running.endswith("singly")
        module = model_module()
        del module.batches[:]
        rows = [(1.0, 2.0), (5.0, 6.0), (9.0, 0.0)]
        found = await asyncio.gather(*(answer(model, row) for row in rows), answer(model, *rows))
        assert found == [[[0.0, 0.0]]] * 3 + [[[0.0, 0.0]] * 3]
        assert set(module.batches) == {1}


async def test_a_callable_that_normalises_its_batch_is_not_batched_in_a_process(
    opened: Open,
) -> None:
    clock = Passing()
    clock.step_s = PROCESS_LIMIT_S * 1.1
    async with opened(NORMALISING, sample=((1, 2),), clock=clock) as model:
        clock.step_s = 0.0
        assert model.running == IN_A_PROCESS
        assert await answer(model, (1, 2), (5, 6)) == [[0.0, 0.0]] * 2


COUNTING: Final = """
    batches = []

    def predict(rows):
        batches.append(len(rows))
        return rows
"""


async def test_without_a_sample_rows_still_go_together(opened: Open) -> None:
    async with opened(COUNTING) as model:
        many = np.arange(100.0).reshape(100, 1)
        request = InferenceRequest("r", "x", {"data": many}, START_S + 30.0, 7)
        np.testing.assert_array_equal((await model.predict(request)).primary, many)
        assert model_module().batches == [32, 32, 32, 4]


# --- async callables ---------------------------------------------------------------------

ASYNC: Final = """
    import asyncio

    async def in_time(rows):
        async with asyncio.timeout(60):  # needs a Task
            await asyncio.sleep(0)
        return rows * 2

    class Model:
        async def predict(self, rows):
            await asyncio.sleep(0)
            return rows * 2

    class Called:
        async def __call__(self, rows):
            return rows * 2

    called = Called()

    async def raises(rows):
        raise ValueError("so bad")

    async def gives_up(rows):
        raise asyncio.CancelledError

    async def late(rows):
        async with asyncio.timeout(0):
            await asyncio.get_running_loop().create_future()

    ended = []

    async def waits(rows):
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(len(rows))
"""


@both_ways
@pytest.mark.parametrize("attribute", ["in_time", "Model", "called"])
async def test_an_async_callable_runs_in_a_task(start: Start, opened: Open, attribute: str) -> None:
    async with opened(ASYNC, attribute, sample=((1, 2),)) as model, nothing_loose():
        assert model.running == "inline, as a coroutine"
        assert await start(answer(model, (1, 2), (3, 4))) == [[2.0, 4.0], [6.0, 8.0]]


@both_ways
@pytest.mark.parametrize(
    ("attribute", "cause"),
    [("raises", ValueError), ("gives_up", asyncio.CancelledError), ("late", TimeoutError)],
)
async def test_an_async_callable_that_fails(
    start: Start, opened: Open, attribute: str, cause: type
) -> None:
    async with opened(ASYNC, attribute) as model, nothing_loose():
        with pytest.raises(ModelFailed, match=r"^model m raised an error$") as caught:
            await start(answer(model, (1, 2)))
        assert type(caught.value.__cause__) is cause


@both_ways
async def test_an_async_callable_is_cancelled_at_its_deadline(start: Start, opened: Open) -> None:
    clock = ManualClock()
    async with opened(ASYNC, "waits", clock=clock) as model, nothing_loose():
        ended: list[int] = model_module().ended
        late = start(model.predict(asking((1, 2), deadline_s=START_S + 1.0)))
        gone = start(model.predict(asking((1, 2), (3, 4))))
        await clock.elapse(0.5)
        assert ended == []
        await clock.elapse(0.5)
        with pytest.raises(DeadlineExceeded):
            await late
        assert ended == [1]
        gone.cancel()
        await settle()
        assert gone.cancelled()
        assert ended == [1, 2]


@both_ways
async def test_what_an_async_callable_has_under_way_is_bounded(start: Start, opened: Open) -> None:
    clock = ManualClock()
    async with opened(ASYNC, "waits", clock=clock) as model, nothing_loose():
        most = np.zeros((MAX_QUEUED_ROWS, 1))
        first = start(model.predict(InferenceRequest("r", "x", {"d": most}, START_S + 1.0, 7)))
        await settle()
        with pytest.raises(Overloaded, match=r"^no room in model m: at most 20000 rows wait"):
            await start(answer(model, (1,)))
        await clock.elapse(1.0)
        with pytest.raises(DeadlineExceeded):
            await first
        again = start(model.predict(asking((1,), deadline_s=START_S + 2.0)))
        await clock.elapse(1.0)
        with pytest.raises(DeadlineExceeded):
            await again


def model_module() -> Any:  # noqa: ANN401 - a module of the test's own
    return next(m for name, m in sys.modules.items() if name.startswith("user_code_"))


@both_ways
async def test_an_async_callable_under_way_is_left_to_end(start: Start, opened: Open) -> None:
    text = """
        import asyncio
        gate = asyncio.Event()

        async def predict(rows):
            await gate.wait()
            return rows
    """
    async with opened(text) as model:
        under_way = start(answer(model, (1, 2)))
        await settle()
        gate = model_module().gate
    with pytest.raises(NotReady, match=r"^model m is not ready$"):
        await answer(model, (1, 2))
    gate.set()
    assert await under_way == [[1.0, 2.0]]


@pytest.mark.parametrize("execution", ["thread", "process"])
async def test_an_async_callable_runs_nowhere_else(opened: Open, execution: str) -> None:
    what = await refused(opened(ASYNC, "in_time", execution=execution))
    assert what.endswith(f"an async callable runs inline, not in a {execution}")


@pytest.mark.parametrize("execution", [*EVERYWHERE, "async"])
async def test_its_runs_are_counted(opened: Open, execution: str) -> None:
    is_async = execution == "async"
    text = REUSING.format(a="async " if is_async else "")
    counted = ModelMeasure()
    where = "inline" if is_async else execution
    async with opened(text, execution=where, measure=counted) as model:
        before = counted.rows.total
        await asyncio.gather(*(model.predict(asking((i,), (i,))) for i in range(3)))
        assert counted.rows.total == before + 6.0
    assert counted.queued_rows == 0
