"""Modules are named by what they hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from penstock.spec import tree
from tests.house.source import MODULES, ROOT, SOURCE, relative
from tests.house.waivers import NO_TWIN

SAY_NOTHING = {
    "utils",
    "util",
    "common",
    "helpers",
    "helper",
    "base",
    "manager",
    "misc",
    "core_utils",
}

MIRRORED = {"core", "spec", "patterns", "graph"}


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_module_has_a_telling_name(module: Path) -> None:
    words = set(module.stem.split("_")) | set(module.relative_to(SOURCE).parent.parts)
    assert not words & SAY_NOTHING


def test_rooms_are_those_of_the_design() -> None:
    design = (ROOT / "docs" / "design" / "design.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^  (\w+)/ ", design, re.MULTILINE))
    there = {path.parent.name for path in SOURCE.glob("*/*.py")}
    assert there == told


def test_every_module_has_its_twin_test() -> None:
    """`src/penstock/<room>/<module>.py` has `tests/<room>/test_<module>.py`."""
    for module in MODULES:
        room = module.parent.name
        if room not in MIRRORED or module.name == "__init__.py" or relative(module) in NO_TWIN:
            continue
        twin = ROOT / "tests" / room / f"test_{module.name}"
        assert twin.exists(), relative(twin)


def test_waivers_are_of_modules() -> None:
    assert set(NO_TWIN) <= set(map(relative, MODULES))


def test_units_stand_in_the_names_of_the_spec() -> None:
    """A duration in a spec says its unit."""
    for kind in vars(tree).values():
        for field in getattr(kind, "__struct_fields__", ()):
            assert not re.search(r"(timeout|interval|duration|wait)$", field), field
