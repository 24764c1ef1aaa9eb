"""From a spec's file, or a bare model's, to an open graph."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.core.errors import ModelFileError, SpecError
from penstock.gateway.serving import (
    Served,
    open_served,
    plan_of_model,
    read_served,
    reserved_words,
    served_by,
)
from penstock.spec.problems import Problem
from tests.gateway.opening import EXAMPLE, MODELS


def written(folder: Path, text: str) -> Path:
    path = folder / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def bare_model(
    path: Path, *, labels: str | None = None, sample: tuple[list[float], ...] | None = None
) -> Served:
    return served_by(plan_of_model(path, labels=labels, sample=sample), {})


def iris(folder: Path, routes: str, more: str = "") -> Path:
    path = MODELS / "iris_svc.onnx"
    return written(folder, f"models:\n  svc: {{path: '{path}'}}\nroutes:\n  {routes}\n{more}")


class TestSpecs:
    def test_the_example(self) -> None:
        served = read_served(EXAMPLE, {})
        assert served.spec.default == "iris"
        assert served.folder == EXAMPLE.parent
        assert served.warnings == ()

    def test_the_one_route_is_the_default(self, tmp_path: Path) -> None:
        assert read_served(iris(tmp_path, "it: svc"), {}).spec.default == "it"
        assert read_served(iris(tmp_path, "{a: svc, b: svc}"), {}).spec.default is None

    def test_all_mistakes_at_once(self, tmp_path: Path) -> None:
        path = written(tmp_path, "models: {m: {pth: x}}\nroutes: {predict: n, a: m}\ndefault: b\n")
        with pytest.raises(SpecError) as raised:
            read_served(path, {})
        assert len(raised.value.problems) >= 3

    @pytest.mark.parametrize("name", ["predict", "health", "label", "metadata", "v2", "metrics"])
    def test_a_route_is_not_called_as_a_path(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(SpecError, match=name):
            read_served(iris(tmp_path, f"{name}: svc"), {})

    @pytest.mark.parametrize("route", ["iris-parallel", "setosa"])
    def test_one_route_or_model_only(self, route: str) -> None:
        spec = read_served(EXAMPLE, {}, route=route).spec
        assert list(spec.routes) == [route]
        assert spec.default == route
        assert "svc" not in spec.models

    def test_an_unknown_route(self) -> None:
        with pytest.raises(SpecError, match="there is no route or model 'nope'; there are iris"):
            read_served(EXAMPLE, {}, route="nope")

    def test_a_pattern_of_a_later_version(self, tmp_path: Path) -> None:
        path = iris(tmp_path, "it: [{breaker: {max_in_flight: 1}}, svc]")
        with pytest.raises(SpecError, match="breaker is not available in this version"):
            read_served(path, {})


class TestOpening:
    async def test_models_are_checked_against_the_spec(self, tmp_path: Path) -> None:
        served = read_served(iris(tmp_path, "it: [{threshold: {min: 0.5}}, svc]"), {})
        with pytest.raises(SpecError, match="needs labels"):
            async with open_served(served):
                raise AssertionError

    async def test_what_is_odd_is_said(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = MODELS / "iris_setosa.onnx"
        text = (
            f"models: {{m: {{path: '{path}'}}}}\nroutes: {{it: {{fan_out: {{arms: {{a: m}}}}}}}}\n"
        )
        served = read_served(written(tmp_path, text), {})
        said: list[Problem] = []
        async with open_served(served, warn=said.append):
            pass
        assert "no positive is written" in str(said[0])
        assert capsys.readouterr().err == ""
        async with open_served(served):
            pass
        assert capsys.readouterr().err == f"{said[0]}\n"

    async def test_warnings_of_the_first_check_are_said_too(self, tmp_path: Path) -> None:
        path = MODELS / "iris_svc.onnx"
        text = f"models: {{m: {{path: '{path}'}}, n: {{path: x.onnx}}}}\nroutes: {{it: m}}\n"
        with pytest.raises((SpecError, ModelFileError)):
            async with open_served(read_served(written(tmp_path, text), {})):
                raise AssertionError


class TestBareModels:
    @pytest.mark.parametrize(
        ("file", "name"),
        [
            ("iris_svc.onnx", "iris_svc"),
            ("Iris SVC (v2).onnx", "iris-svc-v2"),
            ("модель.onnx", "model"),
            ("_.onnx", "model"),
            ("v2.onnx", "model-v2"),
            ("predict.onnx", "model-predict"),
            ("health.onnx", "model-health"),
            ("x" * 100 + ".onnx", "x" * 64),
            ("-a-.onnx", "a"),
        ],
    )
    def test_is_called_as_its_file(self, file: str, name: str) -> None:
        served = bare_model(Path(file))
        assert served.spec.default == name
        assert list(served.spec.routes) == [name]
        assert list(served.spec.models) == [f"{name[:59]}.onnx"]
        assert name not in reserved_words()

    async def test_is_served(self) -> None:
        path = MODELS / "iris_svc.onnx"
        served = bare_model(
            path, labels=str(MODELS / "iris_labels.json"), sample=([5.1, 3.5, 1.4, 0.2],)
        )
        async with open_served(served) as graph:
            route = graph.routes["iris_svc"]
            assert route.description.labels == ("setosa", "versicolor", "virginica")
            assert route.sample_answer is not None

    async def test_a_sample_that_does_not_fit(self) -> None:
        with pytest.raises(ModelFileError, match="expected 4"):
            async with open_served(bare_model(MODELS / "iris_svc.onnx", sample=([1],))):
                raise AssertionError
