"""What the runtime of remote models needs of a protocol, and the tables of numbers all have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol, final

import msgspec
import numpy as np
from msgspec import Struct

from penstock.core.errors import ServingError
from penstock.core.predictor import Description, TensorSpec
from penstock.core.rows import is_integral, number_range
from penstock.core.values import (
    NO_ARMS,
    AnswerKind,
    Array,
    InferenceResponse,
    Tensors,
)
from penstock.runtimes.http_terms import Target

LARGE_VALUES: Final = 4096
"""Rows with more numbers are encoded in pieces, between which the loop serves others."""

PIECE_BYTES: Final = 32 * 1024
"""How much of a large answer is decoded at a stroke."""

MAX_DESCRIPTION_BYTES: Final = 1024 * 1024
"""How long a remote model's description, or its labels, may be."""

MAX_COLUMNS: Final = 1_000_000
"""The largest axis that a remote model's description may name."""

NUMBERS: Final = frozenset(
    {
        "float16", "float32", "float64",
        "int8", "int16", "int32", "int64",
        "uint8", "uint16", "uint32", "uint64",
    }
)  # fmt: skip
"""The datatypes that a remote model may take and give."""


class WrongAnswer(Exception):
    """A remote's answer or description is not what it should be; the message says how."""


class Reply(Struct, frozen=True, gc=False):
    """What a remote model's answer holds; see `InferenceResponse`."""

    kind: AnswerKind
    outputs: Tensors
    arms: Mapping[str, InferenceResponse | ServingError] = NO_ARMS
    version: str = ""


class Dialect(Protocol):
    """How one remote model is asked and understood, once it is known what it takes and gives."""

    @property
    def description(self) -> Description:
        """What the model takes and gives."""

    def target(self, *, labelled: bool) -> Target:
        """Return what is asked for scores, or for labels."""

    def envelope(self, rows: Array, request_id: str) -> tuple[bytes, bytes]:
        """Return what stands before and behind the rows' numbers in a request's body."""

    def numbers(self, rows: Array) -> bytes:
        """Return rows as they stand in a request's body, without the brackets around all."""

    def decode(self, body: bytes | bytearray, rows: int, *, labelled: bool) -> Reply:
        """Return what an answer of 200 holds.

        Raises:
            WrongAnswer: it is not an answer to `rows` rows of this model.
        """

    def steps(
        self, body: bytes | bytearray, rows: int, *, labelled: bool
    ) -> Iterator[Reply | None] | None:
        """Return what decodes a large answer bit by bit, or None where it is in no such form.

        Each step takes some tenths of a millisecond and gives None, the last one the reply. To
        decode holds the interpreter's lock, so that a thread would not keep the loop free.

        Raises:
            WrongAnswer: as `decode`, from the steps.
        """


@final
class Table:
    """Makes tensors `[rows, ...]` of one output out of nested lists of numbers, strictly.

    Args:
        output: what is expected; -1 is any length.
    """

    def __init__(self, output: TensorSpec) -> None:
        self._shape = output.shape[1:]
        self._dtype = np.dtype(output.datatype)
        self._datatype = output.datatype
        self._least, self._largest = number_range(output.datatype)
        self._width = self._shape[0] if len(self._shape) == 1 else None
        row: Any = int if is_integral(output.datatype) else float
        for _ in self._shape:
            row = list[row]
        self.row = row

    @property
    def flat(self) -> bool:
        """Whether a row is a list of numbers, not a list of lists."""
        return len(self._shape) == 1

    def one(self, values: Any) -> Array:  # noqa: ANN401 - decoded as `row`
        """Return one row's values as a tensor `[1, ...]`.

        Raises:
            WrongAnswer: of another length or depth, or out of the datatype's range.
        """
        width = self._width
        if width is None or not values:
            return self.many([values], 1)
        if width >= 0 and len(values) != width:
            raise WrongAnswer(f"has {len(values)} values in a row, not {width}")
        if min(values) < self._least or max(values) > self._largest:
            raise self._out_of_range()
        return np.array((values,), self._dtype)

    def many(self, values: Any, rows: int) -> Array:  # noqa: ANN401 - a list of `row`
        """Return rows as a tensor `[rows, ...]`.

        Raises:
            WrongAnswer: not that many, of another shape, or out of the datatype's range.
        """
        if len(values) != rows:
            raise WrongAnswer(f"has {len(values)} rows for {rows}")
        try:
            wide = np.array(values, np.float64 if self._dtype.kind == "f" else None)
        except ValueError as error:
            raise WrongAnswer("has rows of different lengths") from error
        return self.shaped(wide, rows)

    def shaped(self, wide: Array, rows: int) -> Array:
        """Return numbers `[rows, ...]` in the output's datatype.

        Raises:
            WrongAnswer: of another shape, or out of the datatype's range.
        """
        fits = wide.ndim == len(self._shape) + 1 and all(
            got and want in (-1, got) for got, want in zip(wide.shape[1:], self._shape, strict=True)
        )
        if not fits or len(wide) != rows:
            expected = ["any" if size < 0 else size for size in (rows, *self._shape)]
            raise WrongAnswer(f"has the shape {list(wide.shape)}, not {expected}")
        if wide.dtype.kind not in "fiu":
            raise self._out_of_range()
        if wide.size and (wide.min() < self._least or wide.max() > self._largest):
            raise self._out_of_range()
        return wide.astype(self._dtype)

    def _out_of_range(self) -> WrongAnswer:
        return WrongAnswer(f"has numbers out of the range of {self._datatype}")


def arrays_of(text: bytes, cut: bytes) -> Iterator[bytes]:
    """Yield the JSON array `text` as several, each of about `PIECE_BYTES`.

    Args:
        text: of numbers, or of arrays of numbers, with nothing quoted in it.
        cut: what stands between two items, the comma and what belongs to the items around it.
    """
    before, _ = cut.split(b",")
    start, end = 1, len(text) - 1
    while (found := text.find(cut, start + PIECE_BYTES, end)) >= 0:
        stop = found + len(before)
        yield b"[%b]" % text[start:stop]
        start = stop + 1
    yield b"[%b]" % text[start:end]


def undecodable(error: Exception) -> WrongAnswer:
    """Return what is wrong with JSON that could not be decoded as it was expected."""
    if isinstance(error, msgspec.ValidationError):
        text = str(error)
        return WrongAnswer(f"is not what was expected: {text[:1].lower()}{text[1:]}")
    return WrongAnswer("is not JSON")
