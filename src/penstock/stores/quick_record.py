"""The record of a plain answer, made at once: quicker than to keep what it is made of.

Most records are of one small input that was answered with scores or labels. What they are made of
is at hand when the request ends, in every sense: a thread that comes to it later costs twice as
much, and holds the interpreter's lock meanwhile. All others are made in the log's thread
(`make_record.py`), which makes the very same of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from penstock.core.record import Record
from penstock.core.trail import MODE, arm_of
from penstock.core.values import AnswerKind, InferenceResponse
from penstock.stores.make_record import grouped
from penstock.stores.policy import LogPolicy
from penstock.stores.prediction_record import SCHEMA, encode_fields

QUICK_VALUES: Final = 256
"""Of an input, or an output; a record of more is made beside the event loop."""

_OVERHEAD_BYTES: Final = 128
_OK: Final = 200
_NOTHING: Final[tuple[str, ...]] = ()
_NO_ARMS: Final[Mapping[str, Any]] = {}
_PLAIN: Final = (AnswerKind.SCORES, AnswerKind.LABELLED)


class Made(Struct, frozen=True, gc=False):
    """A record that has been made.

    Attributes:
        payload: as `prediction_record.py` encodes it.
        is_promised: it is kept even where the buffer is full.
        size_bytes: about what it holds in memory.
    """

    payload: bytes
    is_promised: bool
    size_bytes: int


def quick_record(record: Record, policy: LogPolicy, ended_s: float, record_id: str) -> Made | None:
    """Return the record of a request's end, or None where it is none of the quick ones.

    Args:
        record: the request's end.
        policy: what is kept of it; a plain one.
        ended_s: when that was, in seconds since the epoch.
        record_id: of the record.
    """
    request, outcome = record.request, record.outcome
    if request is None or type(outcome) is not InferenceResponse:
        return None
    if outcome.arms or outcome.kind not in _PLAIN or len(request.tensors) != 1:
        return None
    (given,) = request.tensors.values()
    answer = outcome.primary
    if given.size > QUICK_VALUES or answer.size > QUICK_VALUES or given.dtype.hasobject:
        return None
    trail, groups = outcome.trail, request.fields
    first_s = trail[0].started_s if trail else 0.0
    if groups:
        groups = grouped(groups, policy.groups)
    fields = outcome.fields
    try:
        payload = encode_fields(
            (
                SCHEMA,
                record_id,
                record.role,
                policy.route,
                record.place,
                int((ended_s - record.elapsed_s) * 1e6),
                record.elapsed_s * 1e3,
                record.request_id,
                request.seed,
                policy.generation,
                request.labelled,
                outcome.model,
                outcome.version,
                [(h.name, (h.started_s - first_s) * 1e3, h.elapsed_s * 1e3) for h in trail],
                len(given),
                given.tolist(),
                "",
                answer.tolist(),
                _NO_ARMS,
                _NOTHING,
                fields.get("is_outlier"),
                fields.get("outlier_score"),
                _OK,
                "",
                groups,
                arm_of(trail) if MODE in fields else "",
            )
        )
    except Exception:  # noqa: BLE001 - the log's thread will say why it cannot be made
        return None
    return Made(payload, policy.blocks, len(payload) + _OVERHEAD_BYTES)
