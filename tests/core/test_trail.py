from __future__ import annotations

import pytest

from penstock.core.trail import answered_arm, arm_of, split_hop
from penstock.core.values import AnswerKind, Hop, InferenceResponse


def a_trail(*names: str) -> tuple[Hop, ...]:
    return tuple(Hop(name, 0.0, 0.0) for name in names)


@pytest.mark.parametrize(
    ("keyless", "instead_of", "name"),
    [
        (False, "", "split:rf"),
        (True, "", "split:rf:no_key"),
        (False, "svc", "split:rf:instead_of:svc"),
        (True, "svc", "split:rf:no_key:instead_of:svc"),
    ],
)
def test_a_hop_says_how_its_arm_came_to_be_asked(keyless: bool, instead_of: str, name: str) -> None:
    hop = split_hop("rf", keyless=keyless, instead_of=instead_of)
    assert hop == name
    assert arm_of(a_trail(hop)) == "rf"


@pytest.mark.parametrize(
    ("names", "arm"),
    [
        ((), ""),
        (("model:rf@1",), ""),
        (("timeout", "split:rf", "model:rf@1"), "rf"),
        (("split:new", "timeout", "split:a.b-c_1:no_key", "model:rf@1"), "new/a.b-c_1"),
        (("routes.ab.split!not_ready", "split:rf", "routes.ab.split.arms.rf!not_ready"), "rf"),
        (("fan_out", "split:rf", "model:rf@1", "split:svc", "model:svc@1"), ""),
        (("split:both", "fan_out", "split:rf", "model:rf@1"), "both"),
        (("splitter", "model:split@1"), ""),
        (("prediction_log:inlier", "model:rf@1", "split:ocs", "model:ocs@1"), ""),
        (("prediction_log:inlier", "remote:far", "split:ocs", "model:ocs@1"), ""),
        (("prediction_log:inlier", "constant", "split:ocs", "model:ocs@1"), ""),
        (("prediction_log:inlier", "split:rf", "model:rf@1", "split:ocs", "model:ocs@1"), "rf"),
    ],
)
def test_the_arm_of_a_trail(names: tuple[str, ...], arm: str) -> None:
    assert arm_of(a_trail(*names)) == arm


@pytest.mark.parametrize(("mode", "arm"), [({"mode": "rf.onnx"}, "rf"), ({}, "")])
def test_an_answer_has_an_arm_where_a_split_says_so(mode: dict[str, str], arm: str) -> None:
    trail = a_trail("split:rf", "model:rf@1")
    assert answered_arm(InferenceResponse(AnswerKind.SCORES, {}, trail=trail, fields=mode)) == arm
