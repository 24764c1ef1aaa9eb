"""What processes have counted, as plain values: sent between them, added up, shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from penstock.core.families import FAMILIES, Family, Kind

MAX_SERIES: Final = 10_000
"""Label sets of one family; what comes beyond goes into one whose labels all are `other`."""

OTHER: Final = "other"

Labels: TypeAlias = tuple[str, ...]

Reading: TypeAlias = tuple[Family, Labels, float]
"""A counter's or gauge's value, read when somebody asks."""


class Distribution(Struct, frozen=True):
    """A histogram's values.

    Attributes:
        counts: by bucket, not cumulated; the last one holds what is above all bounds.
        total: the sum of all values.
    """

    counts: tuple[int, ...]
    total: float


class Snapshot(Struct, frozen=True):
    """What one process, or several together, have counted so far.

    Attributes:
        numbers: of counters and gauges, by the family's name, then by labels.
        distributions: of histograms, likewise.
    """

    numbers: Mapping[str, Mapping[Labels, float]] = {}
    distributions: Mapping[str, Mapping[Labels, Distribution]] = {}


def as_snapshot(plain: object) -> Snapshot:
    """Return the snapshot that another process sent as MessagePack.

    Raises:
        msgspec.ValidationError: it is none.
    """
    return msgspec.convert(plain, Snapshot)


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Return what several processes have counted together.

    Counters and histograms are summed, gauges as their family says.
    """
    numbers: dict[str, dict[Labels, float]] = {}
    distributions: dict[str, dict[Labels, Distribution]] = {}
    for snapshot in snapshots:
        for family in FAMILIES:
            for labels, value in snapshot.numbers.get(family.name, {}).items():
                add_number(numbers.setdefault(family.name, {}), family, labels, value)
            for labels, more in snapshot.distributions.get(family.name, {}).items():
                _add_distribution(distributions.setdefault(family.name, {}), labels, more)
    return Snapshot(numbers, distributions)


def without_gauges(snapshot: Snapshot) -> Snapshot:
    """Return what stays of a process that has ended: only what can never go down."""
    gauges = {family.name for family in FAMILIES if family.kind is Kind.GAUGE}
    numbers = {name: series for name, series in snapshot.numbers.items() if name not in gauges}
    return Snapshot(numbers, snapshot.distributions)


def add_number(series: dict[Labels, float], family: Family, labels: Labels, value: float) -> None:
    """Add a value to a family's series, at most `MAX_SERIES` of them."""
    key = bounded(series, labels)
    before = series.get(key)
    if before is not None:
        largest = family.kind is Kind.GAUGE and family.joined == "max"
        value = max(before, value) if largest else before + value
    series[key] = value


def _add_distribution(
    series: dict[Labels, Distribution], labels: Labels, more: Distribution
) -> None:
    key = bounded(series, labels)
    before = series.get(key)
    if before is not None:
        counts = tuple(a + b for a, b in zip(before.counts, more.counts, strict=True))
        more = Distribution(counts, before.total + more.total)
    series[key] = more


def bounded(series: Mapping[Labels, object], labels: Labels) -> Labels:
    """Return the labels, or those of the one series that takes what is too many."""
    if labels in series or len(series) < MAX_SERIES:
        return labels
    return (OTHER,) * len(labels)
