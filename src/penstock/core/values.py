"""What flows through the graph: requests, responses, hops. All frozen; a change is a new value."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import numpy.typing as npt
from msgspec import Struct, structs

from penstock.core.errors import ServingError

Array: TypeAlias = npt.NDArray[Any]
"""A tensor. The first axis is the rows. A BYTES tensor has dtype object and holds `bytes`."""

Tensors: TypeAlias = Mapping[str, Array]

FieldValue: TypeAlias = str | int | float | bool | None

AnswerField: TypeAlias = FieldValue | tuple[FieldValue, ...]
"""A field of an answer: one value for the whole, or one for each of several rows."""

NO_FIELDS: Final[Mapping[str, FieldValue]] = {}

MAX_WAY_CHARACTERS: Final = 1024
"""Of a request's way; of a longer one a digest. It is part of a key that databases have to take."""

_WAY_DIGEST_BYTES: Final = 16


class Hop(Struct, frozen=True, gc=False):
    """One step of a request's way through the graph.

    Attributes:
        name: kind and choice, such as `split:rf` or `model:iris_rf@6c4ef19f5054`.
        started_s: instant on the monotonic clock.
        elapsed_s: how long the step and all below it took, in seconds.
    """

    name: str
    started_s: float
    elapsed_s: float


Trail: TypeAlias = tuple[Hop, ...]


class InferenceRequest(Struct, frozen=True, gc=False):
    """One request to a predictor.

    Attributes:
        request_id: the client's own, or made at the edge; may repeat.
        route: name of the route it came in by.
        tensors: named inputs, `[rows, ...]` each, in the datatype the route's description names.
        deadline_s: instant on the monotonic clock by which an answer is of use.
        seed: 64 bits from which every random choice for this request follows.
        labelled: the caller asks for a label in place of the scores.
        fields: scalars that the spec names for conditions, stickiness and groups.
        traceparent: the caller's, of W3C Trace Context, for remote predictors; empty without one.
        record_id: made at the edge, shared by its records; empty where nothing is recorded.
        way: the places, each with a slash behind it, where one request was led apart and may meet
            the same node again: with the node's own place it tells its records apart. Mostly empty.
    """

    request_id: str
    route: str
    tensors: Tensors
    deadline_s: float
    seed: int
    labelled: bool = False
    fields: Mapping[str, FieldValue] = NO_FIELDS
    traceparent: str = ""
    record_id: str = ""
    way: str = ""

    @property
    def rows(self) -> int:
        """How many rows are to be predicted."""
        for tensor in self.tensors.values():
            return len(tensor)
        return 0

    def due(self, deadline_s: float) -> InferenceRequest:
        """Return this request with `deadline_s` as its deadline, unless its own is earlier."""
        if deadline_s >= self.deadline_s:
            return self
        return InferenceRequest(
            self.request_id,
            self.route,
            self.tensors,
            deadline_s,
            self.seed,
            self.labelled,
            self.fields,
            self.traceparent,
            self.record_id,
            self.way,
        )

    def asking(self, *, labelled: bool) -> InferenceRequest:
        """Return this request asking for labels, or for scores."""
        if labelled is self.labelled:
            return self
        return InferenceRequest(
            self.request_id,
            self.route,
            self.tensors,
            self.deadline_s,
            self.seed,
            labelled,
            self.fields,
            self.traceparent,
            self.record_id,
            self.way,
        )

    def by(self, place: str) -> InferenceRequest:
        """Return this request with `place` added to its way."""
        way = f"{self.way}{place}/"
        if len(way) > MAX_WAY_CHARACTERS:
            way = f"{blake2b(way.encode(), digest_size=_WAY_DIGEST_BYTES).hexdigest()}/"
        return structs.replace(self, way=way)


class AnswerKind(StrEnum):
    """The form an answer takes; see `docs/reference/answers.md`.

    scores: `{"prediction": [...]}`; labelled: `{"prediction": "label"}`; best: the labelled form
    of a fan-out, `{"prediction": {"proba", "label"}}`; keyed: `{"arm": {...}, ...}`;
    binary: `{"arm": 0 or 1, ...}`.
    """

    SCORES = "scores"
    LABELLED = "labelled"
    BEST = "best"
    KEYED = "keyed"
    BINARY = "binary"


NO_ARMS: Final[Mapping[str, InferenceResponse | ServingError]] = {}


class InferenceResponse(Struct, frozen=True, gc=False):
    """One answer of a predictor.

    Attributes:
        kind: which of the other attributes make the answer.
        outputs: named tensors, `[rows, ...]` each. The first is the primary one: the scores of a
            model; `label` (and `proba`) of a labelled answer; 0 or 1 per row of a binary arm.
        model: name of the model that answered; empty where several did.
        version: that model's version: the first 12 hex digits of its file's sha256, or as named.
        trail: the hops in order, outermost first, a fan-out's in the arms' order.
        arms: a fan-out's arms by name, each its own response or the error that ended it.
        fields: what layers and choosers add to the answer (`mode`, `is_outlier`, ...).
    """

    kind: AnswerKind
    outputs: Tensors
    model: str = ""
    version: str = ""
    trail: Trail = ()
    arms: Mapping[str, InferenceResponse | ServingError] = NO_ARMS
    fields: Mapping[str, AnswerField] = NO_FIELDS

    @property
    def primary(self) -> Array:
        """The first output, `[rows, ...]`."""
        return next(iter(self.outputs.values()))

    def behind(self, hop: Hop) -> InferenceResponse:
        """Return this response with `hop` in front of its trail."""
        return InferenceResponse(
            self.kind,
            self.outputs,
            self.model,
            self.version,
            (hop, *self.trail),
            self.arms,
            self.fields,
        )
