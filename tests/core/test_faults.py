from __future__ import annotations

import pytest

from penstock.core.errors import (
    DeadlineExceeded,
    FanOutFailed,
    InvalidInput,
    ModelFailed,
    NotReady,
    Overloaded,
    ServingError,
)
from penstock.core.faults import FaultLog
from penstock.core.log import MOST_A_SECOND, Log
from penstock.core.values import AnswerKind, InferenceResponse
from tests.support import ManualClock, scores


class Said:
    """Takes events, as the log does."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.fields: list[dict[str, object]] = []

    def info(self, event: str, **fields: object) -> None:
        raise AssertionError

    def warning(self, event: str, **fields: object) -> None:
        raise AssertionError

    def error(self, event: str, **fields: object) -> None:
        self.events.append(event)
        self.fields.append(fields)

    def models(self) -> list[str]:
        """Return the models that were said to have failed."""
        errors = [fields["error"] for fields in self.fields]
        return [error.model for error in errors if isinstance(error, ModelFailed)]


def a_fault(model: str) -> ModelFailed:
    """Return what a model did, with its cause."""
    fault = ModelFailed(model)
    fault.__cause__ = ValueError(f"{model} is ill")
    return fault


# --- what is said ------------------------------------------------------------------------


def test_a_fault_is_said_with_its_cause(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ModelFailed("svc") from ValueError("so bad")
    except ModelFailed as error:
        FaultLog(Log(ManualClock(), human=True)).report_request("abc", error)
    out, err = capsys.readouterr()
    assert out == ""
    first, *traceback = err.splitlines()
    assert "error: request failed request_id=abc error=" in first
    assert traceback[0] == "ValueError: so bad"
    assert "The above exception was the direct cause" in err
    assert err.endswith("ModelFailed: model svc raised an error\n")
    assert "test_faults.py" in err  # where


def test_what_failed_is_told_with_what_is_known_of_it() -> None:
    said = Said()
    error = KeyError("a fault of ours")
    FaultLog(said).report("reload", error, file="penstock.yaml")
    assert said.events == ["reload failed"]
    assert said.fields == [{"file": "penstock.yaml", "error": error}]


@pytest.mark.parametrize(
    "error", [InvalidInput("no"), DeadlineExceeded("svc"), NotReady("svc"), Overloaded("it", 1, "")]
)
def test_what_is_no_models_fault_is_not_said(error: ServingError) -> None:
    said = Said()
    log = FaultLog(said)
    log.report_models("r", error)
    log.report_models("r", FanOutFailed("all", 0, {"a": error}))
    log.report_background(error)
    log.report_background(FanOutFailed("all", 0, {"a": error}))
    arms: dict[str, InferenceResponse | ServingError] = {"a": error, "b": scores([1.0])}
    log.report_arms("r", arms)
    assert said.events == []


def test_the_models_of_a_failed_fan_out_are_said() -> None:
    said = Said()
    inner = FanOutFailed("all", 1, {"x": a_fault("inner"), "y": DeadlineExceeded("y")})
    outer = FanOutFailed("all", 0, {"a": a_fault("first"), "b": inner, "c": a_fault("last")})
    FaultLog(said).report_models("abc", outer)
    assert said.events == ["request failed"] * 3
    assert said.models() == ["first", "inner", "last"]
    assert {str(fields["request_id"]) for fields in said.fields} == {"abc"}


def test_the_models_of_failed_arms_are_said_though_others_answered() -> None:
    said = Said()
    nested = InferenceResponse(
        AnswerKind.KEYED,
        {},
        arms={"x": a_fault("inner"), "y": scores([1.0])},
    )
    failed = FanOutFailed("all", 0, {"z": a_fault("within")})
    arms: dict[str, InferenceResponse | ServingError]
    arms = {"a": scores([1.0]), "b": nested, "c": a_fault("outer"), "d": failed}
    FaultLog(said).report_arms("abc", arms)
    assert said.models() == ["inner", "outer", "within"]


def test_work_in_the_background_is_said_as_such() -> None:
    said = Said()
    log = FaultLog(said)
    log.report_background(a_fault("observed"))
    log.report_background(FanOutFailed("all", 0, {"a": a_fault("arm"), "b": NotReady("b")}))
    log.report_background(KeyError("a fault of ours"))
    assert said.events == ["work in the background failed"] * 3
    assert said.models() == ["observed", "arm"]
    assert isinstance(said.fields[2]["error"], KeyError)


# --- how often ---------------------------------------------------------------------------


def test_faults_of_many_requests_are_alike() -> None:
    """A model that fails for every request does not fill the log."""
    lines: list[str] = []

    def write(line: str) -> bool:
        lines.append(line)
        return True

    log = Log(ManualClock(), write=write)
    faults = FaultLog(log)
    for i in range(MOST_A_SECOND + 3):
        faults.report_request(f"request-{i}", a_fault("svc"))
    assert len(lines) == MOST_A_SECOND
    assert log.left_out == 3
