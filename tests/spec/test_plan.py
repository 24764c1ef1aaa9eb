from __future__ import annotations

import msgspec

from penstock.spec.nodes import Plain
from penstock.spec.plan import Plan


def test_a_plan_goes_from_process_to_process() -> None:
    changes: dict[str, Plain] = {
        "states.iris": "off",
        "routes.ab.split.arms.svc.weight": 5.0,
        "default": None,
    }
    plan = Plan(generation=7, path="spec.yaml", text="a: ä\n", changes=changes, route="iris")
    sent = msgspec.msgpack.encode(plan)
    assert msgspec.msgpack.decode(sent, type=Plan) == plan


def test_a_plan_of_a_file_alone_changes_nothing() -> None:
    plan = Plan(generation=1, path="spec.yaml", text="")
    assert (plan.changes, plan.route) == ({}, None)
