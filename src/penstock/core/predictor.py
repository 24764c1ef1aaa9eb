"""The one abstraction: a predictor, and what is known of it before any request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct

from penstock.core.values import AnswerKind, Array, InferenceRequest, InferenceResponse


class Predictor(Protocol):
    """An async callable: one request in, one response out, or one of our errors raised."""

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        """Answer the request before its deadline, or raise a `ServingError`."""


class TensorSpec(Struct, frozen=True):
    """Name, datatype and shape of one input or output.

    Attributes:
        name: as the model file or the runtime names it.
        datatype: numpy's name: `float32`, `int64`, ...
        shape: -1 stands for any length; the first axis is the rows.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


class Description(Struct, frozen=True):
    """What a node answers to and with, known before any request.

    Attributes:
        name: the model's or route's name.
        kind: the answer kind.
        version: the model's version; empty for composed nodes.
        inputs: none where any rows are taken (a constant).
        outputs: the primary output first.
        labels: the class names by column of the scores; empty where there are none.
        sample: the spec's, `[rows, ...]` in the input's datatype, or None.
        arms: a fan-out's answered arms by name.
        branches: of what chooses by the request: what each branch answers to and with. The rest is
            then what all requests can count on.
        source: the model's file name, or what stands for it.
        outlier: the score of what tells how unusual an input is, where there is such a model.
        known: False of a remote model that has not yet told what it takes and gives; the rest is
            then what the spec says.
    """

    name: str
    kind: AnswerKind
    version: str = ""
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    labels: tuple[str, ...] = ()
    sample: Array | None = None
    arms: Mapping[str, Description] = {}
    source: str = ""
    known: bool = True
    branches: Mapping[str, Description] = {}
    outlier: TensorSpec | None = None


Health: TypeAlias = Callable[[float], Awaitable[bool]]
"""Tells by a deadline (an instant) whether a predictor could answer now."""


class InlineModel(Struct, frozen=True):
    """A model that is quick enough to run on the event loop.

    Attributes:
        name: in the spec.
        version: as in its description.
        rows: its one input.
        output: the name of its scores.
        datatype: of its scores.
        columns: of its scores.
        run: rows `[n, ...]` to scores `[n, columns]`; raises `ModelFailed`.
        one_s: what a run of one row costs, in seconds.
        row_s: what a further row costs in a batch, in seconds.
        hop: the name of its hop.
    """

    name: str
    version: str
    rows: TensorSpec
    output: str
    datatype: str
    columns: tuple[int, ...]
    run: Callable[[Array], Array]
    one_s: float
    row_s: float
    hop: str


Follow: TypeAlias = Callable[[Callable[[Description], None] | None], None]
"""Has one listener, or none, told on the loop of each new description."""

Abreast: TypeAlias = Callable[[InferenceRequest], Awaitable[Sequence[InferenceResponse] | None]]
"""Asks several models the same in one run; None where they are to be asked one by one."""


class PoolCounted(Protocol):
    """What a pool of connections to a remote model is and has done."""

    @property
    def open(self) -> int:
        """Connections, those being established included."""

    @property
    def busy(self) -> int:
        """Connections that carry a request."""

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""

    @property
    def skipped(self) -> int:
        """Replicas that are passed over."""

    @property
    def requests(self) -> int:
        """Asked, in all."""

    @property
    def retries(self) -> int:
        """Repeated on another connection, in all."""

    @property
    def connect_failures(self) -> int:
        """Connections that could not be established, in all."""

    @property
    def broken(self) -> int:
        """Answers that did not come, or not whole, in all."""

    @property
    def late(self) -> int:
        """Answers that were given up, in all."""


class OpenModel(Struct, frozen=True):
    """What a runtime yields for an opened model.

    Attributes:
        predict: answers with the model's scores, or its labels when asked.
        description: from the model's own signature and a real prediction of its sample.
        health: whether the model could answer now.
        running: how it runs, in words, for the banner: `inline, batched per tick`.
        inline: how to run it together with others, where it runs on the loop.
        follow: of a model whose description may change while it is open, a remote one.
        pool: of a remote model: counts its connections.
    """

    predict: Predictor
    description: Description
    health: Health
    running: str
    inline: InlineModel | None = None
    follow: Follow | None = None
    pool: Callable[[], PoolCounted] | None = None
