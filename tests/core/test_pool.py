"""What a pool tells: the real pool's counts are of that form, and so is what `/metrics` reads."""

from __future__ import annotations

from penstock.core.pool import PoolCounted
from penstock.core.readings import pool_readings
from penstock.runtimes.http_terms import PoolCounts


def test_a_pools_counts_are_what_the_metrics_read() -> None:
    names = [name for name in vars(PoolCounted) if not name.startswith("_")]
    counts = PoolCounts(**{name: number for number, name in enumerate(names, 1)})
    read = {(family.name, *labels): value for family, labels, value in pool_readings("m", counts)}
    assert len(read) == len(names)
    assert read["penstock_pool_waiting", "m"] == counts.waiting
    assert read["penstock_pool_connections", "m", "other"] == counts.open - counts.busy
