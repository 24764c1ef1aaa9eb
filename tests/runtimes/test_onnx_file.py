from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.core.errors import ModelFileError
from penstock.runtimes.onnx_file import OnnxFile, read_onnx_file
from tests.runtimes import graphs
from tests.runtimes.contract import DATA, MODELS

SVC: Final = (MODELS / "iris_svc.onnx").read_bytes()
NAMES: Final = (DATA / "iris_svc_names.onnx").read_bytes()


def read(tmp_path: Path, content: bytes) -> OnnxFile:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    return read_onnx_file("m", path)


def refused(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        read_onnx_file("m", path)
    sentence = str(caught.value)
    assert sentence.startswith(f"model m: {path}: ")
    assert "\n" not in sentence
    return caught.value.what


def outputs(content: bytes) -> list[str]:
    return [output.name for output in onnxruntime.InferenceSession(content).get_outputs()]


# --- what is read ------------------------------------------------------------------------


def test_the_digest_is_the_files_own() -> None:
    file = read_onnx_file("m", MODELS / "iris_svc.onnx")
    assert file.sha256 == hashlib.sha256(SVC).hexdigest()
    assert file.version == file.sha256[:12]


def test_a_zipmap_is_cut_off() -> None:
    file = read_onnx_file("m", MODELS / "iris_svc.onnx")
    assert file.probabilities == "probabilities"
    assert file.zipmap == "output_probability"
    assert outputs(SVC) == ["output_label", "output_probability"]
    assert outputs(file.content) == ["output_label", "probabilities"]
    assert file.labels == ()


def test_a_file_without_a_zipmap_is_left_as_it_is() -> None:
    path = DATA / "iris_svc_tensor.onnx"
    file = read_onnx_file("m", path)
    assert file.content == path.read_bytes()
    assert (file.probabilities, file.zipmap) == (None, None)


def test_class_names_are_in_the_file() -> None:
    file = read_onnx_file("m", DATA / "iris_svc_names.onnx")
    assert file.labels == ("setosa", "versicolor", "virginica")


def test_class_names_that_are_no_text(tmp_path: Path) -> None:
    names = graphs.strings("classlabels_strings", "a", "b").replace(b"\x01a", b"\x01\xff")
    node = graphs.node("SVMClassifier", "rows", "scores", names)
    assert read(tmp_path, graphs.model([node], [], [])).labels == ("\ufffd", "b")


def test_an_attribute_without_class_names(tmp_path: Path) -> None:
    node = graphs.node("SVMClassifier", "rows", "scores", graphs.strings("classlabels_strings"))
    assert read(tmp_path, graphs.model([node], [], [])).labels == ()


def zipmaps(*nodes: bytes, given: str = "maps") -> bytes:
    described = [graphs.value(name, [None, 2]) for name in given.split()]
    return graphs.model(
        [graphs.node("Identity", "rows", "probabilities"), *nodes],
        [graphs.value("rows", [None, 2])],
        described,
    )


ZIPMAP: Final = graphs.node(
    "ZipMap",
    "probabilities",
    "maps",
    graphs.strings("classlabels_strings", "a", "b"),
    domain="ai.onnx.ml",
)


def test_probabilities_that_are_given_out_as_well(tmp_path: Path) -> None:
    file = read(tmp_path, zipmaps(ZIPMAP, given="maps probabilities"))
    assert outputs(file.content) == ["probabilities"]
    assert (file.probabilities, file.zipmap) == ("probabilities", "maps")
    assert file.labels == ("a", "b")


@pytest.mark.parametrize(
    "node",
    [
        graphs.node("ZipMap", "", "maps"),
        graphs.node("ZipMap", "probabilities", ""),
        graphs.node("ZipMap", "probabilities", "others"),
        graphs.node("Identity", "probabilities", "maps"),
    ],
)
def test_what_is_no_zipmap_of_an_output_stays(tmp_path: Path, node: bytes) -> None:
    content = zipmaps(node)
    assert read(tmp_path, content).content == content


# --- what is refused ---------------------------------------------------------------------


def test_there_has_to_be_a_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.onnx") == "there is no such file"
    assert refused(tmp_path) == "cannot be read: is a directory"
    (tmp_path / "round.onnx").symlink_to("round.onnx")
    assert refused(tmp_path / "round.onnx").startswith("cannot be read: too many levels")
    (tmp_path / "plain").write_text("")
    assert refused(tmp_path / "plain" / "a.onnx") == "cannot be read: not a directory"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is not an ONNX file: it holds no graph"),
        (b"not a model\n", "is not an ONNX file, or not all of one"),
        (SVC[: len(SVC) // 2], "is not an ONNX file, or not all of one"),
        (SVC[:-1], "is not an ONNX file, or not all of one"),
        (bytes(range(255, 0, -1)), "is not an ONNX file, or not all of one"),
        (b"\x89PNG\r\n\x1a\n" * 40, "is not an ONNX file, or not all of one"),
        (graphs.number(1, 8), "is not an ONNX file: it holds no graph"),
        (graphs.piece(7, graphs.piece(2, "empty")), "is not an ONNX file: it holds no graph"),
    ],
)
def test_the_file_has_to_be_a_whole_model(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert refused(path) == what


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_in_a_file_it_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(NAMES)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + 1] = data.draw(st.binary(max_size=3))
    assert read_or_refused(tmp_path, bytes(content))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_random_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    assert read_or_refused(tmp_path, content)


def read_or_refused(tmp_path: Path, content: bytes) -> bool:
    try:
        file = read(tmp_path, content)
    except ModelFileError as error:
        return error.what.startswith(("is not an ONNX file", "its external data"))
    return file.sha256 == hashlib.sha256(content).hexdigest()


# --- external data -----------------------------------------------------------------------


def elsewhere(location: str) -> bytes:
    """A tensor whose values are in another file."""
    entry = graphs.piece(1, "location") + graphs.piece(2, location)
    return graphs.piece(8, "weight") + graphs.piece(13, entry) + graphs.number(14, 1)


def attribute(field: int, content: bytes) -> bytes:
    return graphs.piece(5, graphs.piece(1, "value") + graphs.piece(field, content))


def sparse(content: bytes) -> bytes:
    return graphs.piece(1, content) + graphs.piece(2, graphs.tensor("indices", [], 0))


def graph_of(content: bytes) -> bytes:
    return graphs.piece(5, content)


def holding(location: str) -> dict[str, bytes]:
    """Every place of a model where a tensor may stand."""
    there = elsewhere(location)
    constant = graphs.piece(4, "Constant")
    in_an_attribute = constant + attribute(5, there)
    nodes = {
        "attribute": in_an_attribute,
        "list of an attribute": constant + attribute(10, there),
        "sparse attribute": constant + attribute(22, sparse(there)),
        "graph of an attribute": constant + attribute(6, graph_of(there)),
        "graphs of an attribute": constant + attribute(11, graph_of(there)),
        "graph within a graph": constant
        + attribute(6, graphs.piece(1, constant + attribute(6, graph_of(there)))),
    }
    models = {name: graphs.model([node], [], []) for name, node in nodes.items()}
    models["initializer"] = graphs.model([constant], [], [], initializers=[there])
    models["sparse initializer"] = graphs.piece(
        7, graphs.piece(1, constant) + graphs.piece(15, sparse(there))
    )
    function = graphs.piece(7, in_an_attribute)
    models["function"] = graphs.model([constant], [], [], functions=[function])
    return models


@pytest.mark.parametrize("place", holding(""))
def test_external_data_outside_is_found_wherever_it_stands(tmp_path: Path, place: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(holding("../secret.data")[place])
    what = refused(path)
    assert what == "its external data '../secret.data' is outside the model's folder"


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "", ".", "a/../../x", "link.data", "a\0b/../.."]
)
def test_external_data_has_to_be_inside(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "x").write_bytes(b"")
    (folder / "link.data").symlink_to(tmp_path / "x")
    path = folder / "model.onnx"
    path.write_bytes(holding(location)["initializer"])
    assert refused(path).endswith("is outside the model's folder")


@pytest.mark.parametrize("location", ["none.data", "below/none.data", "below", "a\0b", "n" * 300])
def test_external_data_has_to_be_there(tmp_path: Path, location: str) -> None:
    (tmp_path / "below").mkdir()
    path = tmp_path / "model.onnx"
    path.write_bytes(holding(location)["initializer"])
    assert refused(path).endswith("is missing")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("none.onnx", "there is no such file"),
        ("", "cannot be read: is a directory"),
        ("n" * 300, "cannot be read: file name too long"),
        ("a\0b", "is no path of a file"),
        ("\ud800", "is no path of a file"),
    ],
)
def test_a_path_that_is_no_files(tmp_path: Path, name: str, what: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        read_onnx_file("m", tmp_path / name)
    assert caught.value.what == what
    str(caught.value).encode()


def test_external_data_may_be_below(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "weight.data").write_bytes(bytes(4))
    content = holding("below/weight.data")["initializer"]
    assert read(tmp_path, content).content == content


def test_external_data_of_the_models_made_for_this() -> None:
    assert read_onnx_file("m", DATA / "external_inside.onnx").labels == ()
    what = refused(DATA / "external_outside.onnx")
    assert what == "its external data '../escape.data' is outside the model's folder"
