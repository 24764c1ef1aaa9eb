"""The declarations keep Prometheus' rules for names."""

from __future__ import annotations

import re

import pytest

from penstock.core.families import FAMILIES, Family, Kind

each = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def test_names_are_their_own() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES) > 20


@each
def test_name_says_whose_it_is_and_what_it_counts(family: Family) -> None:
    assert re.fullmatch(r"penstock(_[a-z]+)+", family.name)
    assert family.name.endswith("_total") is (family.kind is Kind.COUNTER)
    assert not family.name.endswith(("_bucket", "_sum", "_count", "_created"))


@each
def test_units_are_base_units(family: Family) -> None:
    assert not re.search(r"_(ms|milliseconds|us|minutes|kb|mb|percent)(_|$)", family.name)


@each
def test_labels_are_names(family: Family) -> None:
    for label in family.labels:
        assert re.fullmatch(r"[a-z]+", label)
        assert label not in ("le", "quantile", "instance", "job")


@each
def test_meaning_is_a_sentence(family: Family) -> None:
    assert family.meaning[0].isupper()
    assert family.meaning.endswith(".")
    assert "\n" not in family.meaning


@each
def test_histograms_have_ascending_bounds_and_nothing_else_has(family: Family) -> None:
    assert bool(family.bounds) is (family.kind is Kind.HISTOGRAM)
    assert list(family.bounds) == sorted(set(family.bounds))
    assert float("inf") not in family.bounds
