"""Whether a request's rows are what a model takes, in its datatype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

import numpy as np

from penstock.core.errors import InvalidInput
from penstock.core.predictor import TensorSpec
from penstock.core.values import Array, InferenceRequest

EXACT: Final = 2**53 - 1
"""Up to here, and down to its negative, each whole number of a float64 is the one that was sent."""


@final
class RowFit:
    """Checks rows against the one input of a model.

    Args:
        called: the model in messages: `model iris`.
        rows: its input; None where any rows are taken.
    """

    def __init__(self, called: str, rows: TensorSpec | None) -> None:
        self._called = called
        self._shape = () if rows is None else rows.shape
        self._row_shape = self._shape[1:]
        self._dtype = None if rows is None else np.dtype(rows.datatype)

    def rows_of(self, request: InferenceRequest) -> Array:
        """Return the request's rows `[rows, ...]` in the datatype that the model takes.

        Raises:
            InvalidInput: another shape, or values out of the datatype's range.
        """
        if len(request.tensors) != 1:
            raise InvalidInput(f"{self._called} takes one tensor")
        (rows,) = request.tensors.values()
        if self._dtype is None:
            return rows
        if rows.shape[1:] != self._row_shape and not self._fits(rows.shape):
            raise self._wrong_shape(rows.shape)
        return rows if rows.dtype == self._dtype else self._cast(rows, self._dtype)

    def _fits(self, shape: Sequence[int]) -> bool:
        return len(shape) == len(self._shape) and all(
            want in (-1, got) for got, want in zip(shape[1:], self._row_shape, strict=True)
        )

    def _wrong_shape(self, shape: Sequence[int]) -> InvalidInput:
        sizes = ("any" if size < 0 else str(size) for size in self._row_shape)
        expected = ", ".join(("rows", *sizes))
        return InvalidInput(f"{self._called} takes [{expected}], got {list(shape)}", path="$.data")

    def _cast(self, rows: Array, dtype: np.dtype[np.generic]) -> Array:
        if rows.dtype.kind not in "fiu":
            what = f"{self._called} takes {dtype.name}, got {rows.dtype.name}"
            raise InvalidInput(what, "$.data")
        with np.errstate(over="ignore", invalid="ignore"):
            cast: Array = rows.astype(dtype)
            fits = np.isfinite(cast) if dtype.kind == "f" else cast == rows
        if not fits.all():
            raise InvalidInput(
                f"values do not fit {dtype.name}, which {self._called} takes", "$.data"
            )
        if rows.dtype.kind == "f" and dtype.kind != "f" and (abs(rows) > EXACT).any():
            beyond = f"whole numbers beyond {EXACT} may have lost digits"
            read = f"the route reads rows as {rows.dtype.name}, {self._called} takes {dtype.name}"
            raise InvalidInput(f"{beyond}: {read}", "$.data")
        return cast
