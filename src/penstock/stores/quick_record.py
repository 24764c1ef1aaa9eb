"""The record of a plain answer, made at once: quicker than to keep what it is made of.

Most records are of one small input that was answered with scores or labels. What they are made of
is at hand when the request ends, in every sense: a thread that comes to it later costs twice as
much, and holds the interpreter's lock meanwhile. All others are made in the log's thread
(`make_record.py`), which makes the very same of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from penstock.core.record import Record
from penstock.core.trail import MODE, arm_of
from penstock.core.values import AnswerKind, InferenceResponse
from penstock.stores.batch import Encoded
from penstock.stores.make_record import grouped
from penstock.stores.policy import LogPolicy
from penstock.stores.prediction_record import SCHEMA, encode_fields_into

QUICK_VALUES: Final = 256
"""Of an input, or an output; a record of more is made beside the event loop."""

_OK: Final = 200
_NOTHING: Final[tuple[str, ...]] = ()
_NO_ARMS: Final[Mapping[str, Any]] = {}
_PLAIN: Final = (AnswerKind.SCORES, AnswerKind.LABELLED)


def quick_record(
    record: Record, policy: LogPolicy, ended_s: float, record_id: str, encoded: Encoded
) -> bool:
    """Add the record of a request's end, if it is one of the quick ones; tell whether it is.

    Every request comes by here: nothing is called that need not be.

    Args:
        record: the request's end.
        policy: what is kept of it; a plain one.
        ended_s: when that was, in seconds since the epoch.
        record_id: of the record.
        encoded: those that have been made before.
    """
    request, outcome = record.request, record.outcome
    if request is None or type(outcome) is not InferenceResponse:
        return False
    if outcome.arms or outcome.kind not in _PLAIN:
        return False
    try:
        (given,), (answer,) = request.tensors.values(), outcome.outputs.values()
    except ValueError:  # none, or several
        return False
    if given.size > QUICK_VALUES or answer.size > QUICK_VALUES or given.dtype.hasobject:
        return False
    trail, groups, fields = outcome.trail, request.fields, outcome.fields
    if len(trail) == 1:
        hops = [(trail[0].name, 0.0, trail[0].elapsed_s * 1e3)]
    else:
        first_s = trail[0].started_s if trail else 0.0
        hops = [(h.name, (h.started_s - first_s) * 1e3, h.elapsed_s * 1e3) for h in trail]
    elapsed_s = record.elapsed_s
    records = encoded.records
    before = len(records)
    try:
        values = (
            SCHEMA, record_id, record.role, policy.route, record.place,
            int((ended_s - elapsed_s) * 1e6), elapsed_s * 1e3,
            record.request_id, request.seed, policy.generation, request.labelled,
            outcome.model, outcome.version, hops,
            len(given), given.tolist(), "", answer.tolist(), _NO_ARMS, _NOTHING,
            fields.get("is_outlier") if fields else None,
            fields.get("outlier_score") if fields else None,
            _OK, "",
            grouped(groups, policy.groups) if groups else groups,
            arm_of(trail) if fields and MODE in fields else "",
        )  # fmt: skip
        encode_fields_into(values, records, -1)
    except Exception:  # noqa: BLE001 - the log's thread will say why it cannot be made
        del records[before:]
        return False
    encoded.count += 1
    return True
