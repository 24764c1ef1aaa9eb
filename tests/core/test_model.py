from __future__ import annotations

from pathlib import Path

import pytest

from penstock.core.model import ModelSource


def test_a_source_is_where_its_file_is() -> None:
    path = Path("models/iris_svc.onnx")

    assert ModelSource(name="svc", folder=Path("."), path=path).where == "models/iris_svc.onnx"


def test_a_source_without_a_file_is_where_its_callable_is() -> None:
    source = ModelSource(name="rule", folder=Path("."), runtime="rules:by_width")

    assert source.where == "rules:by_width"


def test_a_source_is_one_thread_on_the_cpu_unless_told_otherwise() -> None:
    source = ModelSource(name="svc", folder=Path("."))

    assert source.threads == 1
    assert source.providers == ("CPUExecutionProvider",)
    assert source.execution is None


def test_a_source_cannot_be_changed() -> None:
    source = ModelSource(name="svc", folder=Path("."))

    with pytest.raises(AttributeError):
        source.name = "rf"  # type: ignore[misc]
