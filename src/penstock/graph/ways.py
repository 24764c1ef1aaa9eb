"""Which way one request would go at what chooses in a spec, and why; nothing is sent.

The decisions are the patterns' own (`patterns/condition.py`, `patterns/split.py`), made with
what is told of the request.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias, assert_never

import msgspec
from msgspec import Struct

from penstock.core.criteria import DAY_S, seen
from penstock.core.errors import InvalidInput, SpecError
from penstock.core.ids import seed_of
from penstock.core.rendezvous import Odds, draw, seed_key, value_key
from penstock.core.rows import ANY_ROWS, RowReader
from penstock.core.values import FieldValue, InferenceRequest, Tensors
from penstock.graph.conditions import rules_of
from penstock.graph.splits import odds_for, sticky_of
from penstock.patterns.condition import is_passed
from penstock.patterns.split import chosen
from penstock.spec.conditions import INPUT, OTHERWISE, seconds_of_day
from penstock.spec.experiments import experiments
from penstock.spec.explain import Chooser, Decide, Refused, Way
from penstock.spec.fields import normal_name, request_fields
from penstock.spec.problems import item, listed, quoted
from penstock.spec.tree import Condition, Spec, Split, When
from penstock.spec.wording import rule_text

ROWS: Final = f"field:{INPUT}"
SEED: Final = "header:x-penstock-seed"
EXAMPLE: Final = '{"headers": {"target": "mountain"}}'


Int64: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""As in bodies."""


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
    body: Mapping[str, list[list[float]] | str | Int64 | float | bool | None] = {}
    time: str | None = None


class Asked(Struct, frozen=True):
    """A request, and when it comes.

    Attributes:
        request: with all fields that it has, whether a spec names them or not.
        wall_s: in seconds since the epoch.
        seeded: its seed was told; otherwise that of the request says nothing.
    """

    request: InferenceRequest
    wall_s: float
    seeded: bool = False


def asked(text: str, wall_s: float) -> Asked:
    """Return the request that a JSON text tells of.

    Args:
        text: of `Told`.
        wall_s: now, where the text does not say when.

    Raises:
        SpecError: the text is not understood, or says something twice, or its seed is none.
        InvalidInput: its rows are not rows.
    """
    try:
        told = msgspec.json.decode(text, type=Told)
        json.loads(text, object_pairs_hook=_each_once)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise SpecError((f"--request is not understood: {error}; write {EXAMPLE}",)) from error
    fields: dict[str, FieldValue] = {}
    tensors: Tensors = {}
    for kind, table in (("header", told.headers), ("query", told.query), ("field", told.body)):
        for name, value in table.items():
            field = normal_name(f"{kind}:{name}")
            if field == ROWS and not isinstance(value, list):
                raise SpecError(("--request: data is the rows: a list of lists of numbers",))
            if field in fields:
                raise SpecError((f"--request: the {kind} {quoted(name)} is told twice",))
            if not isinstance(value, list):
                fields[field] = seen(_as_sent(kind, value))
            elif field == ROWS:
                tensors = {INPUT: RowReader(ANY_ROWS).read(value)}
            else:
                raise SpecError((f"--request: {name} of the body is a list; only data may be one",))
    if told.time is not None:
        wall_s = _at(told.time)
    told_seed = fields.get(SEED)
    seed = 0 if told_seed is None else _seed(str(told_seed))
    request = InferenceRequest("explained", "", tensors, 0.0, seed, fields=fields)
    return Asked(request, wall_s, seeded=told_seed is not None)


def _as_sent(kind: str, value: FieldValue) -> FieldValue:
    """Return a value as the server has it: blanks at the ends of a header are no part of it."""
    return value.strip(" \t") if kind == "header" and isinstance(value, str) else value


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    seen_names = set()
    for name, _ in pairs:
        if name in seen_names:
            raise SpecError((f"--request: {quoted(name)} is told twice",))
        seen_names.add(name)


def _seed(text: str) -> int:
    seed = seed_of(text.encode(errors="replace"))
    if seed is None:
        raise SpecError((f"--request: the seed is no 16 hexadecimal digits: {quoted(text)}",))
    return seed


def _at(time: str) -> float:
    seconds = seconds_of_day(time)
    if seconds is None:
        raise SpecError((f"--request: {quoted(time)} is no time of day; write it as 22:30",))
    return float(seconds)


def deciding(of: Asked, spec: Spec) -> Decide:
    """Return what tells the way of a request at each condition and split that it meets."""
    named = experiments(spec)

    def decide(target: Chooser) -> Way:
        match target:
            case Condition():
                return _at_condition(target, of)
            case Split():
                return _at_split(target, named[target.place], of)
            case _:
                assert_never(target)

    return decide


def unread(of: Asked, spec: Spec) -> Refused:
    """Return what tells of a route why the server refuses the request before any rule is asked."""
    given = [field for field in of.request.fields if field.startswith("field:")]

    def refused(route: str) -> str:
        read = request_fields(spec.routes[route], spec)
        unread = [field.removeprefix("field:") for field in given if field not in read]
        if not unread:
            return ""
        keys = listed(map(quoted, unread))
        return f"the server refuses it (422): {route} reads no {keys} in the body"

    return refused


def _at_condition(target: Condition, of: Asked) -> Way:
    why: list[str] = []
    for index, (rule, written) in enumerate(zip(rules_of(target), target.when, strict=True)):
        name = item("when", index)
        try:
            passed = is_passed(rule, of.request, of.wall_s)
        except InvalidInput as refusal:
            return Way((*why, f"{name} refuses it: {refusal.message}"), ())
        said = f"{rule_text(written)}; {_given(written, of)}"
        why.append(f"{name} {'matches' if passed else 'does not match'}: {said}")
        if passed:
            return Way(tuple(why), (name,))
    return Way(tuple(why), (OTHERWISE,))


def _at_split(target: Split, experiment: str, of: Asked) -> Way:
    odds, sticky = odds_for(target, experiment), sticky_of(target)
    value = None if sticky is None else of.request.fields.get(sticky)
    key = value_key(value)
    if key is None and not of.seeded:
        return Way(
            (f"{_lacking(target, value)}the seed decides, which is drawn for each request",),
            tuple(one.arm for one in odds),
        )
    if key is None:
        by = f"{_lacking(target, value)}the seed decides, which is {of.request.seed:016x}"
    else:
        by = f"{_spoken(target.sticky)} is {_value(value)}, in the experiment {experiment}"
    arm = chosen(odds, sticky, of.request).arm
    key = key or seed_key(of.request.seed)
    scores = (_score(one, target.arms[one.arm].weight, key) for one in odds)
    return Way((by, *scores, f"{arm} has the smallest"), (arm,))


def _score(one: Odds, weight: float, key: bytes) -> str:
    drawn = draw(one, key)
    return f"{one.arm}: -ln({drawn:.6f}) / {weight:.15g} = {-math.log(drawn) / weight:.6g}"


def _lacking(target: Split, value: FieldValue) -> str:
    if target.sticky == "none":
        return ""
    return f"{_spoken(target.sticky)} is {'empty' if value == '' else 'not given'}, so "


def _spoken(field: str) -> str:
    return field.replace(":", " ", 1)


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
