"""What is kept of each route, as the spec says it."""

from __future__ import annotations

from penstock.graph.logged import policies_of
from penstock.stores.policy import LogPolicy
from tests.graph.fakes import a_spec


def test_defaults() -> None:
    spec = a_spec("a: [{prediction_log: }, svc]\nb: svc\nc: a", ["svc"])
    assert policies_of(spec, 7) == {
        "a": LogPolicy(route="a", generation=7, place="routes.a[0].prediction_log"),
        "c": LogPolicy(route="c", generation=7, place="routes.a[0].prediction_log"),
    }


def test_every_key() -> None:
    spec = a_spec(
        "a: [{prediction_log: {groups: [header:X-Age, field:user], sample_percent: 5,"
        " redact: [input, output, column:2], on_full: block}},"
        " {split: {sticky: field:user, arms: {svc: 1}}}]",
        ["svc"],
    )
    assert policies_of(spec, 0) == {
        "a": LogPolicy(
            route="a",
            place="routes.a[0].prediction_log",
            sample_percent=5.0,
            groups=("header:x-age",),
            keys=frozenset({"field:user"}),
            keeps_input=False,
            keeps_output=False,
            columns=(2,),
            blocks=True,
        )
    }
