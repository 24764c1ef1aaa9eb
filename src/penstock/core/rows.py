"""Rows: nested lists of numbers into a tensor, with a precise place for whatever is wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from penstock.core.errors import InvalidInput
from penstock.core.predictor import TensorSpec
from penstock.core.values import Array

NumberRange: TypeAlias = tuple[float, float]

ANY_ROWS: Final = TensorSpec("data", "float64", (-1, -1))
"""The input of a predictor that takes any rows."""


def is_integral(datatype: str) -> bool:
    """Tell whether tensors of this datatype hold whole numbers."""
    return np.dtype(datatype).kind in "iu"


def number_range(datatype: str) -> NumberRange:
    """Return the least and the largest number that the datatype can take, rounded to its own."""
    if is_integral(datatype):
        whole = np.iinfo(datatype)
        return int(whole.min), int(whole.max)
    largest = np.finfo(np.dtype(datatype)).max
    half_a_step = (float(largest) - float(np.nextafter(largest, 0))) / 2  # rounds to the largest
    bound = math.nextafter(float(largest) + half_a_step, 0.0)
    return -bound, bound


class RowReader:
    """Makes tensors of one input's datatype and shape out of nested lists of numbers.

    The lists hold `int` and `float` only, and no NaN, which JSON has not; the caller has seen to
    that.

    Args:
        spec: datatype and shape; the first axis is the rows, -1 is any length.
        path: what the lists are called in messages.
    """

    def __init__(self, spec: TensorSpec, path: str = "$.data") -> None:
        self._shape = spec.shape
        self._width = spec.shape[1] if len(spec.shape) == 2 else None
        self._path = path
        self._datatype = spec.datatype
        self._dtype = np.dtype(spec.datatype)
        self._least, self._largest = number_range(spec.datatype)

    def read(self, data: Sequence[Any]) -> Array:
        """Return the rows as a tensor `[rows, ...]`.

        Raises:
            InvalidInput: no rows, a wrong depth or width, ragged, or out of the datatype's range.
        """
        if not data:
            raise InvalidInput(f"{self._path} has no rows", self._path)
        if self._width is None:
            return self._read_any_rank(data)
        try:
            return self._read_table(data, self._width)
        except TypeError:  # a number where a list should be, or a list where a number should be
            return self._read_any_rank(data)

    def _read_table(self, data: Sequence[Any], width: int) -> Array:
        if width < 0:
            width = len(data[0])
        least, largest = self._least, self._largest
        for row in data:
            if len(row) != width or not width:
                raise self._wrong_width(data, width)
            if min(row) < least or max(row) > largest:
                raise self._out_of_range(data)
        return np.array(data, self._dtype)

    def _wrong_width(self, data: Sequence[Any], width: int) -> InvalidInput:
        i = next(i for i, row in enumerate(data) if len(row) != width or not width)
        got = len(data[i])
        path = f"{self._path}[{i}]"
        if self._shape[1] < 0 and got:
            return InvalidInput(f"{path} has {got} values, the first row has {width}", path)
        return InvalidInput(f"{path} has {got} values, expected {width or 'at least 1'}", path)

    def _out_of_range(self, data: Sequence[Any]) -> InvalidInput:
        path = self._first_outside(data, self._path)
        return InvalidInput(f"{path} is out of the range of {self._datatype}", path)

    def _first_outside(self, data: Any, path: str) -> str:  # noqa: ANN401 - any depth
        if isinstance(data, (int, float)):
            return "" if self._least <= data <= self._largest else path
        places = (self._first_outside(item, f"{path}[{i}]") for i, item in enumerate(data))
        return next((place for place in places if place), "")

    def _read_any_rank(self, data: Sequence[Any]) -> Array:
        shape = _shape_of(data)
        if shape is None:
            raise InvalidInput(f"{self._path} is ragged: its lists differ in length", self._path)
        expected = (-1, *self._shape[1:])
        fits = len(shape) == len(expected) and all(
            got and want in (-1, got) for got, want in zip(shape, expected, strict=True)
        )
        if not fits:
            raise InvalidInput(
                f"{self._path} has the shape {list(shape)}, expected {list(expected)}", self._path
            )
        if self._first_outside(data, self._path):
            raise self._out_of_range(data)
        return np.array(data, dtype=self._dtype)


def _shape_of(data: Any) -> tuple[int, ...] | None:  # noqa: ANN401 - any depth
    """Return the lengths of evenly nested lists, or None where they are uneven."""
    if isinstance(data, (int, float)):
        return ()
    shapes = {_shape_of(item) for item in data}
    if not shapes:
        return (0,)
    if len(shapes) > 1 or None in shapes:
        return None
    (inner,) = shapes
    return None if inner is None else (len(data), *inner)
