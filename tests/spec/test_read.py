from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.spec.problems import Position
from penstock.spec.read import MAX_BYTES, read_spec, read_text


def test_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "penstock.yaml"
    path.write_text("\ufeffmodels: {}\nroutes:\n  a: ${X}\n", encoding="utf-8")
    source = read_spec(path, {"X": "svc"})
    assert source.problems == ()
    assert source.root is not None
    assert list(source.root.entries) == ["models", "routes"]
    assert source.lines.at("routes.a") == Position(3, 3)
    assert source.text.startswith("models")
    assert source.path == path


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "the file is empty"),
        (b"# nothing\n", "the file is empty"),
        (b"a: 1\nb: \xff\n", "is not UTF-8: line 2 has the byte 0xff"),
        (b"#" * (MAX_BYTES + 1), "is larger than 1,048,576 bytes"),
    ],
)
def test_tells_of_a_file(tmp_path: Path, data: bytes, problem: str) -> None:
    path = tmp_path / "penstock.yaml"
    path.write_bytes(data)
    source = read_spec(path, {})
    assert source.root is None
    assert [str(one) for one in source.problems] == [f"{path}: {problem}"]


def test_tells_of_no_file(tmp_path: Path) -> None:
    assert [str(one) for one in read_spec(tmp_path / "none.yaml", {}).problems] == [
        f"{tmp_path}/none.yaml: cannot be read: No such file or directory"
    ]
    assert [str(one) for one in read_spec(tmp_path, {}).problems] == [
        f"{tmp_path}: cannot be read: Is a directory"
    ]


@pytest.mark.parametrize("text", ["- a", "a", "12"])
def test_the_top_is_a_mapping(text: str) -> None:
    source = read_text(text, {})
    assert source.root is None
    assert [str(one) for one in source.problems] == [
        "spec:1: the top of a spec is a mapping with the keys models and routes"
    ]


def test_a_syntax_error_is_not_an_empty_file() -> None:
    assert [one.sentence for one in read_text("a: [1", {}).problems] == [
        "this is not YAML: expected ',' or ']', but got '<stream end>'"
    ]


def test_problems_of_all_steps_come_in_the_files_order() -> None:
    problems = read_text("a: ${NONE}\nb: 1\nb: !x 2\nc: ${1}\n", {}).problems
    assert [one.position.line for one in problems] == [1, 3, 3, 4]


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "spec.yaml"
    os.mkfifo(pipe)
    (problem,) = read_spec(pipe, {}).problems
    assert problem.sentence == "cannot be read: it is no regular file"
