from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from penstock.core.errors import ModelFileError
from penstock.graph.labels import MAX_LABELS_BYTES, read_labels

MODELS: Final = Path(__file__).parents[2] / "models"


@pytest.mark.parametrize(
    "content",
    ['["a", "b"]', '{"0": "a", "1": "b"}', '{"1": "b", "0": "a"}', '\ufeff["a", "b"]'],
)
def test_labels_are_a_list_or_go_by_column(tmp_path: Path, content: str) -> None:
    path = tmp_path / "labels.json"
    path.write_text(content, encoding="utf-8")
    assert read_labels("m", path) == ("a", "b")


NAMES: Final = "the labels must be a list of names, or an object from column to name"
KEYS: Final = 'the labels must have the keys "0", "1", ... without a gap'


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the labels are not JSON"),
        (b"setosa\nversicolor\n", "the labels are not JSON"),
        (b'["a", ', "the labels are not JSON"),
        (b'["\xff\xfe"]', "the labels are not JSON"),
        (b"[" * 100_000, "the labels are not JSON"),
        (b'"setosa"', NAMES),
        (b"3", NAMES),
        (b"null", NAMES),
        (b"[1, 2]", NAMES),
        (b'[["a"]]', NAMES),
        (b'{"0": 1}', NAMES),
        (b'{"0": {"0": "a"}}', NAMES),
        (b'{"a": "0"}', KEYS),
        (b'{"1": "a", "2": "b"}', KEYS),
        (b'{"0": "a", "00": "b"}', KEYS),
        (b'{"0": "a", "0": "b"}', "a column stands twice in the labels"),
        (b"[]", "there are no labels in it"),
        (b"{}", "there are no labels in it"),
        (b'["a", "b", "a"]', "a label stands twice in it"),
        (b'{"0": "a", "1": "a"}', "a label stands twice in it"),
        (b'["a", "\\ud800"]', "a label is no text that UTF-8 can hold"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "labels.json"
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        read_labels("m", path)
    assert str(caught.value) == f"model m: {path}: {what}"


def test_labels_that_cannot_be_read(tmp_path: Path) -> None:
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(MAX_LABELS_BYTES + 1)
    for path, what in [
        (tmp_path / "none.json", "there is no such labels file"),
        (tmp_path, "the labels cannot be read: is a directory"),
        (large, "labels of over 16777216 bytes"),
        (Path("/dev/zero"), "labels of over 16777216 bytes"),  # of no size, and without an end
    ]:
        with pytest.raises(ModelFileError) as caught:
            read_labels("m", path)
        assert str(caught.value) == f"model m: {path}: {what}"


def test_the_demos_labels_are_read() -> None:
    labels = read_labels("m", MODELS / "iris_labels.json")
    assert labels == tuple(json.loads((MODELS / "iris_labels.json").read_text()).values())
