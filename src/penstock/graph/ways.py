"""Which way one request would go at the conditions of a spec, and why; nothing is sent.

The decision is the pattern's own (`patterns/condition.py`), made with what is told of the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from penstock.core.criteria import DAY_S, seen
from penstock.core.errors import InvalidInput, SpecError
from penstock.core.rows import ANY_ROWS, RowReader
from penstock.core.values import FieldValue, InferenceRequest, Tensors
from penstock.graph.conditions import rules_of
from penstock.patterns.condition import is_passed
from penstock.spec.conditions import OTHERWISE, seconds_of_day
from penstock.spec.explain import Decide, Way, rule_text
from penstock.spec.fields import normal_name
from penstock.spec.problems import item, quoted
from penstock.spec.tree import Condition, When

EXAMPLE: Final = '{"headers": {"target": "mountain"}}'


class Told(Struct, frozen=True, forbid_unknown_fields=True):
    """What is told of a request, as JSON.

    Attributes:
        headers: by name, in any case.
        query: by name.
        body: its top-level keys, `data` included.
        time: of the day in UTC, as `22:30`; now unless given.
    """

    headers: Mapping[str, str] = {}
    query: Mapping[str, str] = {}
    body: Mapping[str, list[list[float]] | str | int | float | bool | None] = {}
    time: str | None = None


class Asked(Struct, frozen=True):
    """A request, and when it comes.

    Attributes:
        request: with all fields that it has, whether a spec names them or not.
        wall_s: in seconds since the epoch.
    """

    request: InferenceRequest
    wall_s: float


def asked(text: str, wall_s: float) -> Asked:
    """Return the request that a JSON text tells of.

    Args:
        text: of `Told`.
        wall_s: now, where the text does not say when.

    Raises:
        SpecError: the text is not understood.
        InvalidInput: its rows are not rows.
    """
    try:
        told = msgspec.json.decode(text, type=Told)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise SpecError((f"--request is not understood: {error}; write {EXAMPLE}",)) from error
    fields: dict[str, FieldValue] = {}
    tensors: Tensors = {}
    for kind, table in (("header", told.headers), ("query", told.query), ("field", told.body)):
        for name, value in table.items():
            if not isinstance(value, list):
                fields[normal_name(f"{kind}:{name}")] = seen(value)
            elif name == "data":
                tensors = {"data": RowReader(ANY_ROWS).read(value)}
            else:
                raise SpecError((f"--request: {name} of the body is a list; only data may be one",))
    if told.time is not None:
        wall_s = _at(told.time)
    return Asked(InferenceRequest("explained", "", tensors, 0.0, 0, fields=fields), wall_s)


def _at(time: str) -> float:
    seconds = seconds_of_day(time)
    if seconds is None:
        raise SpecError((f"--request: {quoted(time)} is no time of day; write it as 22:30",))
    return float(seconds)


def deciding(of: Asked) -> Decide:
    """Return what tells the way of a request at each condition that it meets."""

    def decide(target: Condition) -> Way:
        why: list[str] = []
        for index, (rule, written) in enumerate(zip(rules_of(target), target.when, strict=True)):
            name = item("when", index)
            try:
                passed = is_passed(rule, of.request, of.wall_s)
            except InvalidInput as refusal:
                return Way((*why, f"{name} refuses it: {refusal.message}"), None)
            said = f"{rule_text(written)}; {_given(written, of)}"
            why.append(f"{name} {'matches' if passed else 'does not match'}: {said}")
            if passed:
                return Way(tuple(why), name)
        return Way(tuple(why), OTHERWISE)

    return decide


def _given(rule: When, of: Asked) -> str:
    """Return what the request has of what a rule looks at."""
    if rule.time is not None:
        minutes = int(of.wall_s % DAY_S) // 60
        return f"it is {minutes // 60:02}:{minutes % 60:02} UTC"
    if rule.column is not None:
        rows = of.request.tensors.get("data")
        if rows is None:
            return "there are no rows"
        first = f"it is {rows[0, rule.column]:.15g}"
        return first if len(rows) == 1 else f"{first} in the first of {len(rows)} rows"
    tables = {"header": rule.header, "query": rule.query, "field": rule.field}
    names = [f"{kind}:{name}" for kind, table in tables.items() for name in table or ()]
    fields = of.request.fields
    words = [
        _value(fields[key]) if (key := normal_name(n)) in fields else "not given" for n in names
    ]
    return f"it is {' and '.join(words)}"


def _value(value: FieldValue) -> str:
    return quoted(value) if isinstance(value, str) else msgspec.json.encode(value).decode()
