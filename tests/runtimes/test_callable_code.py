from __future__ import annotations

import asyncio
import functools
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.core.child import ChildFailed, ChildLost
from penstock.core.errors import InvalidInput, ModelFailed, NotReady
from penstock.core.values import Array
from penstock.runtimes.callable_code import (
    as_run,
    as_scores,
    in_one_line,
    is_async,
    load_callable,
)
from tests.runtimes.conftest import UserCode

ROWS = np.array([[1.0, 2.0], [3.0, 4.0]])


@pytest.fixture
def importable(tmp_path: Path) -> Iterator[None]:
    sys.path.insert(0, str(tmp_path))
    yield
    sys.path.remove(str(tmp_path))


# --- load_callable -----------------------------------------------------------------------

CODE = """
    class Model:
        def load(self, path=None):
            self.path = path
            self.loads = getattr(self, "loads", 0) + 1

        def predict(self, rows):
            return [[self.path, self.loads]]

    class Unloaded:
        def predict(self, rows):
            return rows

    class Asynchronous:
        async def load(self):
            pass

        async def predict(self, rows):
            return rows

    class Fitted:
        predict = None

    class Empty:
        pass

    class Called:
        def __call__(self, rows):
            return rows

    def function(rows):
        return rows

    called = Called()
    number = 7
"""


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize("attribute", ["function", "called", "Unloaded"])
def test_a_function_an_object_or_a_class_is_loaded(
    user_code: UserCode, tmp_path: Path, attribute: str
) -> None:
    found = load_callable(f"{user_code(CODE)}:{attribute}", None, str(tmp_path))
    assert found(ROWS) is ROWS


@pytest.mark.usefixtures("importable")
def test_a_class_is_told_once_where_its_file_is(user_code: UserCode, tmp_path: Path) -> None:
    module, folder = user_code(CODE), str(tmp_path)
    assert load_callable(f"{module}:Model", "a/file.bin", folder)(ROWS) == [["a/file.bin", 1]]
    assert load_callable(f"{module}:Model", None, folder)(ROWS) == [[None, 1]]


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize(
    ("attribute", "sentence"),
    [
        ("number", "{}:number is neither a function nor a class with `predict`"),
        ("Empty", "the class {}:Empty has no `predict`"),
        ("Fitted", "the class {}:Fitted has no `predict`"),
        ("Asynchronous", "`load` of {}:Asynchronous is async; it has to be an ordinary method"),
    ],
)
def test_other_things_are_not_loaded(
    user_code: UserCode, tmp_path: Path, attribute: str, sentence: str
) -> None:
    module = user_code(CODE)
    with pytest.raises(TypeError) as caught:
        load_callable(f"{module}:{attribute}", None, str(tmp_path))
    assert str(caught.value) == sentence.format(module)


@pytest.mark.usefixtures("importable")
def test_what_is_not_there_is_not_loaded(user_code: UserCode, tmp_path: Path) -> None:
    with pytest.raises(AttributeError, match="nothing"):
        load_callable(f"{user_code(CODE)}:nothing", None, str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="user_code_of_nobody"):
        load_callable("user_code_of_nobody:predict", None, str(tmp_path))


@pytest.mark.usefixtures("importable")
def test_a_package_and_its_modules_are_loaded(tmp_path: Path) -> None:
    package = tmp_path / "user_code_package"
    package.mkdir()
    (package / "__init__.py").write_text("def predict(rows): return rows")
    (package / "inner.py").write_text("def predict(rows): return rows")
    for name in ("user_code_package", "user_code_package.inner"):
        assert load_callable(f"{name}:predict", None, str(tmp_path))(ROWS) is ROWS


@pytest.mark.usefixtures("importable")
def test_what_is_installed_is_loaded_where_the_folder_has_no_such_module(tmp_path: Path) -> None:
    assert load_callable("numpy:exp", None, str(tmp_path)) is np.exp
    assert load_callable("math:exp", None, str(tmp_path)) is math.exp


@pytest.mark.parametrize("file", ["{}.py", "{}/__init__.py"])
@pytest.mark.parametrize("name", ["json", "math"])  # of a file, and of none
def test_a_namesake_from_elsewhere_is_refused(tmp_path: Path, file: str, name: str) -> None:
    path = tmp_path / file.format(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("def predict(rows): return rows")
    with pytest.raises(ImportError) as caught:
        load_callable(f"{name}:predict", None, str(tmp_path))
    where = getattr(sys.modules[name], "__file__", None)
    assert str(caught.value) == f"another module {name} is loaded already: {where}"


@pytest.mark.usefixtures("importable")
def test_a_folder_that_is_a_link_is_the_same_folder(user_code: UserCode, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path, target_is_directory=True)
    assert load_callable(f"{user_code(CODE)}:function", None, str(link))(ROWS) is ROWS


# --- is_async ----------------------------------------------------------------------------


async def waits(rows: Array) -> Array:
    return rows


def answers(rows: Array) -> Array:
    return rows


class Waits:
    async def __call__(self, rows: Array) -> Array:
        return rows

    async def predict(self, rows: Array) -> Array:
        return rows


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (waits, True),
        (Waits(), True),
        (Waits().predict, True),
        (functools.partial(waits), True),
        (answers, False),
        (functools.partial(answers), False),
        (np.log, False),
        (len, False),
    ],
)
def test_what_has_to_be_awaited_is_known(function: Callable[..., Any], *, expected: bool) -> None:
    assert is_async(function) is expected


# --- as_run ------------------------------------------------------------------------------


def test_a_function_becomes_a_run() -> None:
    assert as_run(lambda rows: rows * 2, "m")(ROWS).tolist() == [[2, 4], [6, 8]]


def test_a_function_may_change_its_rows() -> None:
    def scale(rows: Array) -> Array:
        rows /= 2
        return rows

    read_only = ROWS.copy()
    read_only.flags.writeable = False
    assert as_run(scale, "m")(read_only).tolist() == [[0.5, 1], [1.5, 2]]
    assert read_only.tolist() == ROWS.tolist()


class Ends(BaseException):
    """What no `except Exception` catches."""


@pytest.mark.parametrize(
    "error",
    [
        ValueError("so bad"),
        StopIteration(),
        SystemExit(2),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
        GeneratorExit(),
        Ends(),
        ModelFailed("another"),
        NotReady("another"),
    ],
    ids=repr,
)
def test_a_function_that_raises_fails_with_its_cause(error: BaseException) -> None:
    def fail(rows: Array) -> Array:
        raise error

    with pytest.raises(ModelFailed, match=r"^model m raised an error$") as caught:
        as_run(fail, "m")(ROWS)
    assert caught.value.__cause__ is error


def test_a_function_may_refuse_an_input() -> None:
    refusal = InvalidInput("a flower has no negative length", "$.data[0][1]")

    def refuse(rows: Array) -> Array:
        raise refusal

    found = []
    for _ in range(2):
        with pytest.raises(InvalidInput) as caught:
            as_run(refuse, "m")(ROWS)
        assert caught.value is not refusal  # each gets a trail of its own
        assert caught.value.__cause__ is refusal
        assert str(caught.value) == "a flower has no negative length"
        assert caught.value.path == "$.data[0][1]"
        found.append(caught.value)
    assert found[0] is not found[1]


def test_a_function_may_fill_the_same_array_again() -> None:
    buffer = np.zeros((2, 2))

    def double(rows: Array) -> Array:
        np.multiply(rows, 2, out=buffer)
        return buffer

    run = as_run(double, "m")
    first, second = run(ROWS), run(-ROWS)
    assert first.tolist() == [[2, 4], [6, 8]]
    assert second.tolist() == [[-2, -4], [-6, -8]]


def test_a_function_gives_as_many_scores_as_there_are_labels() -> None:
    assert as_run(answers, "m", 2)(ROWS).shape == (2, 2)
    with pytest.raises(ModelFailed, match=r"gave answers of shape \[2\] for 3 labels$"):
        as_run(answers, "m", 3)(ROWS)


# --- as_scores ---------------------------------------------------------------------------


class Graph:
    """As a tensor that is still part of a computation: it refuses to be an array."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __array__(self, dtype: object = None, copy: object = None) -> Array:
        raise self._error


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ([[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        ([0.5, 0.25], [[0.5], [0.25]]),
        ((1, 2, 3), [[1], [2], [3]]),
        ([True, False], [[1], [0]]),
        (np.array([[True, False]]), [[1, 0]]),
        (np.array([[0.5]], dtype=np.float32), [[0.5]]),
        (np.zeros((1, 2, 2)), [[[0, 0], [0, 0]]]),
        (np.array([[0.5]], dtype=np.longdouble), [[0.5]]),
        ([], []),
    ],
)
def test_an_answer_of_numbers_becomes_an_array(answer: object, expected: object) -> None:
    scores = as_scores(answer, "m")
    assert scores.tolist() == expected
    assert scores.ndim > 1
    assert scores.dtype.kind in "fiu"
    assert scores.dtype.itemsize <= 8


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ([[1, 2], [3]], "gave rows of different lengths"),
        ([[1], 2], "gave rows of different lengths"),
        (["a", "b"], "gave list, not rows of numbers"),
        ([None], "gave list, not rows of numbers"),
        ([1j], "gave list, not rows of numbers"),
        (np.array(["2024"], dtype="datetime64"), "gave ndarray, not rows of numbers"),
        (0.5, "gave float, not rows of numbers"),
        (np.float64(0.5), "gave float64, not rows of numbers"),
        (None, "gave NoneType, not rows of numbers"),
        ({"a": 1}, "gave dict, not rows of numbers"),
        ({1, 2}, "gave set, not rows of numbers"),
        ("12", "gave str, not rows of numbers"),
        (Graph(RuntimeError("it requires grad")), "gave Graph, not rows of numbers"),
        (Graph(SystemExit(2)), "gave Graph, not rows of numbers"),
        ([[], []], "gave rows without a number"),
    ],
)
def test_any_other_answer_is_a_failure_of_the_model(answer: object, what: str) -> None:
    with pytest.raises(ModelFailed) as caught:
        as_scores(answer, "m")
    assert str(caught.value) == f"model m {what}"


# --- in_one_line -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("so bad"), "ValueError: so bad"),
        (ValueError("so\nbad"), "ValueError: so"),
        (KeyError(), "KeyError"),
        (ChildFailed("ValueError: so bad\nindeed"), "ValueError: so bad"),
        (ChildLost("the process ended before it answered"), "the process ended before it answered"),
    ],
)
def test_an_error_is_told_in_one_line(error: Exception, line: str) -> None:
    assert in_one_line(error) == line
