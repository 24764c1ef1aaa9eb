"""The plain face as a client sees it: asks another Penstock's route, or what answers as one does.

A remote route may be any: scores, a label, a whole fan-out, whose arms become the response's.
Fields beside its prediction (`job_id`, `mode`, ...) belong to the remote and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias, final

import msgspec
import numpy as np

from penstock.core.errors import ServingError, UpstreamFailed
from penstock.core.labels import LABEL, PROBA, as_labels, labelled_outputs
from penstock.core.model import ModelSource
from penstock.core.predictor import Description, TensorSpec
from penstock.core.values import NO_ARMS, AnswerKind, Array, InferenceResponse, Tensors
from penstock.runtimes.http_pool import Pool
from penstock.runtimes.http_terms import OK, Answer, Target
from penstock.runtimes.plain_description import (
    MAX_ARMS,
    describe,
    is_error,
    read_labels,
    read_metadata,
)
from penstock.runtimes.remote_dialect import (
    MAX_DESCRIPTION_BYTES,
    Reply,
    Table,
    WrongAnswer,
    arrays_of,
    undecodable,
)
from penstock.runtimes.remote_errors import code_of, error_of, in_one_line

Json: TypeAlias = Any

NOT_FOUND: Final = 404

_BEFORE: Final = b'{"prediction":['
_NUMBER: Final = TensorSpec(PROBA, "float64", (-1,))
_encode = msgspec.json.Encoder().encode
_decode_healths = msgspec.json.Decoder(dict[str, str | dict[str, str]]).decode


async def fetch_plain(
    source: ModelSource, pool: Pool, replica: int, deadline_s: float
) -> PlainDialect:
    """Ask one replica of the plain face what it takes and gives: all of it the same one.

    Raises:
        ServingError: it did not tell, or told what cannot be.
    """

    async def get(path: str) -> Answer:
        target = pool.target("GET", path, most_bytes=MAX_DESCRIPTION_BYTES)
        return await pool.ask(target, b"", b"", deadline_s, replica)

    metadata = await get("/metadata")
    if metadata.status != OK:
        raise error_of(source.name, metadata, "/metadata")
    where = "/metadata"
    try:
        told = read_metadata(metadata.body)
        if told.prediction_sample is None and _has_arms(await get("/health/all")):
            raise WrongAnswer(
                "has no prediction_sample to tell the form of its answers by: give one of its "
                "models a sample"
            )
        labels: tuple[str, ...] = ()
        if not source.labels:
            answer = await get("/label")
            if answer.status not in (OK, NOT_FOUND):
                raise error_of(source.name, answer, "/label")
            where = "/label"
            labels = read_labels(answer.body) if answer.status == OK else ()
        where = "/metadata"
        description = describe(source, told, labels)
    except WrongAnswer as wrong:
        raise UpstreamFailed(source.name, f"its {where} {wrong}") from wrong
    return PlainDialect(source, description, pool)


def _has_arms(answer: Answer) -> bool:
    """Tell whether a remote is made of several models: without a sample it may answer anything."""
    try:
        healths = _decode_healths(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return len(healths) > 1 or any(isinstance(health, dict) for health in healths.values())


@final
class PlainDialect:
    """Asks `/predict` and `/predict/label` of a remote.

    Args:
        source: from the spec.
        description: of the remote.
        pool: the way to it.
    """

    def __init__(self, source: ModelSource, description: Description, pool: Pool) -> None:
        self._model = source.name
        self._description = description
        self._labels = source.labels
        self._scores = pool.target("POST", "/predict")
        self._label = pool.target("POST", "/predict/label")
        self._table: Table | None = None
        if description.kind is AnswerKind.SCORES:
            self._table = table = Table(description.outputs[0])
            self._output = description.outputs[0].name
            errors = ("errors", dict[str, Any] | None, None)
            one = msgspec.defstruct("One", [("prediction", table.row), errors])
            many_rows: Json = list[table.row]  # type: ignore[name-defined]
            many = msgspec.defstruct("Many", [("prediction", many_rows), errors])
            self._decode_one = msgspec.json.Decoder(one).decode
            self._decode_rows = msgspec.json.Decoder(many_rows).decode
            self._decode_many = msgspec.json.Decoder(many).decode

    @property
    def description(self) -> Description:
        """What the remote takes and gives."""
        return self._description

    def target(self, *, labelled: bool) -> Target:
        """Return the path to ask: labels that only the spec has are chosen here, by its scores."""
        return self._label if labelled and not self._chooses_here() else self._scores

    def _chooses_here(self) -> bool:
        return self._table is not None and bool(self._labels)

    def envelope(self, rows: Array, request_id: str) -> tuple[bytes, bytes]:
        """Return what stands around the rows."""
        return b'{"data":[', b"]}"

    def numbers(self, rows: Array) -> bytes:
        """Return the rows as JSON lists, without the brackets around all."""
        return _encode(rows.tolist())[1:-1]

    def decode(self, body: bytes | bytearray, rows: int, *, labelled: bool) -> Reply:
        """Return what an answer holds.

        Raises:
            WrongAnswer: it is not an answer to `rows` rows of this model.
        """
        table = self._table
        answer: Json
        try:
            if table is None or (labelled and not self._labels):
                content = msgspec.json.decode(body)
                return self._walk(content, rows, labelled=labelled)
            if rows == 1:
                answer = self._decode_one(body)
                scores = table.one(answer.prediction)
            else:
                answer = self._decode_many(body)
                scores = table.many(answer.prediction, rows)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise undecodable(error) from error
        arms = NO_ARMS if answer.errors is None else self._failed(answer.errors)
        return self._scored(scores, arms, labelled=labelled)

    def steps(
        self, body: bytes | bytearray, rows: int, *, labelled: bool
    ) -> Iterator[Reply | None] | None:
        """Return what decodes a large answer bit by bit: scores of several rows, closely written.

        Its steps raise `WrongAnswer` as `decode` does.
        """
        flat = self._table is not None and self._table.flat
        mine = flat and (not labelled or bool(self._labels))
        close = body.startswith(_BEFORE + b"[") and body.endswith(b"]]}")
        if mine and close and rows > 1 and body.count(b'"') == _BEFORE.count(b'"'):
            return self._in_steps(body, rows, labelled=labelled)
        return None

    def _in_steps(
        self, body: bytes | bytearray, rows: int, *, labelled: bool
    ) -> Iterator[Reply | None]:
        assert self._table is not None
        tables = []
        for piece in arrays_of(bytes(body[len(_BEFORE) - 1 : -1]), b"],["):
            try:
                values = self._decode_rows(piece)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise undecodable(error) from error
            tables.append(self._table.many(values, len(values)))
            yield None
        if sum(map(len, tables)) != rows or len({table.shape[1:] for table in tables}) > 1:
            raise WrongAnswer(f"has other than {rows} rows of the same length")
        yield self._scored(np.concatenate(tables), NO_ARMS, labelled=labelled)

    def _scored(
        self, scores: Array, arms: Mapping[str, InferenceResponse | ServingError], *, labelled: bool
    ) -> Reply:
        if labelled:
            return Reply(AnswerKind.LABELLED, labelled_outputs(scores, self._labels), arms)
        return Reply(AnswerKind.SCORES, {self._output: scores}, arms)

    def _walk(self, content: Json, rows: int, *, labelled: bool) -> Reply:
        kind = self._description.kind
        if labelled:
            best = kind in (AnswerKind.BEST, AnswerKind.KEYED, AnswerKind.BINARY)
            kind = AnswerKind.BEST if best else AnswerKind.LABELLED
        response = self._read(kind, self._description, content, rows)
        return Reply(response.kind, response.outputs, response.arms)

    def _read(
        self, kind: AnswerKind, description: Description, content: Json, rows: int
    ) -> InferenceResponse:
        """Return an answer, or one arm's, that is not the usual scores."""
        match kind:
            case AnswerKind.SCORES:
                output = description.outputs[0]
                outputs: Tensors = {output.name: _scores(output, content, rows)}
                return InferenceResponse(kind, outputs, arms=self._missing(content))
            case AnswerKind.LABELLED:
                outputs = {LABEL: _labels(_prediction(content), rows)}
                return InferenceResponse(kind, outputs, arms=self._missing(content))
            case AnswerKind.BEST:
                outputs = _best(_prediction(content), rows)
                return InferenceResponse(kind, outputs, arms=self._missing(content))
            case AnswerKind.KEYED:
                return InferenceResponse(kind, {}, arms=self._arms(description, content, rows))
            case AnswerKind.BINARY if description.arms:
                return InferenceResponse(kind, {}, arms=self._arms(description, content, rows))
            case AnswerKind.BINARY:
                values = _convert([content] if rows == 1 else content, list[int])
                decisions = Table(description.outputs[0]).many(values, rows)
                return InferenceResponse(kind, {description.outputs[0].name: decisions})

    def _arms(
        self, description: Description, content: Json, rows: int
    ) -> Mapping[str, InferenceResponse | ServingError]:
        if not isinstance(content, dict):
            raise WrongAnswer("is no object of arms")
        arms: dict[str, InferenceResponse | ServingError] = {}
        for arm, described in description.arms.items():
            if arm not in content:
                raise WrongAnswer(f"lacks the arm {arm}")
            entry = content[arm]
            if is_error(entry):
                arms[arm] = self._arm_failed(arm, entry["error"])
            else:
                arms[arm] = self._read(described.kind, described, entry, rows)
        return arms

    def _missing(self, content: Json) -> Mapping[str, InferenceResponse | ServingError]:
        """Return the arms that failed behind one answer; the object `errors` has them."""
        errors = content.get("errors")
        return self._failed(errors) if isinstance(errors, dict) else NO_ARMS

    def _failed(self, errors: Mapping[str, Json]) -> Mapping[str, ServingError]:
        if len(errors) > MAX_ARMS:
            raise WrongAnswer(f"has errors of more than {MAX_ARMS} arms")
        return {in_one_line(arm): self._arm_failed(arm, error) for arm, error in errors.items()}

    def _arm_failed(self, arm: str, error: Json) -> ServingError:
        code = code_of(error.get("code")) if isinstance(error, dict) else ""
        return UpstreamFailed(f"{self._model}, arm {in_one_line(arm)},", code or "no code")


def _prediction(content: Json) -> Json:
    if not isinstance(content, dict) or "prediction" not in content:
        raise WrongAnswer("has no prediction")
    return content["prediction"]


def _convert(content: Json, kind: Json) -> Json:
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise undecodable(error) from error


def _scores(output: TensorSpec, content: Json, rows: int) -> Array:
    table, prediction = Table(output), _prediction(content)
    row = table.row
    if rows == 1:
        return table.one(_convert(prediction, row))
    return table.many(_convert(prediction, list[row]), rows)  # type: ignore[valid-type]


def _labels(prediction: Json, rows: int) -> Array:
    names = _convert([prediction] if rows == 1 else prediction, list[str | None])
    if len(names) != rows:
        raise WrongAnswer(f"has {len(names)} labels for {rows} rows")
    return as_labels(names)


def _best(prediction: Json, rows: int) -> Tensors:
    if not isinstance(prediction, dict) or not {PROBA, LABEL} <= set(prediction):
        raise WrongAnswer("has no proba and label")
    proba = prediction[PROBA]
    values = _convert([proba] if rows == 1 else proba, list[float])
    return {LABEL: _labels(prediction[LABEL], rows), PROBA: Table(_NUMBER).many(values, rows)}
