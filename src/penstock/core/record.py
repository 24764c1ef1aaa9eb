"""The recorder hook: what is told of every request when it ends, whatever its end."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct

from penstock.core.errors import ServingError
from penstock.core.trail import answered_arm, arm_of
from penstock.core.values import InferenceRequest, InferenceResponse


class Role(StrEnum):
    """Which of a request's records this is."""

    PRIMARY = "primary"
    OBSERVE = "observe"
    SHADOW = "shadow"
    LATER = "later"


class Record(Struct, frozen=True, gc=False):
    """One request's end.

    Attributes:
        role: the primary answer, or an observed arm's, a shadow's, a later answer's.
        place: the route, or the request's way and the place in the spec of the node that answered:
            no other record of the request has both its role and its place.
        request_id: as in the answer's header.
        request: None where the request could not be decoded.
        outcome: the response, the error, or None where the caller went away.
        elapsed_s: from the edge to the end, in seconds.
    """

    role: Role
    place: str
    request_id: str
    request: InferenceRequest | None
    outcome: InferenceResponse | ServingError | None
    elapsed_s: float

    @property
    def arm(self) -> str:
        """The arm that was chosen, as the header `x-penstock-arm` has it; empty without a split.

        Of a request whose caller went away it is not known.
        """
        outcome = self.outcome
        if isinstance(outcome, InferenceResponse):
            return answered_arm(outcome)
        return "" if outcome is None else arm_of(outcome.trail)


Recorder: TypeAlias = Callable[[Record], None]
"""Takes a record. Must return at once and must not raise."""
