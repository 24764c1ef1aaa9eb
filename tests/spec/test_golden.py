"""Whole specs and all that is said about them: messages are interface.

A case is a folder with `spec.yaml`, `expected.txt` and, where not every pattern can be built,
`available.txt`. `GOLDEN_UPDATE=1` writes what is said now; the difference is to be reviewed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.spec.check import examine
from penstock.spec.decode import decode
from penstock.spec.explain import explain
from penstock.spec.forms import LAYERS, TARGETS
from penstock.spec.read import read_text

CASES = sorted(path.parent for path in Path(__file__).parent.glob("golden/*/spec.yaml"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_says(case: Path) -> None:
    said = say(case)
    expected = case / "expected.txt"
    if os.environ.get("GOLDEN_UPDATE") == "1":
        expected.write_text(said, encoding="utf-8")
    assert said == expected.read_text(encoding="utf-8")


def say(case: Path) -> str:
    text = (case / "spec.yaml").read_text(encoding="utf-8")
    source = read_text(text, {}, Path("spec.yaml"))
    _, problems = examine(source, reserved=frozenset({"health"}), available=available(case))
    spec, _ = decode(source)
    graph = [] if spec is None else [explain(spec)]
    return "\n".join([*map(str, problems), *graph, ""])


def available(case: Path) -> frozenset[str]:
    listed = case / "available.txt"
    if listed.exists():
        return frozenset(listed.read_text(encoding="utf-8").split())
    return frozenset({*LAYERS, *TARGETS})
