"""From a request's end to its record. Runs in the log's own thread, beside the event loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, final

from msgspec import Struct, structs

from penstock.core.errors import FanOutFailed, ServingError
from penstock.core.labels import LABEL, PROBA
from penstock.core.measures import CLIENT_GONE, CLIENT_GONE_STATUS, code_of
from penstock.core.record import Record
from penstock.core.values import (
    NO_FIELDS,
    AnswerField,
    AnswerKind,
    Array,
    FieldValue,
    InferenceResponse,
    Tensors,
    Trail,
)
from penstock.stores.held_bytes import held_bytes
from penstock.stores.policy import INPUT, OUTLIER, OUTPUT, LogPolicy
from penstock.stores.prediction_record import SCHEMA, ArmRecord, LoggedHop, encode_fields

MAX_STORED_VALUES: Final = 16_384
"""Of an input, an output, flags and scores by row; of more a digest, one of each, or nothing."""

MAX_GROUP_CHARACTERS: Final = 256
"""Of a field's value; a longer one is cut."""

_DIGEST_BYTES: Final = 16
_OK: Final = 200
_NO_TRAIL: Final[tuple[LoggedHop, ...]] = ()
NO_OUTPUTS: Final[Tensors] = {}
NO_ANSWER_FIELDS: Final[Mapping[str, AnswerField]] = {}
_NO_ARMS: Final[Mapping[str, ArmRecord]] = {}

StatusOf = Callable[[ServingError], int]


class Entry(Struct, frozen=True, gc=False):
    """What the loop hands over.

    Attributes:
        record: the request's end.
        policy: what is kept of it.
        ended_s: when that was, in seconds since the epoch.
        size_bytes: about what it holds in memory.
        record_id: of the record, the same in all sinks.
        is_bare: the outputs are not in the record any more, as none of them would be kept.
    """

    record: Record
    policy: LogPolicy
    ended_s: float
    size_bytes: int
    record_id: str
    is_bare: bool = False


def entry_of(record: Record, policy: LogPolicy, ended_s: float, record_id: str) -> Entry:
    """Return what the loop hands over of a request's end, without outputs that will not be kept.

    They may be large, and wait long. A large input has to wait: of it there will be a digest.

    Args:
        record: the request's end.
        policy: what is kept of it.
        ended_s: when that was, in seconds since the epoch.
        record_id: of the record, the same in all sinks.
    """
    outcome = record.outcome
    is_bare = False
    if isinstance(outcome, InferenceResponse) and not _keeps_output(outcome, policy):
        is_bare = True
        record = structs.replace(record, outcome=_bare(outcome))
    return Entry(record, policy, ended_s, held_bytes(record), record_id, is_bare)


def _keeps_output(response: InferenceResponse, policy: LogPolicy) -> bool:
    return policy.keeps_output and _values(response) <= MAX_STORED_VALUES


def _bare(outcome: InferenceResponse | ServingError) -> InferenceResponse | ServingError:
    """Return an answer without its outputs, and those of its arms."""
    if isinstance(outcome, ServingError):
        return outcome
    arms = {name: _bare(arm) for name, arm in outcome.arms.items()}
    return structs.replace(outcome, outputs=NO_OUTPUTS, arms=arms)


@final
class RecordMaker:
    """Makes records.

    Args:
        key: of the digests: the same for all records of a log, and nobody else's.
        status_of: the status that an error is answered with.
    """

    def __init__(self, key: bytes, status_of: StatusOf) -> None:
        self._key = key
        self._status_of = status_of

    def payload_of(self, entry: Entry) -> bytes:
        """Return what is kept of a request's end, encoded as a `PredictionRecord`."""
        record, policy = entry.record, entry.policy
        request, outcome = record.request, record.outcome
        left_out: list[str] = []
        seed, labelled, rows, given, digest = None, False, 0, None, ""
        groups = NO_FIELDS
        if request is not None:
            seed, labelled = request.seed, request.labelled
            for tensor in request.tensors.values():
                rows = len(tensor)
                given, digest = self._input(tensor, policy, left_out)
            if policy.groups or policy.keys:
                groups = self._groups(request.fields, policy)
        model, version, output, fields = "", "", None, NO_ANSWER_FIELDS
        status, code, arms = _OK, "", _NO_ARMS
        if isinstance(outcome, InferenceResponse):
            model, version, fields = outcome.model, outcome.version, outcome.fields
            stored = not entry.is_bare and _keeps_output(outcome, policy)
            output, arms = _answered(outcome, stored, left_out)
        elif outcome is None:
            status, code = CLIENT_GONE_STATUS, CLIENT_GONE
        else:
            status, code = self._status_of(outcome), code_of(outcome)
            if isinstance(outcome, FanOutFailed):
                arms = _arms(outcome.causes, keeps_output=False)
        is_outlier, outlier_score = _told_of_rows(fields, left_out)
        # The fields of PredictionRecord in their order, not a PredictionRecord: half the cost.
        return encode_fields(
            (
                SCHEMA,
                entry.record_id,
                record.role,
                policy.route,
                record.place,
                int((entry.ended_s - record.elapsed_s) * 1e6),
                record.elapsed_s * 1e3,
                record.request_id,
                seed,
                policy.generation,
                labelled,
                model,
                version,
                _NO_TRAIL if outcome is None else _hops(outcome.trail),
                rows,
                given,
                digest,
                output,
                arms,
                left_out,
                is_outlier,
                outlier_score,
                status,
                code,
                groups,
                record.arm,
            )
        )

    def _input(self, tensor: Array, policy: LogPolicy, left_out: list[str]) -> tuple[Any, str]:
        if policy.keeps_input and tensor.size <= MAX_STORED_VALUES and tensor.dtype != object:
            if policy.columns:
                return _without_columns(tensor, policy.columns, left_out), ""
            return tensor.tolist(), ""
        left_out.append(INPUT)
        return None, self._digest_of(tensor)

    def _groups(
        self, fields: Mapping[str, FieldValue], policy: LogPolicy
    ) -> Mapping[str, FieldValue]:
        kept = grouped(fields, policy.groups)
        for name in policy.keys:
            if name in fields:
                kept[name] = self.digest(repr(fields[name]).encode())
        return kept

    def _digest_of(self, tensor: Array) -> str:
        """Return a digest of datatype, shape and values."""
        head = f"{tensor.dtype.str}{tensor.shape}".encode()
        if tensor.dtype != object:
            return self.digest(head, tensor.tobytes())
        values = [one if isinstance(one, bytes) else str(one).encode() for one in tensor.ravel()]
        lengths = ",".join(str(len(value)) for value in values).encode()
        return self.digest(head, lengths, *values)

    def digest(self, *parts: bytes) -> str:
        """Return 32 hexadecimal digits that nobody without the key can find by trying values."""
        hashed = blake2b(digest_size=_DIGEST_BYTES, key=self._key)
        for part in parts:
            hashed.update(part)
        return hashed.hexdigest()


def _without_columns(tensor: Array, columns: Sequence[int], left_out: list[str]) -> Any:  # noqa: ANN401
    rows = tensor.tolist()
    width = tensor.shape[1] if tensor.ndim > 1 else 0
    for column in columns:
        if column < width:
            left_out.append(f"column:{column}")
            for row in rows:
                row[column] = None
    return rows


def _hops(trail: Trail) -> tuple[LoggedHop, ...]:
    if not trail:
        return _NO_TRAIL
    first_s = trail[0].started_s
    return tuple([(h.name, (h.started_s - first_s) * 1e3, h.elapsed_s * 1e3) for h in trail])


def _answered(
    response: InferenceResponse, stored: bool, left_out: list[str]
) -> tuple[Any, Mapping[str, ArmRecord]]:
    if not stored:
        left_out.append(OUTPUT)
    arms = _arms(response.arms, keeps_output=stored) if response.arms else _NO_ARMS
    return _output(response) if stored else None, arms


def _told_of_rows(
    fields: Mapping[str, AnswerField], left_out: list[str]
) -> tuple[AnswerField, AnswerField]:
    """Return flags and scores; of too many rows whether any is an outlier, and the lowest score."""
    flags, scores = fields.get("is_outlier"), fields.get("outlier_score")
    if not isinstance(flags, tuple) or not isinstance(scores, tuple):
        return flags, scores
    if len(flags) + len(scores) <= MAX_STORED_VALUES:
        return flags, scores
    left_out.append(OUTLIER)
    told = [flag for flag in flags if flag is not None]
    finite = [score for score in scores if isinstance(score, float)]
    return any(told) if told else None, min(finite, default=None)


def _values(response: InferenceResponse) -> int:
    """Return how many values of an answer would be stored."""
    values = 0
    for primary in response.outputs.values():
        values = primary.size
        break
    for arm in response.arms.values():
        if isinstance(arm, InferenceResponse):
            values += _values(arm)
    return values


def _output(response: InferenceResponse) -> Any:  # noqa: ANN401
    """Return a value a row; None where the answer is its arms'."""
    if response.kind is AnswerKind.BEST:
        probas, labels = response.outputs[PROBA].tolist(), response.outputs[LABEL].tolist()
        pairs = zip(probas, labels, strict=True)
        return [{"proba": proba, "label": label} for proba, label in pairs]
    for primary in response.outputs.values():
        return primary.tolist()
    return None


def _arms(
    arms: Mapping[str, InferenceResponse | ServingError] | Mapping[str, ServingError],
    *,
    keeps_output: bool,
) -> dict[str, ArmRecord]:
    return {
        name: ArmRecord(code=code_of(arm))
        if isinstance(arm, ServingError)
        else ArmRecord(
            model=arm.model,
            version=arm.version,
            output=_output(arm) if keeps_output else None,
            arms=_arms(arm.arms, keeps_output=keeps_output),
        )
        for name, arm in arms.items()
    }


def grouped(fields: Mapping[str, FieldValue], groups: Sequence[str]) -> dict[str, FieldValue]:
    """Return those of a request's fields that are kept as they came; long texts are cut."""
    return {name: _cut(fields[name]) for name in groups if name in fields}


def _cut(value: FieldValue) -> FieldValue:
    return value[:MAX_GROUP_CHARACTERS] if isinstance(value, str) else value
