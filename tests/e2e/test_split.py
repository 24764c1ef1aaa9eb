"""Online A/B on a real server: shares, users who stay, live weights, a gateway ahead."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import math
import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.process import PATIENCE_S, Serving, as_json, serving
from tests.gateway.opening import CALLABLES, ROOT
from tests.waiting import until

SPEC: Final = """
models:
  flower: {runtime: "gateway_callables:flower", execution: inline, sample: [[1, 2, 3, 4]]}
  bloom: {runtime: "gateway_callables:bloom", execution: inline, sample: [[1, 2, 3, 4]]}
  far: {url: "${FAR:-127.0.0.1:1}"}
routes:
  ab: {split: {sticky: header:x-user-id, arms: {flower: 60, bloom: 40}}}
  beside: {fan_out: {arms: {here: ab, there: far}}}
  gateway:
    - split:
        experiment: outer
        arms: {ahead: {weight: 50, use: far}, here: {weight: 50, use: ab}}
"""
ROW: Final = b'{"data":[[1,2,3,4]]}'
SPREAD: Final = 0x9E3779B97F4A7C15
USERS: Final = 500
ENVIRONMENT: Final = {"PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(CALLABLES), str(ROOT)))}


class Client:
    """Asks one server over one connection."""

    def __init__(self, server: Serving) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)

    def arm(self, path: str, **headers: str) -> str:
        """Return the arm that a request meets; what its header says is what its body says."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("POST", path, ROW, given)
        answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        arm = answer.getheader("x-penstock-arm")
        assert arm is not None
        assert f'"mode":"{arm.rpartition("/")[2]}"'.encode() in content or "ahead" in arm
        return arm

    def by_user(self) -> list[str]:
        """Return the arms of all users."""
        return [self.arm("/ab/predict", x_user_id=f"user-{user}") for user in range(USERS)]

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def split(
    folder: Path, *options: str, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[Serving, Client]]:
    spec = folder / "spec.yaml"
    spec.write_text(SPEC)
    with (
        serving(spec, *options, environment={**ENVIRONMENT, **(environment or {})}) as server,
        contextlib.closing(Client(server)) as client,
    ):
        yield server, client


def within(count: int, of: int, share: float, sigmas: float) -> bool:
    return abs(count - of * share) <= sigmas * math.sqrt(of * share * (1 - share))


def test_ten_thousand_requests_at_sixty_to_forty(tmp_path: Path) -> None:
    """Within 99.9 %, of seeds that are given; nearly surely, of those that the server draws.

    The seeds are a plain count, spread over 64 bits. That the hash has no bias is for the many
    batches of `tests/core/test_rendezvous.py` to tell: one batch may always be the thousandth.
    """
    with split(tmp_path) as (_, client):
        given = Counter(
            client.arm("/ab/predict", x_penstock_seed=f"{number * SPREAD % 2**64:016x}")
            for number in range(10_000)
        )
        drawn = Counter(client.arm("/ab/predict") for _ in range(2_000))
    assert within(given["flower"], 10_000, 0.6, sigmas=3.291)
    assert within(drawn["flower"], 2_000, 0.6, sigmas=6)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_canary_that_grows_moves_nobody_back(tmp_path: Path, workers: str) -> None:
    with split(tmp_path, "--workers", workers) as (server, client):
        met: list[set[int]] = []
        for percent in (1, 5, 50):
            ran = server.command(
                "set", "ab/flower", f"weight={100 - percent}", "ab/bloom", f"weight={percent}"
            )
            assert ran.returncode == 0, ran.stderr
            arms = client.by_user()
            met.append({user for user, arm in enumerate(arms) if arm == "bloom"})
            assert within(len(met[-1]), USERS, percent / 100, sigmas=4)
        assert met[0] < met[1] < met[2]
        assert client.by_user() == arms

        ran = server.command("set", "ab/bloom", "weight=0")
        assert ran.returncode == 0, ran.stderr
        assert set(client.by_user()) == {"flower"}
        ran = server.command("set", "ab/flower", "weight=0")
        assert ran.returncode != 0
        assert "all weights are 0" in ran.stderr
        assert set(client.by_user()) == {"flower"}


def test_a_choice_is_the_same_behind_a_gateway(tmp_path: Path) -> None:
    """The seed goes along: a request meets the arm there that it would meet here."""
    draw = random.Random("pinned")
    seeds = [f"{draw.getrandbits(64):016x}" for _ in range(100)]
    behind_folder = tmp_path / "behind"
    behind_folder.mkdir()
    with (
        split(behind_folder, "--route", "ab") as (behind, _),
        split(tmp_path, environment={"FAR": f"127.0.0.1:{behind.port}"}) as (server, client),
    ):
        asyncio.run(until(lambda: known(server)))
        arms = Counter(client.arm("/gateway/predict", x_penstock_seed=seed) for seed in seeds)
        assert set(arms) == {"ahead", "here/flower", "here/bloom"}
        for seed in seeds:
            ahead = scores(server, "/gateway/predict", seed)
            assert ahead == scores(server, "/ab/predict", seed)
            beside = as_json(server.ask("POST", "/beside/predict", ROW, {"x-penstock-seed": seed}))
            assert beside["here"]["prediction"] == beside["there"]["prediction"] == ahead
        assert server.command("set", "gateway/here", "weight=0").returncode == 0
        assert client.arm("/gateway/predict") == "ahead"
        behind.stop()


def scores(server: Serving, path: str, seed: str) -> list[float]:
    answer = server.ask("POST", path, ROW, {"x-penstock-seed": seed})
    assert answer.status == 200, answer.content
    prediction: list[float] = as_json(answer)["prediction"]
    return prediction


def known(server: Serving) -> bool:
    (worker,) = as_json(server.ask("GET", "/health/detail"))["workers"]
    return bool(worker["models"]["far"]["known"])
