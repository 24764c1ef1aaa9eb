"""The user's Python code: imported and loaded, called with rows, its answers looked at."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from penstock.core.child import ChildFailed, ChildLost
from penstock.core.errors import InvalidInput, ModelFailed
from penstock.core.values import Array
from penstock.runtimes.describe import first_line
from penstock.runtimes.running import Run, of_columns

DOUBLE_BYTES: Final = 8


def load_callable(target: str, path: str | None, folder: str) -> Callable[..., Any]:
    """Import `module:attribute` and return the function of rows that it is or has.

    Args:
        target: `module:attribute`.
        path: what `load` is called with, if there is one.
        folder: the spec's, which is importable.

    Raises:
        ImportError: a module of that name has been loaded, and is not the one in the folder.
        Exception: whatever the user's module raises.
        TypeError: the attribute is not a function, nor a class with `predict`.
    """
    name, _, attribute = target.partition(":")
    module = importlib.import_module(name)
    _refuse_namesake(module, folder)
    found: Any = getattr(module, attribute)
    if not inspect.isclass(found):
        if not callable(found):
            raise TypeError(f"{target} is neither a function nor a class with `predict`")
        function: Callable[..., Any] = found
        return function
    instance = found()
    load = getattr(instance, "load", None)
    if load is not None:
        if is_async(load):
            raise TypeError(f"`load` of {target} is async; it has to be an ordinary method")
        load(path) if path is not None else load()
    predict: Callable[..., Any] | None = getattr(instance, "predict", None)
    if not callable(predict):
        raise TypeError(f"the class {target} has no `predict`")
    return predict


def _refuse_namesake(module: ModuleType, folder: str) -> None:
    """Refuse another module of the same name: it would answer for the one that was meant."""
    meant = Path(folder, *module.__name__.split("."))
    for file in (meant.with_suffix(".py"), meant / "__init__.py"):
        loaded = getattr(module, "__file__", None)
        if file.exists() and (loaded is None or Path(loaded).resolve() != file.resolve()):
            raise ImportError(f"another module {module.__name__} is loaded already: {loaded}")


def as_run(function: Callable[[Array], Any], model: str, columns: int = 0) -> Run:
    """Return the user's function as a `Run`: its errors translated, its answer an array.

    Args:
        function: gets rows of its own, which it may change.
        model: its name.
        columns: how many scores it must give a row, as many as it has labels; 0 for any number.
    """

    def run(rows: Array) -> Array:
        try:
            answer = function(rows.copy())
        except InvalidInput as error:  # one of our own: the user's may be raised again and again
            raise InvalidInput(error.message, error.path) from error
        except BaseException as error:  # also what would end the server, or nobody would answer
            raise ModelFailed(model) from error
        return of_columns(as_scores(answer, model), model, columns)

    return run


def as_scores(answer: Any, model: str) -> Array:  # noqa: ANN401 - whatever the user returns
    """Return a callable's answer as an array `[n, ...]` of numbers, at least two axes.

    Raises:
        ModelFailed: it is not an array of numbers.
    """
    try:
        scores: Array = np.array(answer)  # a copy: the user may fill the same array again
    except ValueError as error:
        raise ModelFailed(model, "gave rows of different lengths") from error
    except BaseException as error:  # its `__array__` is the user's code, too
        raise _not_numbers(answer, model) from error
    if scores.dtype.kind == "b":
        scores = scores.astype(np.int64)
    if scores.dtype.kind == "f" and scores.dtype.itemsize > DOUBLE_BYTES:
        scores = scores.astype(np.float64)  # no answer can carry more
    if scores.dtype.kind not in "fiu" or scores.ndim == 0:
        raise _not_numbers(answer, model)
    if 0 in scores.shape[1:]:
        raise ModelFailed(model, "gave rows without a number")
    return scores if scores.ndim > 1 else scores.reshape(len(scores), 1)


def _not_numbers(answer: object, model: str) -> ModelFailed:
    return ModelFailed(model, f"gave {type(answer).__name__}, not rows of numbers")


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether calling `function` gives something to be awaited."""
    call = getattr(function, "__call__", None)  # noqa: B004 - an object may be callable by a method
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def in_one_line(error: BaseException) -> str:
    """Return an error's type and what it says; a child's errors say their own type."""
    line = first_line(error)
    name = type(error).__name__
    return line if isinstance(error, ChildFailed | ChildLost) or line == name else f"{name}: {line}"
