"""What the rules of a condition mean: names of what is looked at, the ends of tests, hours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from penstock.core.criteria import DAY_S
from penstock.spec.problems import Lines, Problem, child, item, quoted
from penstock.spec.tree import Condition, Expression, Match, When

HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
TIME: Final = re.compile(r"(?P<hours>[01][0-9]|2[0-4]):(?P<minutes>[0-5][0-9])")
HOURS: Final = "write between: [22:00, 06:00]; the hours are UTC"
INPUT: Final = "data"

OTHERWISE: Final = "otherwise"


def branches(condition: Condition) -> dict[str, Expression]:
    """Return a condition's predictors by branch: `when[0]`, ... and `otherwise`."""
    named = {item("when", index): rule.use for index, rule in enumerate(condition.when)}
    return {**named, OTHERWISE: condition.otherwise}


def places(condition: Condition) -> dict[str, str]:
    """Return where each branch of a condition stands."""
    named = {item("when", index): rule.place for index, rule in enumerate(condition.when)}
    return {**named, OTHERWISE: child(condition.place, OTHERWISE)}


def hours_of(time: Match) -> tuple[int, int] | None:
    """Return begin and end of a rule's hours, in seconds after midnight; None where it has none."""
    if time.between is None:
        return None
    begin_s, end_s = map(seconds_of_day, time.between)
    if begin_s is None or end_s is None or begin_s in (end_s, DAY_S):
        return None
    return begin_s, end_s


def seconds_of_day(text: float | str) -> int | None:
    """Return a time of day such as `22:00` in seconds after midnight, or None where it is none."""
    time = TIME.fullmatch(str(text))
    if time is None:
        return None
    seconds = int(time["hours"]) * 3600 + int(time["minutes"]) * 60
    return seconds if seconds <= DAY_S else None


def check_condition(condition: Condition, lines: Lines) -> Iterator[Problem]:
    """Yield what is wrong with the rules of a condition, apart from what stands within them."""
    if not condition.when:
        hint = "write what stands under otherwise in its place"
        yield lines.error(child(condition.place, "when"), "a condition needs a rule", hint)
    seen: dict[str, When] = {}
    for name, rule in zip(branches(condition), condition.when, strict=False):
        yield from _rule(rule, lines)
        same = next((first for first, one in seen.items() if _tests(one) == _tests(rule)), None)
        if same is not None:
            yield lines.warning(rule.place, f"{same} tests the same, so {name} is never reached")
        seen[name] = rule


def _tests(rule: When) -> tuple[object, ...]:
    headers = None if rule.header is None else {k.lower(): v for k, v in rule.header.items()}
    column = (rule.column, rule.above, rule.below, rule.between)
    return headers, rule.query, rule.field, rule.time, column


def _rule(rule: When, lines: Lines) -> Iterator[Problem]:
    tables = {"header": rule.header, "query": rule.query, "field": rule.field}
    for kind, table in tables.items():
        if table is not None:
            path = child(rule.place, kind)
            yield from _table(path, kind, table, lines)
    if rule.time is not None and hours_of(rule.time) is None:
        path = child(rule.place, "time")
        yield lines.error(path, "two different times of day are needed here", HOURS)
    if rule.between is not None:
        yield from _ends(child(rule.place, "between"), rule.between, lines)


def _table(path: str, kind: str, table: Mapping[str, Match], lines: Lines) -> Iterator[Problem]:
    if not table:
        yield lines.error(path, f"no {kind} is named, so every request would match")
    if kind == "header":
        yield from _headers(path, table, lines)
    if kind == "field" and INPUT in table:
        hint = "test a column of it: {column: 0, above: 30}"
        yield lines.error(child(path, INPUT), f"{INPUT} is the input itself", hint)
    for name, test in table.items():
        if test.between is not None:
            yield from _ends(child(child(path, name), "between"), test.between, lines)


def _headers(path: str, table: Mapping[str, Match], lines: Lines) -> Iterator[Problem]:
    seen: set[str] = set()
    for name in table:
        if HEADER.fullmatch(name) is None:
            yield lines.error(child(path, name), f"{quoted(name)} is no name of a header")
        if name.lower() in seen:
            sentence = f"{name} is named twice: headers have no upper and lower case"
            yield lines.error(child(path, name), sentence)
        seen.add(name.lower())


def _ends(path: str, between: tuple[float | str, float | str], lines: Lines) -> Iterator[Problem]:
    low, high = between
    if isinstance(low, str) or isinstance(high, str):
        yield lines.error(path, "two numbers are needed here; times of day stand under time")
    elif low > high:
        yield lines.error(path, f"nothing lies between {low:g} and {high:g}", "swap them")
