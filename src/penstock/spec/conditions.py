"""What the rules of a condition mean: names of what is looked at, the ends of tests, hours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from penstock.core.criteria import DAY_S
from penstock.spec.problems import Lines, Problem, child, item, quoted
from penstock.spec.tree import Condition, Expression, Match, When

HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
KEY: Final = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]+')
"""What a key of the body may be called, for a decoder that is made for it."""

CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
TIME: Final = re.compile(r"(?P<hours>[01][0-9]|2[0-4]):(?P<minutes>[0-5][0-9])")
HOURS: Final = "write between: [22:00, 06:00]; the hours are UTC"
NEARLY_TIME: Final = re.compile(r"(?P<hours>[0-9]{1,2})(?::(?P<minutes>[0-5]?[0-9]))?")
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
        yield from _hours(child(rule.place, "time"), rule.time, lines)
    if rule.between is not None:
        yield from _ends(child(rule.place, "between"), rule.between, lines)


def _hours(path: str, time: Match, lines: Lines) -> Iterator[Problem]:
    ends = time.between or ()
    wrong = [(index, *_wrong_end(end, index)) for index, end in enumerate(ends)]
    said = [(index, sentence, hint) for index, sentence, hint in wrong if sentence]
    for index, sentence, hint in said:
        yield lines.error(item(child(path, "between"), index), sentence, hint)
    if not said:
        yield lines.error(path, "two different times of day are needed here", HOURS)


def _wrong_end(end: float | str, index: int) -> tuple[str, str]:
    """Return in a sentence why nothing can begin or end then, and a hint; nothing if it can."""
    said, seconds = _written(end), seconds_of_day(end)
    if seconds is None:
        return f"{said} is no time of day", _nearest(said)
    if seconds == DAY_S and index == 0:
        return f"{said} is the end of a day, so no hours begin then", "write 00:00"
    return "", ""


def _written(end: float | str) -> str:
    return end if isinstance(end, str) else f"{end:.15g}"


def _nearest(text: str) -> str:
    """Return how a time of day is written that may be meant."""
    time = NEARLY_TIME.fullmatch(text)
    meant = "" if time is None else f"{int(time['hours']):02}:{int(time['minutes'] or 0):02}"
    return HOURS if seconds_of_day(meant) is None else f"write {meant}"


def _table(path: str, kind: str, table: Mapping[str, Match], lines: Lines) -> Iterator[Problem]:
    if not table:
        yield lines.error(path, f"no {kind} is named, so every request would match")
    if kind == "header":
        yield from _headers(path, table, lines)
    for name in table if kind == "field" else ():
        hint = "test a column of it: {column: 0, above: 30}" if name == INPUT else ""
        wrong = wrong_key(name)
        if wrong:
            yield lines.error(child(path, name), wrong, hint)
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
    for name, test in table.items():
        for text in _not_in_headers(test):
            hint = "leave out blanks at its ends and control characters"
            sentence = f"no header has the text {quoted(text)}, so nothing matches"
            yield lines.error(child(path, name), sentence, hint)


def _not_in_headers(test: Match) -> Iterator[str]:
    """Yield the texts of a test that no header has: servers take blanks off the ends of values."""
    texts = [text for text in (test.exact, *(test.one_of or ())) if isinstance(text, str)]
    yield from (text for text in texts if text.strip(" \t") != text or CONTROLS.search(text))
    begin = test.prefix or ""
    if begin.lstrip(" \t") != begin or CONTROLS.search(begin):
        yield begin


def wrong_key(name: str) -> str:
    """Return in a sentence why no body can have such a key beside its input; nothing if it can."""
    if name == INPUT:
        return f"{INPUT} is the input itself"
    if KEY.fullmatch(name) is None:
        return f"{quoted(name)} cannot be a key here: no quotes, backslashes, control characters"
    return ""


def _ends(path: str, between: tuple[float | str, float | str], lines: Lines) -> Iterator[Problem]:
    low, high = between
    if isinstance(low, str) or isinstance(high, str):
        yield lines.error(path, "two numbers are needed here; times of day stand under time")
    elif low > high:
        yield lines.error(path, f"nothing lies between {low:g} and {high:g}", "swap them")
