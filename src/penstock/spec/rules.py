"""What the keys of one mapping mean together: the forms that types alone cannot rule out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from msgspec import Struct

from penstock.core.criteria import MAX_VALUE_CHARACTERS
from penstock.core.regex import Regex
from penstock.core.regex_tree import NotRegular
from penstock.spec import tree
from penstock.spec.nodes import Plain, Scalar, Sequence, Table
from penstock.spec.problems import listed, quoted

Broken: TypeAlias = tuple[str, str, str]
"""The key, or nothing for the mapping itself; what is wrong; a hint."""

TESTS: Final = ("exact", "prefix", "regex", "one_of", "above", "below", "between")


_MOST_EXACT: Final = 2**53


def broken_rules(record: Struct, table: Table) -> Iterator[Broken]:
    """Yield what is wrong with a mapping although each of its keys is right.

    Args:
        record: the mapping.
        table: how it is written.
    """
    match record:
        case tree.Model():
            yield from _model(record)
        case tree.Match():
            yield from _match(record, _empty_keys(table))
        case tree.When():
            yield from _when(record)
        case _:
            pass


def doubts(record: Struct, table: Table) -> Iterator[Broken]:
    """Yield what may be meant in another way than it is understood; arguments are as above.

    A text such as 1.10 or 02134 without quotes is a number, and other texts are the same number.
    """
    if not isinstance(record, tree.Match):
        return
    for key in ("exact", "one_of"):
        value = table.entries[key].value if key in table.entries else None
        for one in value.items if isinstance(value, Sequence) else (value,):
            if isinstance(one, Scalar) and len(short := _shortest(one.value)) < len(one.text):
                sentence = f"{one.text} is the number {short} here, however that is written"
                yield key, sentence, f"write {quoted(one.text)} for that text alone"


def _shortest(value: Plain) -> str:
    """Return how a number is written shortest; anything else as it is."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _MOST_EXACT:
        value = int(value)
    return str(value)


def _model(model: tree.Model) -> Iterator[Broken]:
    if model.url is not None and model.urls:
        yield "urls", "url and urls are both given", "put all replicas under urls"
    if not (model.path or model.runtime or model.url or model.urls):
        yield "", "nothing says where the model is", "give it a path (a file), or a url"
    if model.path is not None and model.path.startswith("https://") and model.sha256 is None:
        yield "path", "a file that is downloaded needs its sha256", "add sha256: its digest"
    if model.path is not None and model.path.startswith("http://"):
        yield "path", "files are downloaded by https:// only", ""


def _match(match: tree.Match, empty: Mapping[str, str]) -> Iterator[Broken]:
    given = _given(match, TESTS)
    nothing = [key for key in empty if key not in given]
    if nothing:
        yield from (_empty(key, empty[key]) for key in nothing)
    elif len(given) != 1:
        yield "", f"a test is exactly one of {listed(TESTS)}, got {listed(given, 'and')}", ""
    elif match.regex is not None:
        yield from _regex(match.regex)
    elif match.one_of is not None:
        yield from _one_of(match.one_of)
    elif isinstance(match.exact, str):
        yield from _text("exact", match.exact)
    elif match.prefix is not None:
        yield from _text("prefix", match.prefix)


def _empty_keys(table: Table) -> dict[str, str]:
    """Return the keys that have no text, and the `${NAME}` that each comes from, if any."""
    values = {key: entry.value for key, entry in table.entries.items()}
    return {
        key: one.origin for key, one in values.items() if isinstance(one, Scalar) and not one.text
    }


def _empty(key: str, origin: str) -> Broken:
    hint = 'write regex: ".*" for any value' if key in ("prefix", "regex") else ""
    return key, f"{key} is empty{f' (from {origin})' if origin else ''}", hint


def _regex(pattern: str) -> Iterator[Broken]:
    try:
        Regex(pattern)
    except NotRegular as error:
        yield "regex", f"not a regular expression that can be used here: {error}", ""


def _one_of(values: tuple[str | int | float, ...]) -> Iterator[Broken]:
    if not values:
        yield "one_of", "an empty list matches nothing", ""
    for value in values:
        if isinstance(value, str):
            yield from _text("one_of", value)


def _text(key: str, text: str) -> Iterator[Broken]:
    """A longer text is never seen as a whole."""
    most = MAX_VALUE_CHARACTERS
    if len(text) > most:
        seen = f"no more than {most} characters of a value are looked at"
        yield key, f"{key} takes a text of at most {most} characters", seen


def _when(when: tree.When) -> Iterator[Broken]:
    looked_at = ("header", "query", "field", "column", "time")
    given = _given(when, looked_at)
    if len(given) != 1:
        yield (
            "",
            f"a rule looks at exactly one of {listed(looked_at)}, got {listed(given, 'and')}",
            "",
        )
        return
    tests = _given(when, ("above", "below", "between"))
    if when.column is not None and len(tests) != 1:
        sentence = (
            f"a column is tested by one of above, below or between, got {listed(tests, 'and')}"
        )
        yield "column", sentence, ""
    if when.column is None and tests:
        yield tests[0], f"{tests[0]} stands beside a column only", "put it into the test itself"


def _given(record: Struct, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if getattr(record, name) is not None]
