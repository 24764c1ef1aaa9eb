"""Which requests are among a route's sample."""

from __future__ import annotations

import random

from msgspec import structs

from penstock.core.errors import InvalidInput
from penstock.core.record import Record, Role
from penstock.stores.policy import LogPolicy
from tests.stores.ends import a_record
from tests.support import a_request

HALF = LogPolicy(route="iris", place="routes.iris[0].prediction_log", sample_percent=50.0)


def of_seed(seed: int, role: Role = Role.PRIMARY) -> Record:
    return structs.replace(a_record(role=role), request=a_request(seed=seed))


def test_all_unless_said_otherwise() -> None:
    assert LogPolicy(route="iris").samples(a_record())
    assert not LogPolicy(route="iris", sample_percent=0.0).samples(a_record())


def test_a_requests_records_are_all_kept_or_none() -> None:
    rng = random.Random(7)
    seeds = [rng.getrandbits(64) for _ in range(1000)]
    chosen = [HALF.samples(of_seed(seed)) for seed in seeds]
    assert 400 < sum(chosen) < 600
    assert chosen == [HALF.samples(of_seed(seed, Role.SHADOW)) for seed in seeds]


def test_routes_choose_apart() -> None:
    other = structs.replace(HALF, place="routes.other[0].prediction_log")
    assert any(HALF.samples(of_seed(s)) is not other.samples(of_seed(s)) for s in range(64))


def test_without_a_seed_the_id_decides() -> None:
    records = [
        Record(Role.PRIMARY, "iris", f"r{i}", None, InvalidInput("no"), 0.0) for i in range(1000)
    ]
    chosen = [HALF.samples(record) for record in records]
    assert 400 < sum(chosen) < 600
    assert chosen == [HALF.samples(record) for record in records]
