"""The Open Inference Protocol, version 2, over REST, as a client sees it.

Spoken by KServe, Triton, MLServer and others. A model has exactly one input of numbers; of its
outputs one is the scores: the one that the spec names, else the only floating-point one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, TypeAlias, final

import msgspec
import numpy as np
from msgspec import Meta, Struct

from penstock.core.errors import UpstreamFailed
from penstock.core.labels import labelled_outputs
from penstock.core.model import ModelSource
from penstock.core.predictor import Description
from penstock.core.rows import is_integral
from penstock.core.values import AnswerKind, Array
from penstock.runtimes.http_address import Address
from penstock.runtimes.http_pool import Pool
from penstock.runtimes.http_terms import OK, Target
from penstock.runtimes.open_inference_description import (
    DATATYPES,
    MAX_TENSORS,
    Axis,
    describe,
    read_metadata,
)
from penstock.runtimes.remote_dialect import (
    MAX_DESCRIPTION_BYTES,
    PIECE_BYTES,
    Reply,
    Table,
    WrongAnswer,
    arrays_of,
    undecodable,
)
from penstock.runtimes.remote_errors import error_of, in_one_line

Json: TypeAlias = Any

_MODEL: Final = re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?$")
_WIRE: Final = {ours: theirs for theirs, ours in DATATYPES.items()}
_encode = msgspec.json.Encoder().encode


class OutputTensor(Struct, frozen=True):
    """One output of an answer; its data is decoded once it is known to be wanted."""

    name: str
    datatype: str
    shape: Annotated[list[Axis], Meta(max_length=8)]
    data: msgspec.Raw = msgspec.Raw(b"null")


class InferAnswer(Struct, frozen=True):
    """`POST /v2/models/M/infer`."""

    outputs: Annotated[list[OutputTensor], Meta(max_length=MAX_TENSORS)]
    model_version: str | None = None


_decode_answer = msgspec.json.Decoder(InferAnswer).decode


def model_address(address: Address, model: str) -> Address:
    """Return an address whose base path is the model's, also where it names only the server."""
    if _MODEL.search(address.base):
        return address
    return msgspec.structs.replace(address, base=f"{address.base}/v2/models/{model}")


async def fetch_open_inference(
    source: ModelSource, pool: Pool, replica: int, deadline_s: float
) -> OpenInferenceDialect:
    """Ask one replica of a model of the protocol what it takes and gives.

    Raises:
        ServingError: it did not tell, or told what cannot be.
    """
    target = pool.target("GET", "", most_bytes=MAX_DESCRIPTION_BYTES)
    answer = await pool.ask(target, b"", b"", deadline_s, replica)
    if answer.status != OK:
        raise error_of(source.name, answer, "its metadata")
    try:
        description = describe(source, read_metadata(answer.body))
    except WrongAnswer as wrong:
        raise UpstreamFailed(source.name, f"its metadata {wrong}") from wrong
    return OpenInferenceDialect(source, description, pool)


@final
class OpenInferenceDialect:
    """Asks `infer` of one model.

    Args:
        source: from the spec.
        description: of the model.
        pool: the way to it.
    """

    def __init__(self, source: ModelSource, description: Description, pool: Pool) -> None:
        self._description = description
        self._labels = source.labels
        self._infer = pool.target("POST", "/infer")
        self._input = description.inputs[0]
        self._output = description.outputs[0]
        self._table = Table(self._output)
        number: Json = int if is_integral(self._output.datatype) else float
        self._decode_flat = msgspec.json.Decoder(list[number]).decode
        nested: Json = list[self._table.row]  # type: ignore[name-defined]
        self._decode_nested = msgspec.json.Decoder(nested).decode
        self._wide = np.dtype(self._output.datatype if number is int else "float64")

    @property
    def description(self) -> Description:
        """What the model takes and gives."""
        return self._description

    def target(self, *, labelled: bool) -> Target:
        """Return the one path to ask; labels are chosen here, by the scores."""
        return self._infer

    def envelope(self, rows: Array, request_id: str) -> tuple[bytes, bytes]:
        """Return what stands around the numbers."""
        before = b'{"id":%b,"inputs":[{"name":%b,"shape":%b,"datatype":"%b","data":[' % (
            _encode(request_id),
            _encode(self._input.name),
            _encode(rows.shape),
            _WIRE[rows.dtype.name].encode(),
        )
        return before, b']}],"outputs":[{"name":%b}]}' % _encode(self._output.name)

    def numbers(self, rows: Array) -> bytes:
        """Return the rows' numbers in a row."""
        return _encode(rows.ravel().tolist())[1:-1]

    def steps(
        self, body: bytes | bytearray, rows: int, *, labelled: bool
    ) -> Iterator[Reply | None] | None:
        """Return what decodes a large answer bit by bit: flat numbers, closely written.

        Raises:
            WrongAnswer: as `decode`, from here and from the steps.
        """
        answer = self._opened(body)
        output = self._named(answer)
        data = bytes(output.data)
        if data[:1] != b"[" or len(data) < PIECE_BYTES or data.find(b"[", 1) >= 0 or b'"' in data:
            return None
        return self._in_steps(answer, output, data, rows, labelled)

    def _in_steps(
        self, answer: InferAnswer, output: OutputTensor, data: bytes, rows: int, labelled: bool
    ) -> Iterator[Reply | None]:
        pieces = []
        for piece in arrays_of(data, b","):
            try:
                pieces.append(np.array(self._decode_flat(piece), self._wide))
            except (msgspec.DecodeError, UnicodeDecodeError, OverflowError) as error:
                raise undecodable(error) from error
            yield None
        scores = self._shaped(np.concatenate(pieces), output, rows)
        yield self._reply(answer, scores, labelled=labelled)

    def decode(self, body: bytes | bytearray, rows: int, *, labelled: bool) -> Reply:
        """Return what an answer holds.

        Raises:
            WrongAnswer: it is not an answer to `rows` rows of this model.
        """
        answer = self._opened(body)
        try:
            scores = self._scores(self._named(answer), rows)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise undecodable(error) from error
        return self._reply(answer, scores, labelled=labelled)

    def _opened(self, body: bytes | bytearray) -> InferAnswer:
        try:
            return _decode_answer(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise undecodable(error) from error

    def _reply(self, answer: InferAnswer, scores: Array, *, labelled: bool) -> Reply:
        version = in_one_line(answer.model_version or "")
        if labelled:
            outputs = labelled_outputs(scores, self._labels)
            return Reply(AnswerKind.LABELLED, outputs, version=version)
        return Reply(AnswerKind.SCORES, {self._output.name: scores}, version=version)

    def _named(self, answer: InferAnswer) -> OutputTensor:
        for output in answer.outputs:
            if output.name == self._output.name:
                return output
        raise WrongAnswer(f"lacks the output {self._output.name}")

    def _scores(self, output: OutputTensor, rows: int) -> Array:
        data = bytes(output.data)
        if data[1:].lstrip()[:1] == b"[" and len(output.shape) > 1:
            return self._table.many(self._decode_nested(data), rows)
        try:
            flat = np.array(self._decode_flat(data), self._wide)
        except OverflowError as error:
            raise WrongAnswer("has numbers out of its datatype's range") from error
        return self._shaped(flat, output, rows)

    def _shaped(self, flat: Array, output: OutputTensor, rows: int) -> Array:
        shape = output.shape if len(output.shape) != 1 else [*output.shape, 1]
        if min(shape, default=-1) < 0:
            raise WrongAnswer(f"says its shape is {output.shape}")
        if flat.size != math.prod(shape):
            raise WrongAnswer(f"has other data than its shape {output.shape} says")
        return self._table.shaped(flat.reshape(shape), rows)
