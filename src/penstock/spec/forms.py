"""The types of `tree.py` as a few closed forms.

The tree's annotations say what a key may hold; this turns them into values that the decoder can
walk over without knowing any single pattern.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeAlias,
    Union,
    cast,
    get_args,
    get_origin,
)

from msgspec import Meta, Struct
from msgspec.structs import fields

from penstock.spec import tree


class Text(Struct, frozen=True):
    """Text, of a certain pattern."""

    pattern: re.Pattern[str] | None = None
    title: str = ""


class Number(Struct, frozen=True):
    """A finite number within bounds."""

    whole: bool
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None


class Flag(Struct, frozen=True):
    """`true` or `false`."""


class Anything(Struct, frozen=True):
    """Whatever YAML can say."""


class Word(Struct, frozen=True):
    """One of a few words; `numbers` are other ways to say them."""

    words: Mapping[str, object]
    numbers: Mapping[int, object] = {}


class ListOf(Struct, frozen=True):
    """A list of any length."""

    item: Form


class Row(Struct, frozen=True):
    """A list of a fixed length."""

    items: tuple[Form, ...]


class MapOf(Struct, frozen=True):
    """A mapping from names to values."""

    key: Text
    value: Form


class Record(Struct, frozen=True):
    """A mapping with known keys."""

    kind: type[Struct]


class Predictor(Struct, frozen=True):
    """An expression: a name, a list of layers and a target, or a pattern."""


Option: TypeAlias = Text | Number | Word | ListOf | Record
"""What one can choose between: a node's kind tells which is meant."""


class Choice(Struct, frozen=True):
    """The first of several forms that fits the value's kind."""

    options: tuple[Option, ...]


class Maybe(Struct, frozen=True):
    """A form, or no value."""

    form: Form


Form: TypeAlias = (
    Text
    | Number
    | Flag
    | Anything
    | Word
    | ListOf
    | Row
    | MapOf
    | Record
    | Predictor
    | Choice
    | Maybe
)


class Key(Struct, frozen=True):
    """One key of a record.

    Attributes:
        name: as it is written.
        attribute: the struct's attribute that it becomes.
        form: what it may hold.
        required: whether it must be written.
    """

    name: str
    attribute: str
    form: Form
    required: bool


NO_PLACE: Final = "place"
NUMBERS: Final[Mapping[type, Mapping[int, object]]] = {
    tree.State: {1: tree.State.ON, 0: tree.State.OBSERVE},
}
EXPRESSIONS: Final = frozenset(get_args(tree.Expression))
LAYERS: Final[Mapping[str, type[Struct]]] = {
    str(kind.__struct_config__.tag): kind for kind in get_args(tree.Layer)
}
TARGETS: Final[Mapping[str, type[Struct]]] = {
    str(kind.__struct_config__.tag): kind
    for kind in get_args(tree.Target)
    if kind is not tree.Reference
}


@cache
def keys(record: type[Struct]) -> Mapping[str, Key]:
    """Return the keys of a record by the names they are written with."""
    return {
        info.encode_name: Key(info.encode_name, info.name, form(info.type), info.required)
        for info in fields(record)
        if info.name != NO_PLACE
    }


def form(annotation: Any, metas: tuple[Meta, ...] = ()) -> Form:  # noqa: ANN401 - any annotation
    """Return the form of an annotation of the tree; `metas` are those around it."""
    arguments = get_args(annotation)
    match get_origin(annotation):
        case origin if origin is Annotated:
            return form(arguments[0], (*arguments[1:], *metas))
        case origin if origin is Union or origin is UnionType:
            return _union(arguments, metas)
        case origin if origin is Literal:
            return Word({word: word for word in arguments})
        case origin if origin is tuple:
            return _tuple(arguments)
        case origin if origin is Mapping:
            return _map(arguments)
    return _plain(annotation, metas)


def _union(arguments: tuple[Any, ...], metas: tuple[Meta, ...]) -> Form:
    options = tuple(one for one in arguments if one is not NoneType)
    inner: Form
    if EXPRESSIONS.issuperset(options):
        inner = Predictor()
    elif len(options) == 1:
        inner = form(options[0], metas)
    else:
        inner = Choice(tuple(_option(one, metas) for one in options))
    return inner if len(options) == len(arguments) else Maybe(inner)


def _option(annotation: Any, metas: tuple[Meta, ...]) -> Option:  # noqa: ANN401 - as above
    return cast("Option", form(annotation, metas))


def _tuple(arguments: tuple[Any, ...]) -> Form:
    if arguments[-1] is Ellipsis:
        return ListOf(form(arguments[0]))
    return Row(tuple(form(one) for one in arguments))


def _map(arguments: tuple[Any, ...]) -> MapOf:
    return MapOf(cast("Text", form(arguments[0])), form(arguments[1]))


def _plain(annotation: Any, metas: tuple[Meta, ...]) -> Form:  # noqa: ANN401 - any annotation
    if annotation is Any:
        return Anything()
    if annotation is bool:
        return Flag()
    if annotation is str:
        return _text(metas)
    if annotation in (int, float):
        return _number(annotation is int, metas)
    if issubclass(annotation, StrEnum):
        return Word({word.value: word for word in annotation}, NUMBERS.get(annotation, {}))
    return Record(annotation)


def _text(metas: tuple[Meta, ...]) -> Text:
    for meta in metas:
        if meta.pattern is not None:
            return Text(re.compile(meta.pattern), meta.title or "")
    return Text()


def _number(whole: bool, metas: tuple[Meta, ...]) -> Number:
    def bound(name: str) -> float | None:
        return next((at for meta in metas if (at := getattr(meta, name)) is not None), None)

    return Number(whole, bound("ge"), bound("gt"), bound("le"), bound("lt"))


def within(value: float, number: Number) -> bool:
    """Return whether the value keeps the number's bounds."""
    return (
        (number.ge is None or value >= number.ge)
        and (number.gt is None or value > number.gt)
        and (number.le is None or value <= number.le)
        and (number.lt is None or value < number.lt)
    )
