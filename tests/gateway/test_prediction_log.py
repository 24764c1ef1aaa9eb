"""A logged route through HTTP: every end leaves a record."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.core.clock import SystemClock
from penstock.core.log import Log
from penstock.gateway.app import App
from penstock.gateway.gateway import Gateway
from penstock.gateway.status import status_of
from penstock.graph.open import open_graph, shared
from penstock.stores.parquet import compact_log
from penstock.stores.prediction_log import PredictionLog
from penstock.stores.prediction_record import PredictionRecord
from penstock.stores.sinks import LogPlaces
from tests.gateway.asking import Unanswered, ask, ask_in_pieces
from tests.gateway.opening import CALLABLES, served_of
from tests.stores.ends import logged
from tests.stores.logs import WALL_S, by_reader, write_segment
from tests.support import settle

SPEC = """
models:
  flower: {runtime: "gateway_callables:flower", execution: inline, sample: [[1, 2, 3, 4]],
           labels: [setosa, versicolor, virginica]}
  price: {runtime: "gateway_callables:price", execution: inline, sample: [[1, 2, 3, 4]]}
  broken: {runtime: "gateway_callables:broken", execution: inline}
routes:
  iris:
    - prediction_log: {groups: [header:x-age-band], outlier: price}
    - mirror: {shadow: broken}
    - flower
  plain: flower
  named: iris
  unhappy: [{prediction_log: }, broken]
  parallel: [{prediction_log: }, {fan_out: {positive: 0, arms: {a: flower, b: broken}}}]
  audit: [{prediction_log: {on_full: block}}, flower]
  recorded: [{prediction_log: }, flower]
  twice: [{prediction_log: }, {fan_out: {arms: {a: mirrored, b: mirrored, c: observing}}}]
  mirrored: [{mirror: {shadow: flower}}, {timeout: {timeout_s: 5}}, observing]
  observing: {fan_out: {arms: {a: flower, b: {use: flower, state: observe}}}}
  beside: {fan_out: {positive: 0, arms: {a: recorded, b: flower}}}
"""
ROW = {"data": [[1, 2, 3, 4]]}


@asynccontextmanager
async def logging(folder: Path | None) -> AsyncIterator[Gateway]:
    clock = SystemClock()
    log = Log(clock, write=lambda _: True)
    places = LogPlaces(None if folder is None else str(folder))
    predictions = PredictionLog(places, clock=clock, log=log, status_of=status_of)
    served = served_of(SPEC)
    shares = shared(clock=clock, log=log, predictions=predictions)
    async with open_graph(served.spec, folder=CALLABLES, shares=shares, generation=5) as graph:
        gateway = Gateway(graph, served)
        try:
            yield gateway
            await settle()
        finally:
            gateway.close()
    await predictions.close()


async def told(
    folder: Path, path: str, body: object = ROW, headers: dict[str, str | bytes] | None = None
) -> tuple[int, Any, list[PredictionRecord]]:
    async with logging(folder) as gateway:
        answer = await ask(gateway, "POST", path, body, headers=headers)
    return answer.status, answer.json, logged(folder)


async def test_an_answer_and_its_shadow(tmp_path: Path) -> None:
    status, answer, (primary, shadow) = await told(
        tmp_path, "/iris/predict", headers={"x-age-band": "30-40", "x-request-id": "r1"}
    )
    assert status == 200
    assert (answer["job_id"], answer["is_outlier"]) == ("r1", False)
    assert isinstance(answer["outlier_score"], float)
    assert (primary.role, primary.place, primary.status) == ("primary", "iris", 200)
    assert primary.groups == {"header:x-age-band": "30-40"}
    assert primary.output == [answer["prediction"]]
    assert (primary.is_outlier, primary.outlier_score) == (False, answer["outlier_score"])
    assert (primary.generation, primary.request_id) == (5, "r1")
    assert (shadow.role, shadow.place) == ("shadow", "routes.iris[1].mirror.shadow")
    assert (shadow.status, shadow.code) == (500, "model_failed")
    assert shadow.record_id == primary.record_id
    assert len(primary.record_id) == 32
    assert shadow.groups == primary.groups


async def test_requests_that_share_an_id_have_records_of_their_own(tmp_path: Path) -> None:
    async with logging(tmp_path) as gateway:
        for _ in range(2):
            await ask(gateway, "POST", "/audit/predict/r1", ROW)
    one, other = logged(tmp_path)
    assert one.request_id == other.request_id == "r1"
    assert one.record_id != other.record_id


async def test_a_reader_that_goes_by_the_key_finds_every_record_of_a_route_met_twice(
    tmp_path: Path,
) -> None:
    _, _, records = await told(tmp_path / "log", "/twice/predict")
    assert len({record.record_id for record in records}) == 1
    arms = "routes.twice[1].fan_out.arms"
    assert sorted((record.role, record.place) for record in records) == [
        *(("observe", f"{arms}.{arm}/routes.observing.fan_out.arms.b") for arm in "abc"),
        ("primary", "twice"),
        *(("shadow", f"{arms}.{arm}/routes.mirrored[0].mirror.shadow") for arm in "ab"),
    ]
    for number in range(len(records)):  # wherever a segment ended, and was compacted
        folder = tmp_path / str(number)
        write_segment(folder, "0", *records[:number])
        compact_log(folder, WALL_S, 30.0, print)
        write_segment(folder, "1", *records[number:])
        assert by_reader(folder).total() == len(records)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/iris/predict", b"nope", 400, "malformed_body"),
        ("/iris/predict", {"data": [[1, 2]]}, 422, "invalid_input"),
        ("/unhappy/predict", ROW, 500, "model_failed"),
        ("/unhappy/predict/label", ROW, 404, "no_labels"),
    ],
)
async def test_every_other_end(
    tmp_path: Path, path: str, body: object, status: int, code: str
) -> None:
    answered, _, records = await told(tmp_path, path, body)
    primary = records[0]
    assert answered == primary.status == status
    assert primary.code == code


async def test_a_caller_who_goes_away(tmp_path: Path) -> None:
    async with logging(tmp_path) as gateway:
        with contextlib.suppress(Unanswered):
            await ask_in_pieces(gateway, "POST", "/audit/predict", [b'{"da'], whole=False)
    (record,) = logged(tmp_path)
    assert (record.status, record.code) == (499, "client_gone")


async def test_routes_without_the_layer_leave_none_and_names_lead_to_it(tmp_path: Path) -> None:
    async with logging(tmp_path) as gateway:
        plain = await ask(gateway, "POST", "/plain/predict", ROW)
        named = await ask(gateway, "POST", "/named/predict", ROW)
    primary, _ = logged(tmp_path)
    assert (primary.route, primary.place) == ("named", "named")
    assert named.json["job_id"] == primary.request_id
    assert "job_id" not in plain.json


async def test_an_arm_that_leads_to_a_logged_route_shows_no_id_as_it_has_no_record(
    tmp_path: Path,
) -> None:
    _, answer, records = await told(tmp_path, "/beside/predict")
    assert list(answer["a"]) == ["prediction"]
    assert "job_id" not in answer
    assert records == []


async def test_arms(tmp_path: Path) -> None:
    _, answer, (record,) = await told(tmp_path, "/parallel/predict")
    assert set(answer) == {"a", "b", "job_id"}
    assert record.arms["a"].output == [answer["a"]["prediction"]]
    assert record.arms["b"].code == "model_failed"


async def test_samples_are_recorded_when_asked_for_and_not_at_the_start(tmp_path: Path) -> None:
    async with logging(tmp_path) as gateway:
        answer = await ask(gateway, "GET", "/audit/predict/test")
    assert set(answer.json) == {"prediction", "job_id"}
    assert [one.route for one in logged(tmp_path)] == ["audit"]


async def test_metadata_tells_of_the_score(tmp_path: Path) -> None:
    async with logging(tmp_path) as gateway:
        told = (await ask(gateway, "GET", "/iris/metadata")).json
        plain = (await ask(gateway, "GET", "/audit/metadata")).json
    assert told["outlier_type"].startswith("bool, float")
    assert told["outlier_structure"] == "(1,2)"
    flag, score = told["outlier_sample"]
    assert (flag, type(score)) == (False, float)
    assert "outlier_type" not in plain


async def test_where_nothing_may_go_unrecorded(tmp_path: Path) -> None:
    async with logging(None) as gateway:
        refused = await ask(gateway, "POST", "/audit/predict", ROW)
        answered = await ask(gateway, "POST", "/iris/predict", ROW)
    assert (refused.status, refused.error["code"]) == (503, "log_unavailable")
    assert refused.header("retry-after") == "1"
    assert answered.status == 200
    assert (await told(tmp_path, "/audit/predict"))[0] == 200


async def test_an_app_records_where_its_environment_says(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "gateway_callables.py").symlink_to(CALLABLES / "gateway_callables.py")
    folder = tmp_path / "log"
    app = App(tmp_path / "spec.yaml", environment={"PENSTOCK_LOG_DIR": str(folder)})
    async with app.opened() as gateway:
        assert (await ask(gateway, "POST", "/audit/predict/r1", ROW)).status == 200
    assert [one.request_id for one in logged(folder)] == ["r1"]


async def test_an_app_without_a_folder_records_nothing_and_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "gateway_callables.py").symlink_to(CALLABLES / "gateway_callables.py")
    async with App(tmp_path / "spec.yaml", environment={}).opened() as gateway:
        assert (await ask(gateway, "POST", "/iris/predict", ROW)).status == 200
    assert capsys.readouterr().err.count("predictions are not recorded") == 1
