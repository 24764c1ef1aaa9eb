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
from penstock.core.faults import MOST_A_SECOND, FaultLog
from penstock.core.values import AnswerKind, InferenceResponse
from tests.support import ManualClock, scores

Said = pytest.CaptureFixture[str]


def a_fault(model: str) -> ModelFailed:
    """Return what a model did, with its cause."""
    fault = ModelFailed(model)
    fault.__cause__ = ValueError(f"{model} is ill")
    return fault


def faults(said: Said) -> list[str]:
    """Return the models that were said to have failed."""
    err = said.readouterr().err
    return [line.split()[1] for line in err.splitlines() if line.startswith("ValueError")]


def shown(said: Said) -> list[str]:
    """Return what was said to have failed, and how much was not."""
    err = said.readouterr().err
    return [line for line in err.splitlines() if line.endswith(("failed:", "not shown"))]


# --- what is said ------------------------------------------------------------------------


def test_a_fault_is_said_with_its_cause(capsys: Said) -> None:
    try:
        raise ModelFailed("svc") from ValueError("so bad")
    except ModelFailed as error:
        FaultLog(ManualClock()).report("request abc", error)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("request abc failed:\nValueError: so bad\n")
    assert "The above exception was the direct cause" in err
    assert err.endswith("ModelFailed: model svc raised an error\n")
    assert "test_faults.py" in err  # where


@pytest.mark.parametrize(
    "error", [InvalidInput("no"), DeadlineExceeded("svc"), NotReady("svc"), Overloaded("it", 1, "")]
)
def test_what_is_no_models_fault_is_not_said(error: ServingError, capsys: Said) -> None:
    log = FaultLog(ManualClock())
    log.report_models("r", error)
    log.report_models("r", FanOutFailed("all", 0, {"a": error}))
    log.report_background(error)
    log.report_background(FanOutFailed("all", 0, {"a": error}))
    arms: dict[str, InferenceResponse | ServingError] = {"a": error, "b": scores([1.0])}
    log.report_arms("r", arms)
    assert capsys.readouterr() == ("", "")


def test_the_models_of_a_failed_fan_out_are_said(capsys: Said) -> None:
    inner = FanOutFailed("all", 1, {"x": a_fault("inner"), "y": DeadlineExceeded("y")})
    outer = FanOutFailed("all", 0, {"a": a_fault("first"), "b": inner, "c": a_fault("last")})
    FaultLog(ManualClock()).report_models("abc", outer)
    _, err = capsys.readouterr()
    assert err.count("request abc failed:") == 3
    at = [err.index(f"ValueError: {model} is ill") for model in ("first", "inner", "last")]
    assert at == sorted(at)
    assert "FanOutFailed" not in err


def test_the_models_of_failed_arms_are_said_though_others_answered(capsys: Said) -> None:
    nested = InferenceResponse(
        AnswerKind.KEYED,
        {},
        arms={"x": a_fault("inner"), "y": scores([1.0])},
    )
    failed = FanOutFailed("all", 0, {"z": a_fault("within")})
    arms: dict[str, InferenceResponse | ServingError]
    arms = {"a": scores([1.0]), "b": nested, "c": a_fault("outer"), "d": failed}
    FaultLog(ManualClock()).report_arms("abc", arms)
    assert faults(capsys) == ["inner", "outer", "within"]


def test_work_in_the_background_is_said_as_such(capsys: Said) -> None:
    log = FaultLog(ManualClock())
    log.report_background(a_fault("observed"))
    log.report_background(FanOutFailed("all", 0, {"a": a_fault("arm"), "b": NotReady("b")}))
    log.report_background(KeyError("a fault of ours"))
    _, err = capsys.readouterr()
    assert err.count("work in the background failed:") == 3
    for what in ("observed is ill", "arm is ill", "KeyError: 'a fault of ours'"):
        assert what in err


# --- how often ---------------------------------------------------------------------------


def test_so_many_are_said_a_second_and_the_rest_is_counted(capsys: Said) -> None:
    clock = ManualClock()
    log = FaultLog(clock)
    for i in range(MOST_A_SECOND + 3):
        log.report(f"request {i}", a_fault("svc"))
        clock.advance(0.01)
    assert shown(capsys) == [f"request {i} failed:" for i in range(MOST_A_SECOND)]

    clock.advance(1.0)
    assert shown(capsys) == []
    log.report("the next", a_fault("svc"))
    assert shown(capsys) == ["3 more faults were not shown", "the next failed:"]

    clock.advance(1.0)
    log.report("the last", a_fault("svc"))
    assert shown(capsys) == ["the last failed:"]


def test_a_second_is_a_second(capsys: Said) -> None:
    clock = ManualClock()
    log = FaultLog(clock)
    for i in range(MOST_A_SECOND):
        log.report(f"request {i}", a_fault("svc"))
    clock.advance(0.875)
    log.report("too early", a_fault("svc"))
    clock.advance(0.125)
    log.report("in time", a_fault("svc"))
    said = shown(capsys)[MOST_A_SECOND:]
    assert said == ["1 more faults were not shown", "in time failed:"]
    for i in range(MOST_A_SECOND):
        log.report(f"request {i}", a_fault("svc"))
    assert len(shown(capsys)) == MOST_A_SECOND - 1


def test_faults_that_come_seldom_are_all_said(capsys: Said) -> None:
    clock = ManualClock()
    log = FaultLog(clock)
    for _ in range(3 * MOST_A_SECOND):
        log.report("it", a_fault("svc"))
        clock.advance(0.25)
    assert shown(capsys) == ["it failed:"] * 3 * MOST_A_SECOND


def test_each_arm_counts(capsys: Said) -> None:
    arms = {str(i): a_fault(f"m{i}") for i in range(MOST_A_SECOND + 2)}
    clock = ManualClock()
    log = FaultLog(clock)
    log.report_models("r", FanOutFailed("all", 0, arms))
    assert faults(capsys) == [f"m{i}" for i in range(MOST_A_SECOND)]
    clock.advance(1.0)
    log.report_models("r", a_fault("m"))
    assert shown(capsys) == ["2 more faults were not shown", "request r failed:"]
