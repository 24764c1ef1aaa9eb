from __future__ import annotations

import string

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from penstock.core.errors import SpecError
from penstock.spec.edit import set_value
from penstock.spec.nodes import Plain, scalars
from penstock.spec.read import read_text

TEXT = """\
# The whole file's comment.
models:
  svc:   {path: 'models/svc.onnx',  labels: "l.json"}   # aligned
  rf:
    # before
    path: models/rf.onnx   # beside
    threads: 1

    # after

routes:
  ab:
    - prediction_log:
    - split: {sticky: header:x-user-id, arms: {svc: 60, rf: {weight: 40}}}
  all:
    fan_out:
      arms: {svc: svc, rf: {use: rf, threshold: "${THRESHOLD:-0.9}"}}
default: ab
"""


def values(text: str) -> dict[str, Plain]:
    source = read_text(text, {})
    assert source.problems == ()
    assert source.root is not None
    return {path: scalar.value for path, scalar in scalars(source.root)}


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        ("default", "all", "default: ab", "default: all"),
        ("models.rf.threads", 4, "threads: 1", "threads: 4"),
        ("models.rf.path", "b c.onnx", "path: models/rf.onnx", 'path: "b c.onnx"'),
        ("models.svc.path", "it's", "'models/svc.onnx'", "'it''s'"),
        ("models.svc.path", "a\nb", "'models/svc.onnx'", '"a\\U0000000ab"'),
        ("models.svc.labels", "m", '"l.json"', '"m"'),
        ("models.svc.labels", 'a"\\', '"l.json"', '"a\\"\\\\"'),
        ("models.svc.labels", None, '"l.json"', "null"),
        ("models.svc.labels", True, '"l.json"', "true"),
        ("models.svc.labels", False, '"l.json"', "false"),
        ("models.svc.labels", 1e-7, '"l.json"', "1e-07"),
        ("models.svc.labels", float("inf"), '"l.json"', ".inf"),
        ("models.svc.labels", float("-inf"), '"l.json"', "-.inf"),
        ("models.svc.labels", float("nan"), '"l.json"', ".nan"),
        ("models.rf.path", "true", "models/rf.onnx", '"true"'),
        ("models.rf.path", "1.5", "models/rf.onnx", '"1.5"'),
        ("models.rf.path", "${X}", "models/rf.onnx", '"$${X}"'),
        ("models.rf.path", "header:x", "models/rf.onnx", "header:x"),
        ("routes.all.fan_out.arms.rf.threshold", 0.5, '"${THRESHOLD:-0.9}"', "0.5"),
        ("routes.ab[1].split.arms.rf.weight", 30, "weight: 40", "weight: 30"),
        ("routes.ab[1].split.arms.svc.weight", 70, "svc: 60", "svc: 70"),
        (
            "routes.ab[1].split.arms.svc.use",
            "rf",
            "svc: 60",
            "svc: {weight: 60, use: rf}",
        ),
        (
            "routes.all.fan_out.arms.svc.threshold",
            0.5,
            "svc: svc, rf: {use",
            "svc: {use: svc, threshold: 0.5}, rf: {use",
        ),
        (
            "routes.ab[0].prediction_log.sample_percent",
            50,
            "prediction_log:",
            "prediction_log: {sample_percent: 50}",
        ),
        ("models.svc.pure", False, '"l.json"}', '"l.json", pure: false}'),
        ("models.rf.pure", False, "threads: 1\n", "threads: 1\n    pure: false\n"),
        (
            "routes.all.fan_out.policy",
            "all",
            '"${THRESHOLD:-0.9}"}}\n',
            '"${THRESHOLD:-0.9}"}}\n      policy: all\n',
        ),
        ('models."x y"', None, "    threads: 1\n", '    threads: 1\n  "x y": null\n'),
    ],
)
def test_changes_nothing_else(path: str, value: Plain, old: str, new: str) -> None:
    assert TEXT.count(old) == 1
    assert set_value(TEXT, path, value) == TEXT.replace(old, new)


@pytest.mark.parametrize(
    ("text", "path", "value", "changed"),
    [
        ("a:\nb: 1\n", "a", 2, "a: 2\nb: 1\n"),
        ("a: # why\nb: 1\n", "a.c", 2, "a: {c: 2} # why\nb: 1\n"),
        ("a: {}\n", "a.b", 1, "a: {b: 1}\n"),
        ("a: {b: 1, }\n", "a.c", 1, "a: {b: 1, c: 1 }\n"),
        ("a: {b: 1 # c\n  }\n", "a.c", 1, "a: {c: 1, b: 1 # c\n  }\n"),
        ("a:\n  b: 1", "a.c", 1, "a:\n  b: 1\n  c: 1"),
        ("a:\r\n  b: 1\r\nd: 1\r\n", "a.c", 1, "a:\r\n  b: 1\r\n  c: 1\r\nd: 1\r\n"),
        ("- b: 1\n- c\n", "[0].d", 1, "- b: 1\n  d: 1\n- c\n"),
        ("- b: 1\n- c\n", "[1]", 1, "- b: 1\n- 1\n"),
        ("a:\n  b: |\n    # x\nc: 1\n", "a.d", 1, "a:\n  d: 1\n  b: |\n    # x\nc: 1\n"),
    ],
)
def test_edges(text: str, path: str, value: Plain, changed: str) -> None:
    assert set_value(text, path, value) == changed


@pytest.mark.parametrize(
    ("text", "path", "why"),
    [
        ("a: [", "a", "the file has errors; mend them first"),
        ("", "a", "the file has errors; mend them first"),
        ("a: 1", "", "this is no path of a spec"),
        ("a: 1", "a b", "this is no path of a spec"),
        ("a: {b: 1}", "a", "a list or a mapping stands here, not one value"),
        ("a: [1]", "a", "a list or a mapping stands here, not one value"),
        ("a: 1", "b.c", "there is no mapping b to hold it"),
        ("a: 1", "b.c.d", "there is no mapping b.c to hold it"),
        ("a: 1", "a.c", "there is no mapping a to hold it"),
        ("a: [1]", "a[1]", "there is no mapping a to hold it"),
        ("a: [1]", "a.b", "there is no mapping a to hold it"),
        ("a: {b: 1}", "a[0]", "there is no mapping a to hold it"),
        ("a: &x 1\nb: *x", "a", "this cannot be changed in place; edit the file by hand"),
        ("a: &x {c: 1}\nb: *x", "b.c", "this cannot be changed in place; edit the file by hand"),
        ("a: &x {c: 1}\nb: *x", "b.d", "this cannot be changed in place; edit the file by hand"),
    ],
)
def test_refuses(text: str, path: str, why: str) -> None:
    with pytest.raises(SpecError) as raised:
        set_value(text, path, 2)
    assert raised.value.problems == (f"{path}: {why}",)


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
PATHS = list(values(TEXT))


@settings(deadline=None)
@given(st.sampled_from(PATHS), VALUES)
def test_what_is_set_is_read(path: str, value: Plain) -> None:
    before, after = values(TEXT), values(set_value(TEXT, path, value))
    assert after == {**before, path: value}


@settings(deadline=None)
@given(
    st.sampled_from(["models", "models.svc", "models.rf", "routes", "routes.all.fan_out"]),
    st.text(string.ascii_lowercase, min_size=1),
    VALUES,
)
def test_what_is_added_is_read(holder: str, key: str, value: Plain) -> None:
    path = f"{holder}.{key}"
    before = values(TEXT)
    assume(path not in before)
    assume(not any(known.startswith((f"{path}.", f"{path}[")) for known in before))
    assert values(set_value(TEXT, path, value)) == {**before, path: value}


@settings(deadline=None)
@given(st.sampled_from(PATHS), VALUES)
def test_setting_twice_is_setting_once(path: str, value: Plain) -> None:
    once = set_value(TEXT, path, value)
    assert set_value(once, path, value) == once
