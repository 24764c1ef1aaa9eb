"""Measures what a condition costs a request: its rules, and the regular expressions in them.

    python -m benchmarks.conditions

Every figure is the median of several spells of one thread, in microseconds of its CPU time.
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import numpy as np

from penstock.core.clock import SystemClock
from penstock.core.criteria import MAX_VALUE_CHARACTERS, Hours, Matching, OneOf, Within
from penstock.core.drive import Driven
from penstock.core.labels import SCORES
from penstock.core.regex import Regex
from penstock.core.values import AnswerKind, InferenceRequest, InferenceResponse
from penstock.patterns.condition import Branch, Column, Condition, Fields, Rule

SPELLS: Final = 9
SPELL_S: Final = 0.05
US_PER_S: Final = 1e6

PATTERNS: Final = (
    "mountain",
    "[a-z]+-[0-9]{1,5}",
    "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "(a*)*b",
    "a*a*a*a*a*a*b",
    "(.*,){9}z",
    "(a?){32}a{32}",
    "[ab]*a[ab]{60}",
    "[ab]*(a?b?){31}",
)
TEXTS: Final = ("a" * MAX_VALUE_CHARACTERS, "ab" * (MAX_VALUE_CHARACTERS // 2), "a," * 128)

RULES: Final[Mapping[str, Rule]] = {
    "header, exact": Fields({"header:target": OneOf(texts=frozenset({"mountain"}))}),
    "header, regex, 8 characters": Fields({"header:target": Matching(Regex("[a-z]+"))}),
    "column, above": Column(0, Within(low=30.0)),
    "time": Hours(22 * 3600, 6 * 3600),
}


async def answer(request: InferenceRequest, /) -> InferenceResponse:
    """Answer at once."""
    return InferenceResponse(AnswerKind.SCORES, {SCORES: request.tensors["data"]})


def cpu_us(once: Callable[[], object]) -> float:
    """Return the median CPU time of a call."""
    spells = []
    for _ in range(SPELLS):
        calls, began = 0, time.thread_time()
        while (spent := time.thread_time() - began) < SPELL_S:
            for _ in range(20):
                once()
            calls += 20
        spells.append(spent / calls)
    return statistics.median(spells) * US_PER_S


def asked(*rules: Rule) -> float:
    """Return what a request through a condition costs that meets its last rule."""
    clock = SystemClock()
    names = [str(index) for index in range(len(rules) + 1)]
    branches = [Branch(name=name, predictor=answer, place=name) for name in names]
    condition = Condition(rules=rules, branches=branches, clock=clock)
    tensors = {"data": np.array([[5.1, 3.5, 1.4, 0.2]], dtype=np.float32)}
    fields = {"header:target": "mountain"}
    request = InferenceRequest("an-id", "iris", tensors, clock.now_s() + 60, 7, fields=fields)
    return cpu_us(lambda: Driven(condition(request)).start()) - cpu_us(
        lambda: Driven(answer(request)).start()
    )


async def main() -> None:
    """Print the figures."""
    print(f"a regular expression against {MAX_VALUE_CHARACTERS} characters, the slowest of three")
    for pattern in PATTERNS:
        regex = Regex(pattern)
        slowest = max(cpu_us(partial(regex.matches, text)) for text in TEXTS)
        print(f"  {pattern:44} {slowest:8.2f} us")
    print("a request through a condition, beside what its branch costs")
    for name, rule in RULES.items():
        print(f"  {name:44} {asked(rule):8.2f} us")
    print(f"  {'ten rules on a header':44} {asked(*_ten()):8.2f} us")


def _ten() -> list[Rule]:
    other = Fields({"header:target": OneOf(texts=frozenset({"sea"}))})
    return [*[other] * 9, RULES["header, exact"]]


if __name__ == "__main__":
    asyncio.run(main())
