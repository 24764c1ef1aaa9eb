"""A record of the prediction log: one request's end, as it is kept. Its schema has a version.

It is encoded as the list of its fields. Fields are added at the end, never changed, moved or taken
away; a reader passes over those it does not know, and one that is missing has its default. What
cannot be kept so raises `SCHEMA`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from penstock.core.values import AnswerField, FieldValue

SCHEMA: Final = 1
"""The version of the schema that is written."""

LoggedHop: TypeAlias = tuple[str, float, float]
"""Name, when it began in ms after the first hop did, and how long it took in ms."""


class ArmRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one arm of a combined answer came to.

    Attributes:
        model: that answered; empty where several did, or none.
        version: of that model.
        output: a value a row; None where it has none of its own.
        code: of the error that ended it; empty where it answered.
        arms: its own arms.
    """

    model: str = ""
    version: str = ""
    output: Any = None
    code: str = ""
    arms: Mapping[str, ArmRecord] = {}


class PredictionRecord(Struct, frozen=True, array_like=True):
    """One request's end.

    Attributes:
        schema: version of this schema.
        record_id: of the request: its primary record and those of its shadows and observed arms
            share it. A record is unique by `record_id`, `role` and `place`.
        role: `primary`, `shadow`, `observe` or `later`.
        route: by which the request came in.
        place: the route, or where in the spec the node stands that answered, behind the way by
            which the request came there, where several lead to it.
        time_us: when the request came in (for other roles, when the node was asked), in
            microseconds since the epoch.
        elapsed_ms: from then to its end.
        request_id: the caller's, or made here; may repeat.
        seed: 64 bits from which its random choices follow; None where it could not be decoded.
        generation: of the spec.
        labelled: a label was asked for.
        model: that answered; empty where several did.
        version: of that model.
        trail: the hops, outermost first.
        rows: how many rows were asked for.
        input: a list a row; None where it is not kept.
        input_digest: of an input that is not kept, 32 hexadecimal digits.
        output: a value a row: scores, a label; None where there is none or it is not kept.
        arms: what the arms of a combined answer came to.
        left_out: what is not kept, of `input`, `output` and `column:N`; `outlier`: flags and scores
            of so many rows that there is one of each, whether any row is an outlier and the lowest.
        is_outlier: a flag, or one a row.
        outlier_score: likewise; None is no finite score.
        status: of HTTP; 499: the caller had gone.
        code: of the error; empty where it was answered.
        groups: fields of the request by name, for evaluation by group; sticky keys as a digest.
        arm: that a split chose, `ARM/ARM` of splits within one another; empty without one.
    """

    schema: int = 0
    record_id: str = ""
    role: str = ""
    route: str = ""
    place: str = ""
    time_us: int = 0
    elapsed_ms: float = 0.0
    request_id: str = ""
    seed: int | None = None
    generation: int = 0
    labelled: bool = False
    model: str = ""
    version: str = ""
    trail: tuple[LoggedHop, ...] = ()
    rows: int = 0
    input: Any = None
    input_digest: str = ""
    output: Any = None
    arms: Mapping[str, ArmRecord] = {}
    left_out: tuple[str, ...] = ()
    is_outlier: AnswerField = None
    outlier_score: AnswerField = None
    status: int = 0
    code: str = ""
    groups: Mapping[str, FieldValue] = {}
    arm: str = ""


_encoder = msgspec.msgpack.Encoder()

encode_fields = _encoder.encode
"""Encodes a record, or a tuple of all its fields in their order."""

encode_fields_into = _encoder.encode_into
"""Likewise, at an offset (-1: the end) of a bytearray; what it raises leaves garbage there."""

_decode = msgspec.msgpack.Decoder(PredictionRecord).decode


class UnreadableRecord(Exception):
    """Bytes that are whole and yet no record; or one of a later schema."""


def decode_record(payload: bytes) -> PredictionRecord:
    """Return the record of a frame.

    Raises:
        UnreadableRecord: it is none, or of a schema that this version does not know.
    """
    try:
        record = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableRecord(str(error)) from error
    if not 0 < record.schema <= SCHEMA:
        raise UnreadableRecord(f"schema {record.schema}; this version knows 1 to {SCHEMA}")
    return record
