"""JSON bodies to rows, typed and strict: nothing is dropped, defaulted or coerced.

msgspec decodes straight into typed lists and names the place of what does not fit. It lets pass
what is looked at here again: a key that stands twice, numbers out of the tensor's range, rows of
different lengths.

Decoding holds the interpreter's lock, so a body over 64 kB is decoded in a process of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, NoReturn, TypeAlias, final

import msgspec
import numpy as np

from penstock.core.child import Child, ChildFailed, ChildLost
from penstock.core.clock import Clock
from penstock.core.drive import within
from penstock.core.errors import (
    BodyTooLarge,
    InvalidInput,
    MalformedBody,
    NotReady,
    Overloaded,
    RequestError,
)
from penstock.core.predictor import TensorSpec
from penstock.core.rows import RowReader, is_integral
from penstock.core.values import NO_FIELDS, Array, FieldValue

Decoded: TypeAlias = tuple[Array, Mapping[str, FieldValue]]

LARGE_BYTES: Final = 64 * 1024
MAX_WAITING: Final = 32
"""How many large bodies may wait to be decoded."""

_DECODING: Final = "the decoding of large bodies"
BULK_NICENESS: Final = 10
"""How far the decoding of large bodies stands back where it shares a core with the loop."""

_QUOTES_OF_DATA: Final = 2

_Int64: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What MessagePack, and any log, can hold."""

_PLACE: Final = re.compile(r" - at `(?P<path>\$[^`]*)`$")


@final
class BodyDecoder:
    """Decodes the bodies of one route.

    Args:
        rows: what the route's rows must be.
        fields: top-level keys beside `data` that the spec names; scalars.
        max_rows: the most rows in one request.
    """

    def __init__(self, rows: TensorSpec, fields: tuple[str, ...], max_rows: int) -> None:
        self.rows = rows
        self.fields = fields
        self.max_rows = max_rows
        self._reader = RowReader(rows)
        self._decode = msgspec.json.Decoder(_body_type(rows, fields)).decode

    def decode(self, body: bytes) -> Decoded:
        """Return the rows `[rows, ...]` and the fields of a body.

        Raises:
            MalformedBody: not JSON in UTF-8, or a key stands twice.
            InvalidInput: JSON, but not what the route takes.
            BodyTooLarge: too many rows.
        """
        decoded: Any  # of a type that is made for the route
        try:
            decoded = self._decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._refuse(body, error)
        data = decoded.data
        if len(data) > self.max_rows:
            raise BodyTooLarge(self.max_rows, "rows")
        fields = self._fields(decoded) if self.fields else NO_FIELDS
        if body.count(b'"') != (_quotes(fields) if fields else _QUOTES_OF_DATA):
            _refuse_duplicate_keys(body)
        return self._reader.read(data), fields

    def _fields(self, decoded: Any) -> Mapping[str, FieldValue]:  # noqa: ANN401 - a made type
        given = msgspec.structs.asdict(decoded)
        del given["data"]
        return {
            name: given[f"field_{i}"]
            for i, name in enumerate(self.fields)
            if given[f"field_{i}"] is not msgspec.UNSET
        }

    def _refuse(self, body: bytes, error: Exception) -> NoReturn:
        if not body:
            raise MalformedBody('the body is empty: send {"data": [[...]]}') from error
        if not isinstance(error, msgspec.ValidationError):
            raise MalformedBody(f"the body is not JSON: {error}") from error
        message = str(error)
        place = _PLACE.search(message)
        path = place["path"] if place else "$"
        sentence = message[: place.start()] if place else message
        if "unknown field" in sentence:
            sentence += f"; this route reads {', '.join(('data', *self.fields))}"
        raise InvalidInput(f"{path}: {sentence[0].lower()}{sentence[1:]}", path) from error


def _body_type(rows: TensorSpec, fields: tuple[str, ...]) -> type[msgspec.Struct]:
    number: Any = int if is_integral(rows.datatype) else float
    for _ in range(len(rows.shape)):
        number = list[number]
    scalar = str | _Int64 | float | bool | msgspec.UnsetType | None
    optional = [(f"field_{i}", scalar, msgspec.UNSET) for i in range(len(fields))]
    return msgspec.defstruct(
        "Body",
        [("data", number), *optional],
        rename={f"field_{i}": name for i, name in enumerate(fields)},
        forbid_unknown_fields=True,
    )


def _quotes(fields: Mapping[str, FieldValue]) -> int:
    """Return how many double quotes a body has at least: two a key, two a text.

    A body that has no more than that has neither escapes nor a key that stands twice.
    """
    texts = sum(isinstance(value, str) for value in fields.values())
    return 2 * (1 + len(fields) + texts)


def _refuse_duplicate_keys(body: bytes) -> None:
    """Raise if a key stands twice; the body is known to be JSON, and shallow."""
    json.loads(body, object_pairs_hook=_without_duplicates, parse_float=str, parse_int=str)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise MalformedBody(f"the key {key!r} stands twice", f"$.{key}")
        seen.add(key)


@final
class ApartDecoder:
    """Decodes large bodies in a process of its own, one after the other, so the loop stays free.

    The process starts with the first large body, and anew if it is lost.

    Args:
        clock: for deadlines.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._child = Child("penstock.gateway.decode:serve_in_child", niceness=BULK_NICENESS)
        self._waiting = 0

    async def decode(self, decoder: BodyDecoder, body: bytes, deadline_s: float) -> Decoded:
        """Return what `decoder` makes of `body`.

        Raises:
            MalformedBody, InvalidInput, BodyTooLarge: as the decoder says.
            Overloaded: too many large bodies wait already.
            NotReady: the process was lost.
            DeadlineExceeded: not decoded by `deadline_s`.
        """
        # Bodies wait here while the process starts, and there after their deadline has passed.
        if max(self._waiting, self._child.waiting) >= MAX_WAITING:
            raise Overloaded("the queue of large bodies", MAX_WAITING, "bodies")
        self._waiting += 1
        try:
            return await within(
                deadline_s, self._decode(decoder, body), clock=self._clock, name=_DECODING
            )
        finally:
            self._waiting -= 1

    async def _decode(self, decoder: BodyDecoder, body: bytes) -> Decoded:
        rows = decoder.rows
        described = [rows.name, rows.datatype, rows.shape, decoder.fields, decoder.max_rows]
        try:
            answer = await self._child.call([described, body])
        except (ChildLost, ChildFailed) as error:
            raise NotReady(_DECODING) from error
        match answer:
            case ["rows", dtype, shape, content, fields]:
                return np.frombuffer(content, dtype=dtype).reshape(shape), fields
            case ["too_large", limit, unit]:
                raise BodyTooLarge(limit, unit)
            case ["malformed", message, path]:
                raise MalformedBody(message, path)
            case [_, message, path]:
                raise InvalidInput(message, path)
            case _:
                raise NotReady(_DECODING)

    def close(self) -> None:
        """End the process."""
        self._child.close()


def serve_in_child() -> Callable[[Any], Any]:
    """Return what decodes bodies, in the child process."""
    decoders: dict[tuple[Any, ...], BodyDecoder] = {}

    def serve(payload: list[Any]) -> list[Any]:
        (name, datatype, shape, fields, max_rows), body = payload
        key = (name, datatype, tuple(shape), tuple(fields), max_rows)
        if key not in decoders:
            spec = TensorSpec(name, datatype, tuple(shape))
            decoders[key] = BodyDecoder(spec, tuple(fields), max_rows)
        return _answer(decoders[key], body)

    return serve


def _answer(decoder: BodyDecoder, body: bytes) -> list[Any]:
    try:
        rows, fields = decoder.decode(body)
    except BodyTooLarge as error:
        return ["too_large", error.limit, error.unit]
    except RequestError as error:
        kind = "malformed" if isinstance(error, MalformedBody) else "invalid"
        return [kind, error.message, error.path]
    return ["rows", rows.dtype.str, list(rows.shape), rows.tobytes(), dict(fields)]
